"""The agent as a process: signals, HTTP endpoints, metrics, handover."""
