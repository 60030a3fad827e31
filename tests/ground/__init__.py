"""What several suites stand on: clusters, servers, faults, strangers and ways to look at them."""
