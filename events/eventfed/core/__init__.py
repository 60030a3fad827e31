"""The rules of a federation, sans I/O: views, claims, ownership, departures, the outbox."""
