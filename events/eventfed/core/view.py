"""The view: what the stream says, in order, of every state and every lease. No I/O."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ..model.eid import EID
from ..model.elements import EventType
from ..model.event import Event, StateKey
from ..model.kinds import KINDS
from ..wire.leases import Lease
from .change_log import ChangeLog, Cursor

__all__ = ["State", "View"]


@dataclass(slots=True)
class _Owner:
    """What is known of one server, beside its lease."""

    keys: dict[StateKey, None] = field(default_factory=dict)
    open: dict[StateKey, None] = field(default_factory=dict)
    changes: int = 0
    epoch: int = 0


_NOBODY: Mapping[EID, Event] = MappingProxyType({})


@dataclass(slots=True)
class State:
    """What is known of one state.

    Args:
        event: its last known value; None if only a tombstone was ever seen.
        tombstone: whether the value is gone, so that the neutral value stands in its place.
        stream_sequence: of the last message on its subject in this incarnation; 0 for none.
        on_stream: whether that message is a value. A tombstone with a value on the stream is a departed state that
            a late write has put back; a value that is not on the stream waits for its owner since the store was lost.
        revision: of the view, when `event` or `tombstone` was changed last.
        epoch: with `sequence`, the newest that was seen in this incarnation; anything older is dropped.
        sequence: see `epoch`.
        replay: the number of the replay in which, or after which, a message on its subject was read last.
    """

    event: Event | None
    tombstone: bool
    stream_sequence: int = 0
    on_stream: bool = True
    revision: int = 0
    epoch: int = 0
    sequence: int = 0
    replay: int = 0


class View:
    """Every state and lease of a federation, shared by all who read them.

    The reader of the stream writes it (`begin_replay`, `put_state`, `put_marker`, `put_lease`, `put_lease_marker`,
    `end_replay`); everybody else only reads. Rules: within a key, older (epoch, sequence) are dropped. Within one
    incarnation of the stream, what a replay lacks is gone. In a new incarnation nothing is gone until the owner's
    lease says that it has published everything, or until `lapse` is told so.

    Args:
        tombstone_ttl: how long a tombstone is remembered, in seconds.
        clock: seconds, monotonic.
        soon: runs a callback a little later, once for many changes; by default at once.
    """

    def __init__(
        self,
        *,
        tombstone_ttl: float = 86_400.0,
        clock: Callable[[], float] = time.monotonic,
        soon: Callable[[Callable[[], None]], object] | None = None,
    ) -> None:
        self._states: dict[StateKey, State] = {}
        self._leases: dict[EID, Lease] = {}
        self.states: Mapping[StateKey, State] = MappingProxyType(self._states)
        """Read only. An event of another revision may replace the one there at any await."""
        self.leases: Mapping[EID, Lease] = MappingProxyType(self._leases)
        """Live leases. Read only."""
        self.revision = 0
        """Grows with each change of a state."""
        self.lease_revision = 0
        """Grows with each change of a lease; a renewal that says the same is none."""
        self.incarnation = ""
        """The ``created`` time of the stream; empty before the first replay."""
        self.incarnations = 0
        """How many of them were seen."""
        self.synced = False
        """Whether the replay that was begun last has ended; False while NATS is away as well."""
        self.older = 0
        """How many states were dropped because a newer one had been read."""
        self.lapsed = 0
        """How many states were dropped without a tombstone on the stream."""
        self._clock = clock
        self._soon = soon or (lambda callback: callback())
        self._tombstone_ttl = tombstone_ttl
        self._log = ChangeLog(self._states)
        self._listeners: list[Callable[[], None]] = []
        self._notifying = False
        self._owners: dict[EID, _Owner] = {}
        # Nearly every name is of one server only, and a dict for each of them would be most of the memory.
        self._values: dict[EventType, dict[str, Event | dict[EID, Event]]] = {
            kind.type: {} for kind in KINDS.values() if kind.has_state
        }
        self._lease_sequences: dict[EID, int] = {}
        self._lease_replays: dict[EID, int] = {}
        self._replay = 0
        self._graves: deque[tuple[float, StateKey, int]] = deque()

    # Reading

    def cursor(self) -> Cursor:
        """A place in the log of changed keys, at its beginning. It costs nothing while nobody asks it."""
        return self._log.cursor()

    def listen(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` after changes of states, leases or `synced`, once for many; the result ends that."""
        self._listeners.append(callback)
        return lambda: self._listeners.remove(callback) if callback in self._listeners else None

    def get(self, key: StateKey) -> Event | None:
        """The value of a state; None if it is unknown or gone."""
        state = self._states.get(key)
        return None if state is None or state.tombstone else state.event

    def of(self, eid: EID) -> Iterator[StateKey]:
        """The keys of one server, tombstones included."""
        owner = self._owners.get(eid)
        return iter(tuple(owner.keys) if owner is not None else ())

    def open_keys(self, eid: EID) -> Iterator[StateKey]:
        """The keys of one server that have a value, in the view or on the stream."""
        owner = self._owners.get(eid)
        return iter(tuple(owner.open) if owner is not None else ())

    def owners(self) -> Iterator[EID]:
        """The servers of which `open_keys` has any."""
        return iter([eid for eid, owner in self._owners.items() if owner.open])

    def changes_of(self, eid: EID) -> int:
        """Grows whenever anything was read on a subject of one server's states."""
        owner = self._owners.get(eid)
        return owner.changes if owner is not None else 0

    def by_server(self, type: EventType, name: str) -> Mapping[EID, Event]:
        """What each server says of one name (``PJSIP/1001``, ``1001@default``); tombstones left out."""
        there = self._values[type].get(name, _NOBODY)
        return {there.eid: there} if isinstance(there, Event) else there

    def highest_epoch(self, eid: EID) -> int:
        """The highest epoch seen of a server, in leases and states; 0 for none."""
        owner = self._owners.get(eid)
        return owner.epoch if owner is not None else 0

    def lease_sequence(self, eid: EID) -> int:
        """The stream sequence of the last lease, or of what ended it, in this incarnation; 0 for none."""
        return self._lease_sequences.get(eid, 0)

    def is_complete(self, eid: EID) -> bool:
        """Whether the server's agent has published everything into this incarnation of the stream."""
        lease = self._leases.get(eid)
        return lease is not None and lease.complete and lease.stream == self.incarnation

    # Writing

    def keep_tombstones(self, seconds: float) -> None:
        """Remember those that come for another time."""
        self._tombstone_ttl = seconds

    def begin_replay(self, incarnation: str) -> bool:
        """A replay of the stream begins. Returns whether it is another stream than before."""
        self._replay += 1
        self.synced = False
        reset = incarnation != self.incarnation
        if reset:
            self.incarnation = incarnation
            self.incarnations += 1
            self._lease_sequences.clear()
            for key, state in self._states.items():
                state.epoch = state.sequence = state.stream_sequence = 0
                state.on_stream = False
                if state.tombstone:
                    self._close(key)
            for eid, owner in self._owners.items():
                owner.changes += 1
                owner.epoch = self._leases[eid].epoch if eid in self._leases else 0
        self._notify()
        return reset

    def end_replay(self) -> None:
        """All that was on the stream when the replay began has been put."""
        for eid in [eid for eid in self._leases if self._lease_replays[eid] != self._replay]:
            self._drop_lease(eid)
        for key in [key for key, state in self._states.items() if state.on_stream and state.replay != self._replay]:
            self.lapse(key)
        self.synced = True
        for eid in list(self._leases):
            self._sweep(eid)
        self._notify()

    def interrupt(self) -> None:
        """NATS is away, or the replay was cut off: what is known stays, but it may be old."""
        self.synced = False
        self._notify()

    def put_state(self, key: StateKey, event: Event, stream_sequence: int) -> bool:
        """A value was read. Returns whether it is the state's value now (False for one that is older)."""
        owner = self._owners.get(key.eid)
        if owner is None:
            owner = self._owners[key.eid] = _Owner()
        state = self._states.get(key)
        if state is None:
            state = self._states[key] = State(None, False)
            owner.keys[key] = owner.open[key] = None
        elif not state.on_stream:
            owner.open[key] = None
        owner.changes += 1
        state.stream_sequence = stream_sequence
        state.on_stream = True
        state.replay = self._replay
        epoch, sequence = event.epoch, event.sequence
        if epoch <= state.epoch and (
            epoch < state.epoch
            or sequence < state.sequence
            or (sequence == state.sequence and state.tombstone and key.eid not in self._leases)
        ):
            self.older += 1
            return False
        state.epoch, state.sequence = epoch, sequence
        if epoch > owner.epoch:
            owner.epoch = epoch
        before = state.event
        state.event = event
        names = self._values[key.type]
        there = names.get(key.key)
        if there is None or there is before:
            names[key.key] = event
        elif isinstance(there, Event):
            names[key.key] = {there.eid: there, key.eid: event}
        else:
            there[key.eid] = event
        if before is None or state.tombstone or not before.same_value(event):
            state.tombstone = False
            self._change(key, state)
        return True

    def put_unreadable(self, key: StateKey, stream_sequence: int) -> None:
        """Something unreadable stands on a state's subject: the last value is shown until its owner corrects it."""
        state = self._states.get(key)
        if state is not None:
            state.stream_sequence = stream_sequence
            state.on_stream = True
            state.replay = self._replay
            owner = self._owners[key.eid]
            owner.open[key] = None
            owner.changes += 1

    def put_marker(self, key: StateKey, stream_sequence: int) -> None:
        """A marker was read: its owner took the state back, a deputy buried it, or its TTL has ended."""
        state = self._states.get(key)
        if state is None:
            state = self._states[key] = State(None, False)
            self._owners.setdefault(key.eid, _Owner()).keys[key] = None
        state.stream_sequence = stream_sequence
        state.on_stream = False
        state.replay = self._replay
        self._bury(key, state)

    def put_lease(self, lease: Lease, stream_sequence: int) -> None:
        """A lease was read.

        Leases are written on condition of what they replace, so the stream's order is theirs. One of a lower epoch
        than was seen comes from a clock behind another's: then the old numbers count no longer.
        """
        eid = lease.eid
        self._lease_sequences[eid] = stream_sequence
        self._lease_replays[eid] = self._replay
        owner = self._owners.setdefault(eid, _Owner())
        if lease.epoch < owner.epoch:
            for key in owner.keys:
                state = self._states[key]
                state.epoch = state.sequence = 0
        owner.epoch = lease.epoch
        if self._leases.get(eid) != lease:
            self._leases[eid] = lease
            self.lease_revision += 1
            self._notify()
        if self.synced:
            self._sweep(eid)

    def put_later_lease(self, eid: EID, stream_sequence: int) -> None:
        """A lease of a later version was read: somebody serves the member, so a lease that is known stays."""
        self._lease_sequences[eid] = stream_sequence
        self._lease_replays[eid] = self._replay

    def put_lease_marker(self, eid: EID, stream_sequence: int) -> None:
        """The end of a lease was read: released, or lapsed."""
        self._lease_sequences[eid] = stream_sequence
        self._drop_lease(eid)

    def lapse(self, key: StateKey) -> None:
        """Drop a value that is not on the stream (any more); a tombstone stands in its place."""
        state = self._states.get(key)
        if state is not None:
            state.on_stream = False
            if not state.tombstone:
                self.lapsed += 1
            self._bury(key, state)

    def forget_old_tombstones(self) -> None:
        """Forget tombstones older than their TTL."""
        now = self._clock()
        while self._graves and self._graves[0][0] <= now:
            _, key, revision = self._graves.popleft()
            state = self._states.get(key)
            if state is not None and state.tombstone and state.revision == revision and not state.on_stream:
                del self._states[key]
                owner = self._owners[key.eid]
                del owner.keys[key]
                if not owner.keys and key.eid not in self._leases:
                    del self._owners[key.eid]

    def _sweep(self, eid: EID) -> None:
        if self.is_complete(eid):
            for key in self.open_keys(eid):
                if not self._states[key].on_stream:
                    self.lapse(key)

    def _bury(self, key: StateKey, state: State) -> None:
        self._close(key)
        if state.tombstone:
            return
        state.tombstone = True
        names = self._values[key.type]
        there = names.get(key.key)
        if isinstance(there, dict):
            there.pop(key.eid, None)
        if not there or there is state.event:
            names.pop(key.key, None)
        self._change(key, state)
        self._graves.append((self._clock() + self._tombstone_ttl, key, state.revision))

    def _close(self, key: StateKey) -> None:
        self._owners[key.eid].open.pop(key, None)

    def _drop_lease(self, eid: EID) -> None:
        if self._leases.pop(eid, None) is not None:
            self.lease_revision += 1
            self._notify()

    def _change(self, key: StateKey, state: State) -> None:
        self.revision += 1
        state.revision = self.revision
        self._log.append(self.revision, key)
        if not self._notifying:
            self._notify()

    def _notify(self) -> None:
        if self._listeners and not self._notifying:
            self._notifying = True
            self._soon(self._call_listeners)

    def _call_listeners(self) -> None:
        self._notifying = False
        for callback in tuple(self._listeners):
            callback()
