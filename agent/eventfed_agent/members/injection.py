"""What one member is given: the shared view through a cursor, its mailboxes through the slot model.

No copy of the states is kept per member: an item is only a name, and its value is looked up when its turn comes.
So a device that changes a thousand times while a member is slow costs that member one PUBLISH.
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias

from eventfed import EID, Cursor, Event, EventType, Merge, StateKey, View, kind_of

from ..adapter import Adapter, AdapterOutcome, Delivery
from ..event_log import Journal
from .mailboxes import MailboxSlots, mailbox_event, mailbox_key
from .names import Filters
from .turns import MemberTurns

__all__ = ["InjectionCounters", "InjectionHost", "Injector", "Item", "tell_dropped"]

_LANE_LIMIT = 64
_ATTEMPTS = 3
_LOOK_AGAIN = 0.2

Item: TypeAlias = tuple[EventType, EID | None, str]
"""A state of one server, or a mailbox (of all servers: EID None)."""


def tell_dropped(journal: Journal, member: str, item: Item, why: str) -> None:
    """Tell people of a name that a member is not given; once for each server that it comes from."""
    _, eid, name = item
    source = member if eid is None else f"{member}, from {eid}"
    journal.warn("injection_dropped", source, name=name, why=why)


@dataclass(slots=True)
class InjectionCounters:
    """What became of the items of one member."""

    injected: int = 0
    coalesced: int = 0
    silent: int = 0
    refused: int = 0
    given_up: int = 0
    unbuildable: int = 0
    events_dropped: int = 0


class InjectionHost(Protocol):
    """The member, as its injector sees it."""

    def last_word(self, key: StateKey) -> Event | None:
        """What the member itself published last of a state."""
        ...

    def may_inject(self) -> bool:
        """Whether this agent holds the member's lease at this moment."""
        ...

    def went_wrong(self, outcome: AdapterOutcome) -> None:
        """An injection did not succeed."""
        ...

    def suspect_intrusion(self) -> None:
        """The member had lost a publication of ours, whether the injection succeeded then or not."""
        ...

    def delivered(self, event: Event) -> None:
        """An injection succeeded."""
        ...

    def dropped(self, item: Item, why: str) -> None:
        """A name is given up: no message can be made of it, or the member cannot read the message."""
        ...

    def look(self) -> None:
        """`Injector.idle` may have come true."""
        ...


class _Lane:
    """Items of one publication, each once, oldest first."""

    def __init__(self) -> None:
        self.items: OrderedDict[Item, int] = OrderedDict()
        self.wake = asyncio.Event()
        self.busy = False

    def put(self, item: Item, attempts: int = 0, *, first: bool = False) -> bool:
        new = item not in self.items
        self.items.setdefault(item, attempts)
        if first:
            self.items.move_to_end(item, last=False)
        self.wake.set()
        return new


class Injector:
    """Keeps one member's copy of the others' states up to date while `gate` is open.

    Args:
        eid: the member's own EID; its own states are never injected.
        federation_eid: stands for "the others" in mailboxes.
        view: what the federation says.
        turns: when the member may be asked again after it refused.
        host: the member.
    """

    def __init__(
        self,
        *,
        eid: EID,
        federation_eid: EID,
        view: View,
        filters: Filters,
        slots: MailboxSlots,
        adapter: Adapter,
        turns: MemberTurns,
        host: InjectionHost,
    ) -> None:
        self.slots = slots
        self.counters = InjectionCounters()
        self._eid = eid
        self._federation_eid = federation_eid
        self._view = view
        self._filters = filters
        self._withdrawing = False
        self._adapter = adapter
        self._turns = turns
        self._host = host
        self._lanes = [_Lane() for _ in range(adapter.lanes)]
        self._cursor: Cursor = view.cursor()
        self._wake = asyncio.Event()
        self._gate = asyncio.Event()
        self._space = asyncio.Event()
        self._settled = asyncio.Event()
        self._delayed: dict[str, asyncio.TimerHandle] = {}
        self._events: dict[Item, Event] = {}

    # --- what the member tells us -----------------------------------------------------------------------------

    def open(self) -> None:
        """The member answers: inject."""
        self._gate.set()
        self._wake.set()

    def close(self) -> None:
        """The member does not answer, or is not ours: keep, do not inject."""
        self._gate.clear()
        self.counters.events_dropped += len(self._events)
        self._events.clear()

    def restart(self) -> None:
        """The member may have forgotten everything: give it everything again."""
        self.slots.forget()
        self._cursor.rewind()
        self._wake.set()
        self._turns.hurry()

    def touch(self, mailbox: str) -> None:
        """The member's own counts of a mailbox changed."""
        self._put((mailbox_key(mailbox, self._eid).type, None, mailbox))

    def pass_on(self, event: Event) -> None:
        """An event without a last value: inject it now, or never. A newer one of the same name replaces it."""
        item = (event.type, event.eid, event.key)
        if kind_of(event.type).merge is not Merge.PER_SERVER or not self._concerns(event.state_key):
            return
        if not self._filters.asks_for(event.type, event.key):
            return
        if self._withdrawing or not self._gate.is_set() or not self._host.may_inject() or not self._has_space(item):
            self.counters.events_dropped += 1
            return
        self._events[item] = replace(event, cachable=False)
        self._put(item)

    def refilter(self, filters: Filters) -> None:
        """Other filters: withdraw what passes no longer, give what passes now."""
        old, self._filters = self._filters, filters
        for state in list(self._view.states):
            before, now = old.subscribes(state.type, state.key), filters.subscribes(state.type, state.key)
            if before != now and (state.eid != self._eid or kind_of(state.type).is_counted):
                self._put(self._item(state))

    def withdraw(self) -> None:
        """The member leaves the federation: take back every foreign state, give its own counts back."""
        self._withdrawing = True
        self._cursor.rewind()
        self._wake.set()

    @property
    def idle(self) -> bool:
        """Nothing is waiting and nothing under way."""
        return self._cursor.behind == 0 and not any(lane.items or lane.busy for lane in self._lanes)

    async def wait_idle(self) -> None:
        """Until nothing waits and nothing is under way."""
        while not self.idle:
            self._settled.clear()
            await self._settled.wait()

    @property
    def backlog(self) -> int:
        """How many names wait, at most."""
        return self._cursor.behind + sum(len(lane.items) + lane.busy for lane in self._lanes)

    def notify(self) -> None:
        """The view has changed."""
        self._wake.set()

    # --- tasks ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Inject until cancelled."""
        unlisten = self._view.listen(self.notify)
        try:
            async with asyncio.TaskGroup() as tasks:
                for number, lane in enumerate(self._lanes):
                    tasks.create_task(self._drain(number, lane))
                await self._dispatch()
        finally:
            unlisten()
            for handle in self._delayed.values():
                handle.cancel()

    async def _dispatch(self) -> None:
        turns = 0
        while True:
            await self._gate.wait()
            state = self._cursor.next()
            if state is None:
                self._tell_settled()
                self._wake.clear()
                await self._wake.wait()
                continue
            turns += 1
            if turns % 256 == 0:
                await asyncio.sleep(0)
            if not self._concerns(state):
                continue
            item = self._item(state)
            while not self._has_space(item):
                self._space.clear()
                await self._space.wait()
            self._put(item)

    async def _drain(self, number: int, lane: _Lane) -> None:
        while True:
            while not lane.items:
                lane.wake.clear()
                await lane.wake.wait()
            await self._gate.wait()
            async with self._turns.turn(number):
                may_inject = await self._inject_next(number, lane)
                self._tell_settled()
            if not may_inject:
                await asyncio.sleep(_LOOK_AGAIN)

    async def _inject_next(self, number: int, lane: _Lane) -> bool:
        """One item of a lane, with the value that it has now. Returns whether this agent may inject at all."""
        if not lane.items or not self._gate.is_set():
            return True
        item, attempts = lane.items.popitem(last=False)
        self._space.set()
        lane.busy = True
        spoken = self.slots.announcements(item[2])
        try:
            event = self._value(item)
            if event is None:
                return True
            if not self._host.may_inject():
                lane.put(item, attempts, first=True)
                return False
            outcome = await self._adapter.inject(event, number)
        except Exception as error:
            # What others said of one name must not end what the member is given of all the others.
            self.counters.unbuildable += 1
            self._host.dropped(item, f"{type(error).__name__}: {error!s:.160}")
            return True
        finally:
            lane.busy = False
        self._turns.ended(number, outcome)
        self._settle(lane, item, attempts, event, outcome, spoken)
        return True

    def _settle(
        self, lane: _Lane, item: Item, attempts: int, event: Event, outcome: AdapterOutcome, spoken: int
    ) -> None:
        if outcome.intrusion:
            self._host.suspect_intrusion()
        if outcome.delivery is Delivery.ACCEPTED:
            self.counters.injected += 1
            if item[1] is None:
                own = event.eid == self._eid
                self.slots.injected(item[2], event.counts, self._now(), spoken, given_back=own)
                self._put(item)  # the sum may have changed while it was under way; if not, nothing is due
            self._host.delivered(event)
            return
        self._host.went_wrong(outcome)
        if outcome.delivery is Delivery.SILENT:
            self.counters.silent += 1
            lane.put(item, attempts, first=True)
            return
        self.counters.refused += 1
        # Asking without an end for what the server cannot read would hold the lane up. All other refusals are about the
        # server's configuration and heal when that is mended.
        if outcome.unreadable and attempts + 1 >= _ATTEMPTS:
            self.counters.given_up += 1
            self._host.dropped(item, f"the server cannot read it ({outcome.label})")
            return
        lane.put(item, attempts + 1, first=not outcome.unreadable)

    def _tell_settled(self) -> None:
        self._settled.set()
        self._host.look()

    # --- values -----------------------------------------------------------------------------------------------

    def _item(self, state: StateKey) -> Item:
        return (state.type, None if kind_of(state.type).is_counted else state.eid, state.key)

    def _concerns(self, state: StateKey) -> bool:
        # A counted name concerns the server itself too: the sum over all servers stands in its slot.
        others = state.eid != self._eid or kind_of(state.type).is_counted
        return others and self._filters.subscribes(state.type, state.key)

    def _has_space(self, item: Item) -> bool:
        lane = self._lanes[self._adapter.lane_of(item[0], item[2])]
        return len(lane.items) < _LANE_LIMIT or item in lane.items

    def _put(self, item: Item) -> None:
        if not self._lanes[self._adapter.lane_of(item[0], item[2])].put(item):
            self.counters.coalesced += 1

    def _value(self, item: Item) -> Event | None:
        kind, eid, key = item
        withdraw = self._withdrawing or not self._filters.subscribes(kind, key)
        if eid is None:
            due = self.slots.due(key, self._words(key), self._now(), withdraw=withdraw)
            if due is None:
                self._delay(key, withdraw)
                return None
            mailbox, counts = due
            own = withdraw and self.slots.gives_back(key)
            return mailbox_event(mailbox, counts, self._eid if own else self._federation_eid)
        passing = self._events.pop(item, None)
        state = self._view.states.get(StateKey(kind, eid, key))
        if passing is not None:
            if state is not None:
                self._put(item)  # the device has a lasting state as well, which may wait under the same item
            return passing
        if state is None:
            return None
        if withdraw or state.tombstone or state.event is None:
            neutral = kind_of(kind).neutral
            return Event(kind, eid, neutral(key)) if neutral is not None else None
        return state.event

    def _words(self, mailbox: str) -> dict[EID, Event]:
        """What each server says of a mailbox; the member's own word counts before the bus has it."""
        key = mailbox_key(mailbox, self._eid)
        words = dict(self._view.by_server(key.type, mailbox))
        own = self._host.last_word(key)
        if own is not None:
            words[self._eid] = own
        return words

    def _delay(self, mailbox: str, withdraw: bool) -> None:
        """A contended mailbox is not due yet: look again when it is."""
        now, again = self._now(), self.slots.retry_at(mailbox)
        if again <= now or mailbox in self._delayed or withdraw:
            return

        def look_again() -> None:
            del self._delayed[mailbox]
            self.touch(mailbox)

        self._delayed[mailbox] = asyncio.get_running_loop().call_later(again - now, look_again)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
