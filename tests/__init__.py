"""The test suites, the ground they share, and the program that runs them."""
