"""Encodings: subjects, envelopes, leases, rosters, reports. Pure functions from bytes to values and back."""
