"""What a deputy publishes for a server that has departed. No I/O."""

from collections.abc import Iterable

from ..wire.envelope import encode_envelope
from ..wire.subjects import Subjects
from .counters import FederationCounters
from .departures import Departure, Expire, Republish, WriteTombstone
from .messages import Message, Refusal
from .outbox import Outbox
from .settings import FederationSettings
from .view import View

__all__ = ["DeputyEntry", "apply_departures"]


def apply_departures(
    departures: Iterable[Departure],
    outbox: Outbox,
    subjects: Subjects,
    view: View,
    settings: FederationSettings,
    counters: FederationCounters,
) -> None:
    """Do what departures ask for: put tombstones on the bus, and drop here what the bus has no more."""
    for departure in departures:
        if isinstance(departure, Expire):
            view.expire(departure.key)
        else:
            outbox.put(DeputyEntry(departure, subjects, view, settings, counters))


class DeputyEntry:
    """A tombstone, or a kept mailbox put back; always on condition of what it replaces, so that its owner wins."""

    __slots__ = ("_counters", "_departure", "_settings", "_view", "subject")

    urgent = False

    def __init__(
        self,
        departure: WriteTombstone | Republish,
        subjects: Subjects,
        view: View,
        settings: FederationSettings,
        counters: FederationCounters,
    ) -> None:
        self.subject = subjects.state(departure.key)
        self._departure = departure
        self._view = view
        self._settings = settings
        self._counters = counters

    def build(self) -> Message | None:
        departure, state = self._departure, self._view.states.get(self._departure.key)
        if state is None or departure.key.eid in self._view.leases or not self._view.synced:
            return None
        if isinstance(departure, Republish):
            return None if state.on_stream else Message(encode_envelope(departure.event), expected=0)
        if not state.on_stream or state.stream_sequence != departure.sequence:
            return None
        return Message(b"", self._settings.tombstone_ttl, departure.sequence, tombstone=True)

    def stored(self, sequence: int) -> None:
        if isinstance(self._departure, Republish):
            self._counters.put_back += 1
        else:
            self._counters.tombstones += 1

    def refused(self, refusal: Refusal) -> bool:
        if refusal.last_sequence is None:
            return True
        self._counters.superseded += 1
        return False
