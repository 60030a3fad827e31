"""The wire envelope: one event as msgpack (``docs/wire.md``)."""

from typing import Any

import msgpack

from ..model.eid import known_eid
from ..model.elements import EventType
from ..model.errors import MalformedEnvelope, MalformedEvent, UnsupportedEnvelope
from ..model.event import Event

__all__ = ["ENVELOPE_VERSION", "MAX_ENVELOPE", "MAX_NUMBER", "decode_envelope", "encode_envelope", "unpack_map"]

ENVELOPE_VERSION = 1
MAX_ENVELOPE = 65_536
"""The largest message body that is looked at, in bytes."""

MAX_NUMBER = 2**63 - 1
"""The highest epoch, sequence or number of news."""

_TYPES = {int(kind): kind for kind in EventType}


def encode_envelope(event: Event) -> bytes:
    """One event as the body of a message."""
    body = {
        "v": ENVELOPE_VERSION,
        "t": int(event.type),
        "e": event.eid.octets,
        "i": [(int(number), value) for number, value in event.elements],
        "c": event.cachable,
        "w": event.time,
        "o": (event.epoch, event.sequence),
    }
    if event.order:
        body["n"] = event.order
    packed: bytes = msgpack.packb(body)
    return packed


def unpack_map(data: bytes) -> dict[str, Any]:
    """The outer map of our message, its version checked. Keys that this version does not know are ignored.

    Raises:
        UnsupportedEnvelope: for a later version.
        MalformedEnvelope: for anything else that is no such map, or one of over `MAX_ENVELOPE` bytes.
    """
    if len(data) > MAX_ENVELOPE:
        raise MalformedEnvelope(f"{len(data)} bytes: an envelope has at most {MAX_ENVELOPE}")
    try:
        body = msgpack.unpackb(data, max_array_len=4096, max_map_len=64, max_ext_len=0, strict_map_key=True)
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError, OverflowError) as error:
        raise MalformedEnvelope(f"no msgpack: {type(error).__name__}: {error!s:.120}") from None
    if not isinstance(body, dict):
        raise MalformedEnvelope(f"a msgpack {type(body).__name__}, not a map")
    version = body.get("v")
    if type(version) is not int or version < 1:
        raise MalformedEnvelope(f"version {version!r:.20} is none")
    if version > ENVELOPE_VERSION:
        raise UnsupportedEnvelope(
            f"envelope version {version}: this program reads up to {ENVELOPE_VERSION}; upgrade it first"
        )
    return body


def decode_envelope(data: bytes) -> Event:
    """The event in the body of a message.

    Raises:
        UnsupportedEnvelope: for an envelope of a later version.
        MalformedEnvelope: for anything else that is no envelope.
    """
    body = unpack_map(data)
    try:
        origin = body.get("o")
        if not (isinstance(origin, list) and len(origin) == 2):
            raise MalformedEnvelope("'o' must be [epoch, sequence]")
        elements = body.get("i")
        if not (isinstance(elements, list) and all(isinstance(e, list) and len(e) == 2 for e in elements)):
            raise MalformedEnvelope("'i' must be a list of [number, value]")
        time = body.get("w")
        if not isinstance(time, float | int) or not 0 <= time < 2**40:
            raise MalformedEnvelope("'w' must be the time in seconds since 1970")
        eid = body.get("e")
        if not isinstance(eid, bytes):
            raise MalformedEnvelope("'e' must be the six bytes of an EID")
        return Event(
            _event_type(body.get("t")),
            known_eid(eid),
            tuple(elements),
            cachable=body.get("c") is True,
            time=float(time),
            epoch=_number("epoch", origin[0]),
            sequence=_number("sequence", origin[1]),
            order=_number("order", body.get("n", 0)),
        )
    except MalformedEnvelope:
        raise
    except (MalformedEvent, ValueError) as error:
        raise MalformedEnvelope(str(error)) from None


def _event_type(number: object) -> EventType:
    kind = _TYPES.get(number) if type(number) is int else None
    if kind is None:
        raise MalformedEnvelope(f"type {number!r:.40} is no event type")
    return kind


def _number(what: str, value: object) -> int:
    if type(value) is not int or not 0 <= value <= MAX_NUMBER:
        raise MalformedEnvelope(f"{what} {value!r:.40} is no number from 0 to 2**63-1")
    return value
