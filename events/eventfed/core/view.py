"""The view: what the stream says, in order, of every state and every lease. No I/O."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ..model.eid import EID
from ..model.elements import EventType
from ..model.event import Event, StateKey
from ..wire.leases import Lease
from .callbacks import Notifier
from .change_log import ChangeLog, Cursor
from .lease_store import LeaseStore
from .name_index import NameIndex
from .tombstone_memory import TombstoneMemory

__all__ = ["State", "View"]


@dataclass(slots=True)
class _Owner:
    """What is known of one server, beside its lease."""

    keys: dict[StateKey, None] = field(default_factory=dict)
    open: dict[StateKey, None] = field(default_factory=dict)
    changes: int = 0
    epoch: int = 0


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
    lease says that it has published everything, or until `expire` is called.

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
        self.states: Mapping[StateKey, State] = MappingProxyType(self._states)
        """Read only. An event of another revision may replace the one there at any await."""
        self.revision = 0
        """Grows with each change of a state."""
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
        self._log = ChangeLog(self._states)
        self._notifier = Notifier(soon)
        self._owners: dict[EID, _Owner] = {}
        self._names = NameIndex()
        self._leases = LeaseStore()
        self._tombstones = TombstoneMemory(tombstone_ttl, clock)
        self._replay = 0

    # Reading

    @property
    def leases(self) -> Mapping[EID, Lease]:
        """Live leases. Read only."""
        return self._leases.live

    @property
    def lease_revision(self) -> int:
        """Grows with each change of a lease; a renewal that says the same is none."""
        return self._leases.revision

    def cursor(self) -> Cursor:
        """A place in the log of changed keys, at its beginning. It costs nothing while nobody asks it."""
        return self._log.cursor()

    def listen(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` after changes of states, leases or `synced`, once for many; the result ends that."""
        return self._notifier.listen(callback)

    def follow(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` as soon as what was read has been taken in whole, in the same turn of the event loop.

        It is called for each message of the stream that changes something, and so must be quick. What it raises breaks
        the reading of the bus, and so must stay with it. The result ends that.
        """
        return self._notifier.follow(callback)

    def tell_followers(self) -> None:
        """What was read has been taken in whole."""
        self._notifier.tell()

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
        return self._names.get(type, name)

    def highest_epoch(self, eid: EID) -> int:
        """The highest epoch seen of a server, in leases and states; 0 for none."""
        owner = self._owners.get(eid)
        return owner.epoch if owner is not None else 0

    def lease_sequence(self, eid: EID) -> int:
        """The stream sequence of the last lease, or of what ended it, in this incarnation; 0 for none."""
        return self._leases.sequence(eid)

    def is_complete(self, eid: EID) -> bool:
        """Whether the server's agent has published everything into this incarnation of the stream."""
        lease = self._leases.live.get(eid)
        # What a lease said of the stream before says nothing about this one.
        return lease is not None and lease.complete and lease.stream == self.incarnation

    # Writing

    def keep_tombstones(self, seconds: float) -> None:
        """Remember those that come for another time."""
        self._tombstones.ttl = seconds

    def begin_replay(self, incarnation: str) -> bool:
        """A replay of the stream begins. Returns whether it is another stream than before."""
        self._replay += 1
        self.synced = False
        reset = incarnation != self.incarnation
        if reset:
            self.incarnation = incarnation
            self.incarnations += 1
            self._leases.forget_sequences()
            for key, state in self._states.items():
                # The values stay shown: their owners will publish them again. Their numbers are of the lost store, and
                # a store that was restored from a copy may begin below them.
                state.epoch = state.sequence = state.stream_sequence = 0
                state.on_stream = False
                if state.tombstone:
                    self._close(key)
            for eid, owner in self._owners.items():
                owner.changes += 1
                lease = self._leases.live.get(eid)
                owner.epoch = lease.epoch if lease is not None else 0
        self._notifier.notify()
        return reset

    def end_replay(self) -> None:
        """All that was on the stream when the replay began has been put."""
        for eid in self._leases.not_read_in(self._replay):
            # It ended while nothing was read here.
            self._drop_lease(eid)
        for key in [key for key, state in self._states.items() if state.on_stream and state.replay != self._replay]:
            self.expire(key)
        self.synced = True
        for eid in list(self._leases.live):
            # Only now: a complete lease is read before the states that it speaks of.
            self._sweep(eid)
        self._notifier.notify()

    def interrupt(self) -> None:
        """NATS is away, or the replay was cut off: what is known stays, but it may be old."""
        self.synced = False
        self._notifier.notify()

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
        # The same numbers again are a replay, or a renewal. Under a tombstone they are a late write of a departed
        # server, which must not light its lamps again; while it has a lease they are what its owner has put back.
        if epoch <= state.epoch and (
            epoch < state.epoch
            or sequence < state.sequence
            or (sequence == state.sequence and state.tombstone and key.eid not in self._leases.live)
        ):
            self.older += 1
            return False
        state.epoch, state.sequence = epoch, sequence
        if epoch > owner.epoch:
            owner.epoch = epoch
        before = state.event
        state.event = event
        self._names.put(event, before)
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
            # Something stands there that has to be buried one day, should its owner not come back.
            owner.open[key] = None
            owner.changes += 1

    def put_marker(self, key: StateKey, stream_sequence: int) -> None:
        """A marker was read: its owner took the state back, a deputy buried it, or its TTL has ended."""
        state = self._states.get(key)
        if state is None:
            # Remembered though nothing is known to have stood there: an older value may still come.
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
        self._leases.read(eid, stream_sequence, self._replay)
        owner = self._owners.setdefault(eid, _Owner())
        if lease.epoch < owner.epoch:
            for key in owner.keys:
                state = self._states[key]
                state.epoch = state.sequence = 0
        owner.epoch = lease.epoch
        if self._leases.put(lease):
            self._notifier.notify()
        if self.synced:
            # During a replay the states that the lease calls complete may not have been read yet.
            self._sweep(eid)

    def put_later_lease(self, eid: EID, stream_sequence: int) -> None:
        """A lease of a later version was read: somebody serves the member, so a lease that is known stays."""
        self._leases.read(eid, stream_sequence, self._replay)

    def put_lease_marker(self, eid: EID, stream_sequence: int) -> None:
        """The end of a lease was read: released, or lapsed."""
        if self._leases.end(eid, stream_sequence):
            self._notifier.notify()

    def expire(self, key: StateKey) -> None:
        """Drop a value that is not on the stream (any more); a tombstone stands in its place."""
        state = self._states.get(key)
        if state is not None:
            state.on_stream = False
            if not state.tombstone:
                self.lapsed += 1
            self._bury(key, state)

    def forget_old_tombstones(self) -> None:
        """Forget tombstones older than their TTL."""
        for key, revision in self._tombstones.old():
            state = self._states.get(key)
            # Changed since, it has another entry. With a value on the stream it is not buried yet.
            if state is not None and state.tombstone and state.revision == revision and not state.on_stream:
                del self._states[key]
                owner = self._owners[key.eid]
                del owner.keys[key]
                # With a lease its epoch has to be known.
                if not owner.keys and key.eid not in self._leases.live:
                    del self._owners[key.eid]

    def _sweep(self, eid: EID) -> None:
        if self.is_complete(eid):
            for key in self.open_keys(eid):
                if not self._states[key].on_stream:
                    self.expire(key)

    def _bury(self, key: StateKey, state: State) -> None:
        self._close(key)
        if state.tombstone:
            return
        state.tombstone = True
        # The event stays in the state: a tombstone's value is told to who asks what there was.
        self._names.remove(key, state.event)
        self._change(key, state)
        self._tombstones.add(key, state.revision)

    def _close(self, key: StateKey) -> None:
        self._owners[key.eid].open.pop(key, None)

    def _drop_lease(self, eid: EID) -> None:
        if self._leases.drop(eid):
            self._notifier.notify()

    def _change(self, key: StateKey, state: State) -> None:
        self.revision += 1
        state.revision = self.revision
        self._log.append(self.revision, key)
        self._notifier.notify()
