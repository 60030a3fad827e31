"""From a message of the stream to the view. Bad ones are counted, logged once per source, and dropped. No I/O."""

import logging
from collections.abc import Mapping

from ._counters import FederationCounters
from ._eid import EID
from ._envelope import decode_envelope
from ._errors import EventfedError, UnsupportedEnvelope
from ._event import Event
from ._leases import decode_lease
from ._markers import is_marker
from ._ownership import Ownership
from ._subjects import EventSubject, MemberSubject, RefreshSubject, StateSubject, Subjects
from ._view import View

__all__ = ["Intake"]

_log = logging.getLogger("eventfed.federation")
_MAX_SOURCES = 1000


class Mismatch(EventfedError):
    """A message whose subject and body name different things."""


class Intake:
    """Reads messages into the view, and tells the ownership what stands on its subjects."""

    def __init__(self, subjects: Subjects, view: View, ownership: Ownership, counters: FederationCounters) -> None:
        self._subjects = subjects
        self._view = view
        self._ownership = ownership
        self._counters = counters
        self._complained: set[tuple[str, type]] = set()

    def stored(self, subject: str, body: bytes, headers: Mapping[str, str] | None, sequence: int) -> None:
        """A message of the stream."""
        self._counters.received += 1
        try:
            match self._subjects.parse(subject):
                case StateSubject(_, key):
                    event = None if is_marker(body, headers) else decode_envelope(body)
                    if event is None:
                        self._view.put_marker(key, sequence)
                    elif event.key != key.key or event.eid != key.eid or event.type is not key.type:
                        raise Mismatch(f"the envelope is of {event.type.token} {event.key!r:.80} of {event.eid}")
                    else:
                        self._view.put_state(key, event, sequence)
                    self._ownership.state_read(key, event, sequence)
                case MemberSubject(_, eid):
                    if is_marker(body, headers):
                        self._view.put_lease_marker(eid, sequence)
                    else:
                        lease = decode_lease(body)
                        if lease.eid != eid:
                            raise Mismatch(f"the lease is of {lease.eid}")
                        self._view.put_lease(lease, sequence)
                    self._ownership.leases_changed(eid)
                case _:
                    raise Mismatch("the stream holds neither events nor requests")
        except EventfedError as error:
            self._complain(subject, error)

    def event(self, subject: str, body: bytes) -> Event | None:
        """A message without a last value; None for a bad one."""
        try:
            match self._subjects.parse(subject):
                case EventSubject(_, kind, eid):
                    event = decode_envelope(body)
                    if event.type is kind and event.eid == eid:
                        return event
            raise Mismatch("subject and envelope differ")
        except EventfedError as error:
            self._complain(subject, error)
        return None

    def refresh(self, subject: str) -> tuple[EID | None] | None:
        """A request for a refresh: of whom (None: of all), or None for a bad one."""
        try:
            match self._subjects.parse(subject):
                case RefreshSubject(_, eid):
                    return (eid,)
            raise Mismatch("this is no request for a refresh")
        except EventfedError as error:
            self._complain(subject, error)
        return None

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
