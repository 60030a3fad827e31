"""Headers of what is written to the stream (``docs/wire.md``, "Headers")."""

import math
from collections.abc import Mapping

__all__ = ["EXPECTED", "MARKER", "TTL", "expected_header", "is_marker", "marker_headers", "ttl_header"]

TTL = "Nats-TTL"
MARKER = "Nats-Marker-Reason"
EXPECTED = "Nats-Expected-Last-Subject-Sequence"

_REASONS = {"MaxAge", "Purge", "Remove"}


def ttl_header(seconds: float) -> dict[str, str]:
    """How long the message stays; NATS counts whole seconds, one at least."""
    return {TTL: f"{max(1, math.ceil(seconds))}s"}


def expected_header(sequence: int) -> dict[str, str]:
    """Refuse the message unless the last one on its subject is this one; 0 is none."""
    return {EXPECTED: str(sequence)}


def marker_headers(ttl: float, expected: int) -> dict[str, str]:
    """An explicit tombstone with an empty body: it replaces the one message on condition, and leaves no second wave
    of markers when it lapses."""
    return {MARKER: "Purge", "Nats-Rollup": "sub", **ttl_header(ttl), **expected_header(expected)}


def is_marker(body: bytes, headers: Mapping[str, str] | None) -> bool:
    """Whether a message from the stream says that what stood there is gone."""
    return not body and headers is not None and headers.get(MARKER) in _REASONS
