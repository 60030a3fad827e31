"""From a message of the stream to the view. Bad ones are counted, logged once per source, and dropped. No I/O."""

import contextlib
import logging

from ..model.errors import EventfedError, UnsupportedEnvelope
from ..model.event import Event, StateKey
from ..wire.envelope import decode_envelope
from ..wire.leases import decode_lease
from ..wire.report import AgentReport, decode_report
from ..wire.roster import decode_roster
from ..wire.subjects import (
    EventSubject,
    ForgetSubject,
    MemberSubject,
    RefreshSubject,
    ReportSubject,
    RosterSubject,
    StateSubject,
    Subjects,
)
from .counters import FederationCounters
from .messages import Stored
from .ownership import Ownership
from .rosters import Rosters
from .view import View

__all__ = ["Intake"]

_log = logging.getLogger("eventfed.federation")
_MAX_SOURCES = 1000


class Mismatch(EventfedError):
    """A message whose subject and body name different things."""


class Intake:
    """Reads messages into view and rosters, and tells the ownership what stands on its subjects."""

    def __init__(
        self, subjects: Subjects, view: View, rosters: Rosters, ownership: Ownership, counters: FederationCounters
    ) -> None:
        self._subjects = subjects
        self._view = view
        self._rosters = rosters
        self._ownership = ownership
        self._counters = counters
        self._complained: set[tuple[str, type]] = set()

    def stored(self, message: Stored) -> None:
        """A message of the stream."""
        self._counters.received += 1
        try:
            key = self._subjects.state_key(message.subject)
            if key is not None:
                self._state(key, message)
            else:
                self._other(message)
        except EventfedError as error:
            self._complain(message.subject, error)
            self._unreadable(message.subject, error, message.sequence)

    def _state(self, key: StateKey, message: Stored) -> None:
        _, body, gone, sequence = message
        if gone:
            self._view.put_marker(key, sequence)
            self._ownership.state_read(key, None, sequence)
            return
        event = self._ownership.echo(key, body) or decode_envelope(body)
        if event.key != key.key or event.eid != key.eid or event.type is not key.type:
            raise Mismatch(f"the envelope is of {event.type.token} {event.key!r:.80} of {event.eid}")
        self._view.put_state(key, event, sequence)
        self._ownership.state_read(key, event, sequence)

    def _other(self, message: Stored) -> None:
        subject, body, gone, sequence = message
        match self._subjects.parse(subject):
            case MemberSubject(_, eid):
                if gone:
                    self._view.put_lease_marker(eid, sequence)
                else:
                    lease = decode_lease(body)
                    if lease.eid != eid:
                        raise Mismatch(f"the lease is of {lease.eid}")
                    self._view.put_lease(lease, sequence)
                self._ownership.leases_changed(eid)
            case RosterSubject(_, node):
                if gone:
                    self._rosters.put_marker(node, sequence)
                else:
                    roster = decode_roster(body)
                    if roster.node != node:
                        raise Mismatch(f"the roster is of {roster.node!r:.80}")
                    self._rosters.put(roster, sequence)
            case _:
                raise Mismatch("the stream holds neither events nor requests")

    def heard(
        self, subject: str, body: bytes, *, events: bool
    ) -> Event | AgentReport | RefreshSubject | ForgetSubject | None:
        """What a plain message says; None for a bad one.

        Args:
            events: whether anybody listens to events without a last value: else they are not decoded.
        """
        try:
            match self._subjects.parse(subject):
                case RefreshSubject() | ForgetSubject() as asked:
                    return asked
                case EventSubject(_, kind, eid):
                    if not events:
                        return None
                    event = decode_envelope(body)
                    if event.type is kind and event.eid == eid:
                        return event
                case ReportSubject(_, agent):
                    report = decode_report(body)
                    if report.agent == agent:
                        return report
            raise Mismatch("subject and body name different things, or what is stored was sent as if it were not")
        except EventfedError as error:
            self._complain(subject, error)
        return None

    def _unreadable(self, subject: str, error: EventfedError, sequence: int) -> None:
        """The stream keeps one message a subject, so this one has taken the place of a value: its owner must know."""
        with contextlib.suppress(EventfedError):
            match self._subjects.parse(subject):
                case StateSubject(_, key):
                    self._view.put_unreadable(key, sequence)
                    self._ownership.state_read(key, None, sequence)
                case RosterSubject(_, node):
                    self._rosters.put_unreadable(node, sequence)
                case MemberSubject(_, eid):
                    if isinstance(error, UnsupportedEnvelope):
                        self._view.put_later_lease(eid, sequence)
                    else:
                        self._view.put_lease_marker(eid, sequence)
                    self._ownership.leases_changed(eid)

    def _complain(self, subject: str, error: EventfedError) -> None:
        if isinstance(error, UnsupportedEnvelope):
            self._counters.unsupported += 1
        elif isinstance(error, Mismatch):
            self._counters.mismatched += 1
        else:
            self._counters.malformed += 1
        source = (_source(subject), type(error))
        if source not in self._complained and len(self._complained) < _MAX_SOURCES:
            self._complained.add(source)
            _log.warning("dropped a message on %.200r: %s; more like it are only counted", subject, error)


def _source(subject: str) -> str:
    """The part of a subject that says whose message it is: all but the key of a state."""
    return ".".join(subject.split(".")[:6])
