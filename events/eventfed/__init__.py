"""eventfed: Asterisk's events, their encodings, and the client of a federation of Asterisk servers on NATS."""

from .core.administration import Administration
from .core.bus import Bus, BusAdministration, BusListener, Interest, StreamInfo
from .core.change_log import Cursor
from .core.changes import Change, MemberChanged, Reset, StateChanged, StateRemoved, Synced
from .core.claims import Claim, ClaimState
from .core.counters import FederationCounters
from .core.messages import Message, Refusal, Stored
from .core.outbox import Outbox
from .core.reports import Reports
from .core.rosters import Rosters
from .core.settings import Credentials, CredentialsSource, FederationSettings, MailboxDeparture, Storage
from .core.troubles import Trouble
from .core.view import State, View
from .federation import Federation
from .jetstream.bus import JetStreamBus
from .jetstream.connection import ConnectionLost
from .jetstream.stream import StreamUnavailable, stream_configuration
from .model.ast_event import asterisk_string_hash, decode_ast_event, encode_ast_event
from .model.counts import MAX_COUNT, Mailbox, check_count
from .model.devices import DeviceState, PresenceState, aggregate_device_state, neutral_device_state
from .model.eid import EID
from .model.elements import Element, ElementType, EventType, InformationElement, Value
from .model.errors import (
    EventfedError,
    MalformedEntityID,
    MalformedEnvelope,
    MalformedEvent,
    MalformedFrame,
    MalformedSubject,
    UnknownKind,
    UnsupportedEnvelope,
)
from .model.event import MAX_NAME, Event, StateKey
from .model.event_bus import EventBus, Subscription
from .model.kinds import KINDS, Kind, Merge, kind_named, kind_of
from .wire.envelope import ENVELOPE_VERSION, MAX_ENVELOPE, MAX_NUMBER, decode_envelope, encode_envelope
from .wire.leases import Lease, decode_lease, encode_lease
from .wire.subjects import Subject, Subjects, quote_key, unquote_key

__all__ = [
    "EID",
    "ENVELOPE_VERSION",
    "KINDS",
    "MAX_COUNT",
    "MAX_ENVELOPE",
    "MAX_NAME",
    "MAX_NUMBER",
    "Administration",
    "Bus",
    "BusAdministration",
    "BusListener",
    "Change",
    "Claim",
    "ClaimState",
    "ConnectionLost",
    "Credentials",
    "CredentialsSource",
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
    "Interest",
    "JetStreamBus",
    "Kind",
    "Lease",
    "Mailbox",
    "MailboxDeparture",
    "MalformedEntityID",
    "MalformedEnvelope",
    "MalformedEvent",
    "MalformedFrame",
    "MalformedSubject",
    "MemberChanged",
    "Merge",
    "Message",
    "Outbox",
    "PresenceState",
    "Refusal",
    "Reports",
    "Reset",
    "Rosters",
    "State",
    "StateChanged",
    "StateKey",
    "StateRemoved",
    "Storage",
    "Stored",
    "StreamInfo",
    "StreamUnavailable",
    "Subject",
    "Subjects",
    "Subscription",
    "Synced",
    "Trouble",
    "UnknownKind",
    "UnsupportedEnvelope",
    "Value",
    "View",
    "aggregate_device_state",
    "asterisk_string_hash",
    "check_count",
    "decode_ast_event",
    "decode_envelope",
    "decode_lease",
    "encode_ast_event",
    "encode_envelope",
    "encode_lease",
    "kind_named",
    "kind_of",
    "neutral_device_state",
    "quote_key",
    "stream_configuration",
    "unquote_key",
]
