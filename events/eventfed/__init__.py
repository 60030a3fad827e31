"""eventfed: Asterisk's events, their encodings, and the client of a federation of Asterisk servers on NATS."""

from ._ast_event import asterisk_string_hash, decode_ast_event, encode_ast_event
from ._bus import EventBus, Subscription
from ._devices import DeviceState, PresenceState, aggregate_device_state, neutral_device_state
from ._eid import EID
from ._elements import Element, ElementType, EventType, InformationElement, Value
from ._envelope import ENVELOPE_VERSION, MAX_ENVELOPE, decode_envelope, encode_envelope
from ._errors import (
    EventfedError,
    MalformedEntityID,
    MalformedEnvelope,
    MalformedEvent,
    MalformedFrame,
    MalformedSubject,
    UnsupportedEnvelope,
)
from ._event import MAX_NAME, Event, Mailbox, StateKey
from ._subjects import Subject, Subjects, quote_key, unquote_key

__all__ = [
    "EID",
    "ENVELOPE_VERSION",
    "MAX_ENVELOPE",
    "MAX_NAME",
    "DeviceState",
    "Element",
    "ElementType",
    "Event",
    "EventBus",
    "EventType",
    "EventfedError",
    "InformationElement",
    "Mailbox",
    "MalformedEntityID",
    "MalformedEnvelope",
    "MalformedEvent",
    "MalformedFrame",
    "MalformedSubject",
    "PresenceState",
    "StateKey",
    "Subject",
    "Subjects",
    "Subscription",
    "UnsupportedEnvelope",
    "Value",
    "aggregate_device_state",
    "asterisk_string_hash",
    "decode_ast_event",
    "decode_envelope",
    "encode_ast_event",
    "encode_envelope",
    "neutral_device_state",
    "quote_key",
    "unquote_key",
]
