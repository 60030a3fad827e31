"""Headers of what is written to the stream and read from it (``docs/wire.md``, "Headers")."""

import functools
import math
from collections.abc import Mapping

from ..core.messages import Message

__all__ = ["headers_of", "is_marker"]

_TTL = "Nats-TTL"
_MARKER = "Nats-Marker-Reason"
_EXPECTED = "Nats-Expected-Last-Subject-Sequence"

_REASONS = {"MaxAge", "Purge", "Remove"}


def headers_of(message: Message) -> dict[str, str] | None:
    """What JetStream is told beside the body; None for nothing.

    A tombstone is an explicit marker with an empty body: it replaces the one message of its subject, and leaves no
    second wave of markers when it lapses.
    """
    if message.expected is None and not message.tombstone:
        return _ttl_alone(message.ttl)
    headers = {_MARKER: "Purge", "Nats-Rollup": "sub"} if message.tombstone else {}
    headers |= _ttl_alone(message.ttl) or {}
    if message.expected is not None:
        headers[_EXPECTED] = str(message.expected)
    return headers


@functools.lru_cache(maxsize=64)
def _ttl_alone(seconds: float | None) -> dict[str, str] | None:
    # NATS counts whole seconds, one at least. nats-py does not write into what it is given.
    return None if seconds is None else {_TTL: f"{max(1, math.ceil(seconds))}s"}


def is_marker(body: bytes, headers: Mapping[str, str] | None) -> bool:
    """Whether a message from the stream says that what stood there is gone."""
    return not body and headers is not None and headers.get(_MARKER) in _REASONS
