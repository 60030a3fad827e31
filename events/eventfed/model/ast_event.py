"""Asterisk's binary ``ast_event``, both ways (``main/event.c``, ``include/asterisk/event_defs.h``).

An event is ``type:u16 length:u16`` and a list of ``element:u16 length:u16 payload``, big-endian, packed. The event's
length counts its header, an element's does not. A str payload starts with a hash in the *sender's* byte order;
nobody reads it any more, so it is written little-endian (x86, ARM) and not checked.
"""

import struct

from .eid import EID
from .elements import Element, ElementType, EventType, Value
from .elements import InformationElement as IE
from .errors import MalformedEvent, MalformedFrame
from .event import Event

__all__ = ["asterisk_string_hash", "decode_ast_event", "encode_ast_event"]

_HEADER = struct.Struct(">HH")
_UINT = struct.Struct(">I")
_HASH = struct.Struct("<I")
_WITH_CACHABLE = {EventType.DEVICE_STATE, EventType.DEVICE_STATE_CHANGE}
_ELEMENTS = {int(element): element for element in IE}


def asterisk_string_hash(text: bytes) -> int:
    """``ast_str_hash`` since 2017 (``include/asterisk/strings.h``): 31 bits."""
    value = 5381
    for octet in text:
        value = (value * 33 & 0xFFFFFFFF) ^ octet
    return value & 0x7FFFFFFF


def encode_ast_event(event: Event) -> bytes:
    """The bytes that Asterisk itself would make of the event, EID last.

    Time, epoch, sequence and order have no place in it. A mailbox without a context is written in ``default``, as
    ``mwi_to_event`` does.

    Raises:
        MalformedEvent: when the event does not fit 65,535 bytes, or holds an element whose type nobody knows.
    """
    elements = list(event.elements)
    if event.type is EventType.MWI and event.get(IE.CONTEXT) is None:
        elements.insert(1, (IE.CONTEXT, "default"))
    if event.type in _WITH_CACHABLE:
        elements.append((IE.CACHABLE, int(event.cachable)))
    elements.append((IE.EID, event.eid.octets))
    body = b"".join(_encode_element(number, value) for number, value in elements)
    length = len(body) + _HEADER.size
    if length > 0xFFFF:
        raise MalformedEvent(f"{length} bytes: an ast_event has at most 65,535")
    return _HEADER.pack(event.type, length) + body


def _encode_element(number: int, value: Value) -> bytes:
    if isinstance(value, int):
        payload = _UINT.pack(value)
    elif isinstance(value, str):
        text = value.encode()
        payload = _HASH.pack(asterisk_string_hash(text)) + text + b"\0"
    else:
        payload = value
    if len(payload) > 0xFFFF:
        raise MalformedEvent(f"element {number}: {len(payload)} bytes do not fit 16 bits")
    return _HEADER.pack(number, len(payload)) + payload


def decode_ast_event(frame: bytes) -> Event:
    """The event in exactly these bytes.

    Asterisk checks next to nothing here; we check every length. An element of a number that the table does not
    hold is kept as raw bytes. A missing CACHABLE means cachable, as in Asterisk 11.

    Raises:
        MalformedFrame: for anything that is not one whole, well-formed event with an EID.
    """
    if len(frame) < _HEADER.size:
        raise MalformedFrame(f"{len(frame)} bytes: an ast_event has at least {_HEADER.size}")
    number, length = _HEADER.unpack_from(frame)
    if length != len(frame):
        raise MalformedFrame(f"the header says {length} bytes, there are {len(frame)}")
    elements: list[Element] = []
    eid: EID | None = None
    cachable: bool | None = None
    try:
        kind = EventType(number)
        position = _HEADER.size
        while position < length:
            position, element, value = _decode_element(frame, position)
            if element == IE.EID and isinstance(value, bytes):
                eid = eid or EID(value)
            elif element == IE.CACHABLE:
                cachable = bool(value) if cachable is None else cachable
            else:
                elements.append((element, value))
        if eid is None:
            raise MalformedFrame("no EID: nobody knows whose event this is")
        return Event(kind, eid, tuple(elements), cachable=cachable is not False)
    except MalformedFrame:
        raise
    except (MalformedEvent, ValueError) as error:
        raise MalformedFrame(str(error)) from None


def _decode_element(frame: bytes, position: int) -> tuple[int, int, Value]:
    if position + _HEADER.size > len(frame):
        raise MalformedFrame(f"an element header is cut at byte {position}")
    number, size = _HEADER.unpack_from(frame, position)
    position += _HEADER.size
    payload = frame[position : position + size]
    if len(payload) != size:
        raise MalformedFrame(f"element {number} says {size} bytes, {len(payload)} are left")
    position += size
    known = _ELEMENTS.get(number)
    match known.payload if known is not None else ElementType.RAW:
        case ElementType.UINT | ElementType.BITFLAGS:
            if size != _UINT.size:
                raise MalformedFrame(f"element {number}: a uint has 4 bytes, not {size}")
            return position, number, int(_UINT.unpack(payload)[0])
        case ElementType.STR:
            if size < 5 or payload.find(b"\0", 4) != size - 1:
                raise MalformedFrame(f"element {number}: a str is a hash, text and one NUL")
            return position, number, payload[4:-1].decode()
        case _:
            return position, number, payload
