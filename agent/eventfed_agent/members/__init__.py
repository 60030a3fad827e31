"""One member each: what it said, what it is given, and which lease it holds."""
