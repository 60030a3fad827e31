"""The states that one client owns: the last value of each, and whether the stream holds it. No I/O."""

import logging
from collections.abc import Iterator
from typing import Protocol

from ..model.eid import EID
from ..model.elements import EventType
from ..model.event import Event, StateKey
from ..wire.envelope import MAX_ENVELOPE, encode_envelope
from .context import ClientContext
from .messages import Message, Refusal
from .view import View

__all__ = ["OwnState", "OwnStates", "StateOwner"]

_log = logging.getLogger("eventfed.federation")


class StateOwner(Protocol):
    """What an own state needs of the client that it belongs to."""

    context: ClientContext
    view: View

    def epoch(self, eid: EID) -> int | None:
        """The epoch to publish a server's states under, or None while that must wait."""

    def next_sequence(self) -> int:
        """Numbers what is published under one epoch."""

    def ttl(self, kind: EventType) -> float | None:
        """How long a state stays on the stream, in seconds; None: until it is replaced."""

    def settle(self, own: "OwnState") -> None:
        """It is on the stream as it should be."""

    def drop(self, own: "OwnState") -> None:
        """Forget it."""


class OwnState:
    """One state that this client owns: its last value, or the wish that there be none. An `OutboxEntry`."""

    __slots__ = ("_changed", "_home", "body", "corrected_at", "event", "key", "sent", "sequence", "settled", "subject")

    urgent = False

    def __init__(self, home: StateOwner, key: StateKey, subject: str) -> None:
        self.key = key
        self.subject = subject
        self.event: Event | None = None
        """The last value; None once it was taken back."""
        self.sent: Event | None = None
        """What was handed to the bus last, with its epoch and sequence."""
        self.body = b""
        self.settled = False
        self.sequence = 0
        """Of the last message on the subject that is known to be ours, or that ours has to replace."""
        self.corrected_at = float("-inf")
        self._home = home
        self._changed = False

    def set(self, event: Event | None) -> None:
        if self._changed:
            self._home.context.counters.coalesced += 1
        self.event = event
        self._changed = True

    def build(self) -> Message | None:
        home = self._home
        epoch = home.epoch(self.key.eid)
        if epoch is None:
            # The lease was lost while this waited in the outbox. It stays unsettled, and is put again with the lease.
            return None
        self._changed = False
        if self.event is None:
            state = home.view.states.get(self.key)
            expected = max(self.sequence, state.stream_sequence if state is not None else 0)
            if expected == 0:
                # Nothing was ever stored here: a tombstone would only tell readers of a name that they do not know.
                home.settle(self)
                return None
            # On condition, so that it does not bury a value that the server's next owner has stored meanwhile.
            return Message(b"", home.context.settings.tombstone_ttl, expected, tombstone=True)
        self.sent = self.event.stamped(epoch=epoch, sequence=home.next_sequence())
        self.body = encode_envelope(self.sent)
        if len(self.body) > MAX_ENVELOPE:
            home.context.counters.oversized += 1
            _log.error("%s: an envelope of %d bytes is too large, the value is dropped", self.subject, len(self.body))
            home.drop(self)
            return None
        # Without a condition: readers drop what has an older epoch, and the owner of the newer one corrects it.
        return Message(self.body, home.ttl(self.key.type))

    def stored(self, sequence: int) -> None:
        self.sequence = sequence
        if not self._changed:
            # Else a newer value waits already, and the stream does not hold that.
            self._home.settle(self)

    def refused(self, refusal: Refusal) -> bool:
        if refusal.last_sequence is None:
            return True
        self.sequence = refusal.last_sequence
        if refusal.last_sequence == 0 and self.event is None:
            # What the tombstone was to replace has lapsed: that is as good.
            self._home.settle(self)
            return False
        return True


class OwnStates:
    """All own states of one client by server, and which of them the stream does not hold as it should.

    A server's lease says that it is complete only while none of its states is unsettled.
    """

    def __init__(self) -> None:
        self._states: dict[EID, dict[StateKey, OwnState]] = {}
        self._unsettled: dict[EID, set[StateKey]] = {}

    def __iter__(self) -> Iterator[OwnState]:
        """All that there are now; what happens meanwhile does not disturb it."""
        return iter([own for states in self._states.values() for own in states.values()])

    def get(self, key: StateKey) -> OwnState | None:
        states = self._states.get(key.eid)
        return None if states is None else states.get(key)

    def of(self, eid: EID) -> list[OwnState]:
        """Those of one server."""
        return list(self._states.get(eid, {}).values())

    def servers(self) -> list[EID]:
        return list(self._states)

    def add(self, own: OwnState) -> None:
        self._states.setdefault(own.key.eid, {})[own.key] = own

    def remove(self, own: OwnState) -> None:
        self._states.get(own.key.eid, {}).pop(own.key, None)

    def pop(self, eid: EID) -> list[OwnState]:
        """Forget those of one server."""
        self._unsettled.pop(eid, None)
        return list(self._states.pop(eid, {}).values())

    # Which of them the stream does not hold

    def is_settled(self, eid: EID) -> bool:
        """Whether the stream holds all states of a server."""
        return eid not in self._unsettled

    def unsettled(self, eid: EID) -> list[OwnState]:
        """What the stream lacks of one server."""
        keys = self._unsettled.get(eid)
        return [self._states[eid][key] for key in keys] if keys else []

    def unsettled_servers(self) -> list[EID]:
        return list(self._unsettled)

    def unsettle(self, own: OwnState) -> None:
        own.settled = False
        self._unsettled.setdefault(own.key.eid, set()).add(own.key)

    def settle(self, own: OwnState) -> bool:
        """The stream holds it. Returns whether it was the last that was lacking of its server."""
        own.settled = True
        unsettled = self._unsettled.get(own.key.eid)
        if unsettled is None:
            return False
        unsettled.discard(own.key)
        if unsettled:
            return False
        del self._unsettled[own.key.eid]
        return True
