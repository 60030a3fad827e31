"""What one member is given: the shared view through a cursor, its mailboxes through the slot model.

No copy of the states is kept per member: an item is only a name, and its value is looked up when its turn comes.
So a device that changes a thousand times while a member is slow costs that member one PUBLISH.
"""

import asyncio
from dataclasses import dataclass
from typing import Protocol

from eventfed import Cursor, Event, View

from ..adapter import Adapter, AdapterOutcome, Delivery
from ..event_log import EventLog
from .foreign_states import ForeignStates, Item
from .lanes import Lane, Lanes
from .mailboxes import MailboxSlots
from .names import Filters
from .turns import MemberTurns

__all__ = ["InjectionCounters", "InjectionHost", "Injector", "tell_dropped"]

_ATTEMPTS = 3
_LOOK_AGAIN = 0.2
_NAMES_AT_ONCE = 256


def tell_dropped(event_log: EventLog, member: str, item: Item, why: str) -> None:
    """Tell people of a name that a member is not given; once for each server that it comes from."""
    _, eid, name = item
    source = member if eid is None else f"{member}, from {eid}"
    event_log.warn("injection_dropped", source, name=name, why=why)


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

    def may_inject(self) -> bool:
        """Whether this agent holds the member's lease at this moment."""
        ...

    def went_wrong(self, outcome: AdapterOutcome) -> None:
        """An injection did not succeed."""
        ...

    def suspect_intrusion(self) -> None:
        """The member had lost our publication, whether the injection succeeded then or not."""
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


class Injector:
    """Keeps one member's copy of the others' states up to date while `open` counts, not `close`.

    Names go from the cursor into the lanes in the turn of the event loop in which their change was read, as far as the
    lanes have space. Each lane has a task that injects one item after the other.

    Args:
        states: what the member is to have.
        view: the same that `states` reads; says what has changed.
        turns: when the member may be asked again after it refused.
        host: the member.
    """

    def __init__(
        self, states: ForeignStates, view: View, *, adapter: Adapter, turns: MemberTurns, host: InjectionHost
    ) -> None:
        self.counters = InjectionCounters()
        self._states = states
        self._view = view
        self._adapter = adapter
        self._turns = turns
        self._host = host
        self._lanes = Lanes(adapter.lanes, adapter.lane_of)
        self._cursor: Cursor = view.cursor()
        self._held: Item | None = None
        self._filling: asyncio.Handle | None = None
        self._failed: asyncio.Future[None] | None = None
        self._gate = asyncio.Event()
        self._settled = asyncio.Event()
        self._delayed: dict[str, asyncio.TimerHandle] = {}

    @property
    def slots(self) -> MailboxSlots:
        """What stands in the member's mailboxes."""
        return self._states.slots

    # --- what the member tells us -----------------------------------------------------------------------------

    def open(self) -> None:
        """The member answers: inject."""
        self._gate.set()
        self._fill_soon()

    def close(self) -> None:
        """The member does not answer, or is not ours: keep, do not inject."""
        self._gate.clear()
        self.counters.events_dropped += self._states.drop_passing()

    def restart(self) -> None:
        """The member may have forgotten everything: give it everything again."""
        self.slots.forget()
        self._cursor.rewind()
        self._fill_soon()
        self._turns.hurry()

    def mark_dirty(self, mailbox: str) -> None:
        """The member's own counts of a mailbox changed."""
        self._put(self._states.own_mailbox(mailbox))

    def inject_transient(self, event: Event) -> None:
        """An event without a last value: inject it now, or never. A newer one of the same name replaces it."""
        item = (event.type, event.eid, event.key)
        if not self._states.asks_for(event):
            return
        if (
            self._states.withdrawing
            or not self._gate.is_set()
            or not self._host.may_inject()
            or not self._lanes.has_space(item)
        ):
            self.counters.events_dropped += 1
            return
        self._states.inject_transient(item, event)
        self._put(item)

    def refilter(self, filters: Filters) -> None:
        """Other filters: withdraw what passes no longer, give what passes now."""
        for item in self._states.refilter(filters):
            self._put(item)

    def withdraw(self) -> None:
        """The member leaves the federation: take back every foreign state, give its own counts back."""
        self._states.withdrawing = True
        self._cursor.rewind()
        self._fill_soon()

    @property
    def idle(self) -> bool:
        """Nothing is waiting and nothing under way."""
        return self.backlog == 0

    async def wait_idle(self) -> None:
        """Until nothing waits and nothing is under way."""
        while not self.idle:
            self._settled.clear()
            await self._settled.wait()

    @property
    def backlog(self) -> int:
        """How many names wait, at most."""
        return self._cursor.behind + (self._held is not None) + self._lanes.pending

    # --- from the cursor into the lanes -----------------------------------------------------------------------

    def _fill_soon(self) -> None:
        """`_fill` in the next turn of the event loop."""
        if self._failed is not None and self._filling is None:
            self._filling = asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        self._filling = None
        self._fill()

    def _fill(self) -> None:
        """Put the names of what has changed into their lanes, until one has no space or all have been put."""
        if self._filling is not None or not self._gate.is_set() or self._failed is None or self._failed.done():
            return
        try:
            self._put_names()
        except Exception as error:
            # It was called by who read the bus, or by a lane: the failure is this member's alone.
            self._failed.set_exception(error)

    def _put_names(self) -> None:
        for _ in range(_NAMES_AT_ONCE):
            item = self._held
            if item is None:
                state = self._cursor.next()
                if state is None:
                    self._tell_settled()
                    return
                item = self._states.item(state)
                if item is None:
                    continue
            if not self._lanes.has_space(item):
                # The lane will tell when it has taken one out.
                self._held = item
                return
            self._held = None
            self._put(item)
        # All others have their turn first: there may be a hundred thousand names that do not concern this member.
        self._fill_soon()

    def _put(self, item: Item) -> None:
        if not self._lanes.put(item):
            self.counters.coalesced += 1

    # --- tasks ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Inject until cancelled."""
        self._failed = asyncio.get_running_loop().create_future()
        unfollow = self._view.follow(self._fill)
        try:
            async with asyncio.TaskGroup() as tasks:
                for lane in self._lanes:
                    tasks.create_task(self._drain(lane))
                self._fill_soon()
                await self._failed
        finally:
            unfollow()
            self._failed = None
            if self._filling is not None:
                self._filling.cancel()
                self._filling = None
            for handle in self._delayed.values():
                handle.cancel()

    async def _drain(self, lane: Lane) -> None:
        while True:
            await lane.wait()
            await self._gate.wait()
            async with self._turns.turn(lane.number):
                may_inject = await self._inject_next(lane)
                self._tell_settled()
            if not may_inject:
                await asyncio.sleep(_LOOK_AGAIN)

    async def _inject_next(self, lane: Lane) -> bool:
        """One item of a lane, with the value that it has now. Returns whether this agent may inject at all."""
        if not len(lane) or not self._gate.is_set():
            return True
        item, attempts = lane.take()
        lane.busy = True
        if self._held is not None:
            self._fill()
        spoken = self.slots.announcements(item[2])
        try:
            event = self._value(item)
            if event is None:
                return True
            if not self._host.may_inject():
                lane.put(item, attempts, first=True)
                return False
            outcome = await self._adapter.inject(event, lane.number)
        except Exception as error:
            # What others said of one name must not end what the member is given of all the others.
            self.counters.unbuildable += 1
            self._host.dropped(item, f"{type(error).__name__}: {error!s:.160}")
            return True
        finally:
            lane.busy = False
        self._turns.ended(lane.number, outcome)
        self._settle(lane, item, attempts, event, outcome, spoken)
        return True

    def _settle(
        self, lane: Lane, item: Item, attempts: int, event: Event, outcome: AdapterOutcome, spoken: int
    ) -> None:
        if outcome.intrusion:
            self._host.suspect_intrusion()
        if outcome.delivery is Delivery.ACCEPTED:
            self.counters.injected += 1
            if item[1] is None:
                own = event.eid == self._states.eid
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

    def _value(self, item: Item) -> Event | None:
        passing = self._states.take_passing(item)
        if passing is not None:
            if self._states.lasts(item):
                self._put(item)  # the lasting state may wait under the same item
            return passing
        event = self._states.value(item, self._now())
        if event is None:
            self._delay(item)
        return event

    def _delay(self, item: Item) -> None:
        """A contended mailbox is not due yet: look again when it is."""
        again, mailbox, now = self._states.due_again(item), item[2], self._now()
        if again is None or again <= now or mailbox in self._delayed:
            return

        def look_again() -> None:
            del self._delayed[mailbox]
            self.mark_dirty(mailbox)

        self._delayed[mailbox] = asyncio.get_running_loop().call_later(again - now, look_again)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
