"""The node agent: serves the members of one host."""
