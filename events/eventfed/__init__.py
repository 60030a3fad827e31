"""eventfed: Asterisk's events, their encodings, and the client of a federation of Asterisk servers on NATS."""

from ._administration import Administration, StreamInfo
from ._ast_event import asterisk_string_hash, decode_ast_event, encode_ast_event
from ._bus import EventBus, Subscription
from ._change_log import Cursor
from ._changes import Change, MemberChanged, Reset, StateChanged, StateRemoved, Synced
from ._claims import Claim, ClaimState
from ._connection import ConnectionLost
from ._counters import FederationCounters
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
from ._federation import Federation
from ._leases import Lease, decode_lease, encode_lease
from ._reports import Reports
from ._rosters import Rosters
from ._settings import Credentials, FederationSettings, MailboxDeparture, Storage
from ._stream import StreamUnavailable, stream_configuration
from ._subjects import Subject, Subjects, quote_key, unquote_key
from ._view import State, View

__all__ = [
    "EID",
    "ENVELOPE_VERSION",
    "MAX_ENVELOPE",
    "MAX_NAME",
    "Administration",
    "Change",
    "Claim",
    "ClaimState",
    "ConnectionLost",
    "Credentials",
    "Cursor",
    "DeviceState",
    "Element",
    "ElementType",
    "Event",
    "EventBus",
    "EventType",
    "EventfedError",
    "Federation",
    "FederationCounters",
    "FederationSettings",
    "InformationElement",
    "Lease",
    "Mailbox",
    "MailboxDeparture",
    "MalformedEntityID",
    "MalformedEnvelope",
    "MalformedEvent",
    "MalformedFrame",
    "MalformedSubject",
    "MemberChanged",
    "PresenceState",
    "Reports",
    "Reset",
    "Rosters",
    "State",
    "StateChanged",
    "StateKey",
    "StateRemoved",
    "Storage",
    "StreamInfo",
    "StreamUnavailable",
    "Subject",
    "Subjects",
    "Subscription",
    "Synced",
    "UnsupportedEnvelope",
    "Value",
    "View",
    "aggregate_device_state",
    "asterisk_string_hash",
    "decode_ast_event",
    "decode_envelope",
    "decode_lease",
    "encode_ast_event",
    "encode_envelope",
    "encode_lease",
    "neutral_device_state",
    "quote_key",
    "stream_configuration",
    "unquote_key",
]
