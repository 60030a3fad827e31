"""Carries out dumps: the request, the probe behind it, and its echo."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from typing import Any, Protocol

from eventfed import EID, DeviceState, Event, EventType, StateKey, kind_of

from ..adapter import Adapter, AdapterOutcome, Delivery, DumpSource
from .dumps import DumpResult, Dumps
from .names import PROBE_MAILBOX
from .turns import MemberTurns

__all__ = ["DumpHost", "DumpRounds"]

_PATIENCE = 3.0


class DumpHost(Protocol):
    """The member, as its dumps see it."""

    @property
    def eid(self) -> EID | None: ...

    @property
    def can_dump(self) -> bool:
        """Whether it answers and is ours."""
        ...

    @property
    def last_heard(self) -> float: ...

    @property
    def shares_mailboxes(self) -> bool:
        """Whether a word of a mailbox counts by when it was made, so that the queue of them has to be empty."""
        ...

    def is_on_bus(self, key: StateKey) -> bool:
        """Whether nothing that it said of a state has yet to reach the bus; of mailboxes it says no more until then."""
        ...

    def wanted_types(self) -> list[EventType]:
        """Which event types to ask for."""
        ...

    def known_states(self) -> set[StateKey]:
        """Devices that are on the bus under its EID."""
        ...

    def dump_asked(self) -> None:
        """It took the request."""
        ...

    def went_wrong(self, outcome: AdapterOutcome) -> None: ...

    def suspect_intrusion(self) -> None:
        """It had lost the publication that carries our requests."""
        ...

    def dump_ended(self, result: DumpResult, *, heard_probe: bool) -> None: ...


class DumpRounds:
    """Asks one member for dumps whenever `Dumps` says so."""

    def __init__(self, dumps: Dumps, turns: MemberTurns, adapter: Adapter, host: DumpHost) -> None:
        self.dumps = dumps
        self.turns = turns
        self._adapter = adapter if isinstance(adapter, DumpSource) else None
        self._host = host
        self._wake = asyncio.Event()
        self._echo = asyncio.Event()
        self._mailbox_echo = asyncio.Event()
        self._learned = asyncio.Event()
        self._refused = False

    def need(self, reason: str, *, changed: bool = True) -> None:
        """There is evidence that something was missed; `changed`: since the member is not what it was."""
        self.dumps.need(reason, self._now(), changed=changed)
        if changed:
            self.turns.hurry()
        self._wake.set()

    def refused(self) -> None:
        """Something that the member said was refused, since its EID is another's: it may have been of the dump."""
        self._refused = self.dumps.window is not None

    def claimed(self) -> None:
        """The member is ours from now on. A dump of which something was refused, perhaps its end, is begun again."""
        self.need("claimed")
        if self._refused:
            self._echo.set()
            self._mailbox_echo.set()

    def learned_eid(self) -> None:
        """The member's EID is known now, with the first thing that it published to us.

        It may have answered our request to another agent until then, whose node's Service leads to us from now on: of
        a dump that is under way we have the rest alone, and nothing that it lacks is missing.
        """
        self._learned.set()
        self.dumps.gap()

    def wake(self) -> None:
        """What `can_dump` says may have changed."""
        self._wake.set()

    def heard_probe(self, event: Event) -> None:
        """One of our probes came back."""
        window = self.dumps.window
        if window is None:
            return
        if event.key == window.probe:
            self._echo.set()
        elif kind_of(event.type).is_counted and event.counts.old == window.mark:
            self._mailbox_echo.set()

    async def run(self) -> None:
        """Carry out dumps until cancelled."""
        while True:
            self._wake.clear()
            due = self.dumps.due
            if due is None or not self._host.can_dump:
                await self._wake.wait()
            elif (left := max(due - self._now(), *map(self.turns.left, self._host.wanted_types()), 0.0)) > 0:
                await _wait(self._wake.wait, left)
            else:
                await self._round()

    async def _round(self) -> None:
        self._echo.clear()
        self._mailbox_echo.clear()
        self._refused = False
        window = self.dumps.begin()
        if self._adapter is None:
            # There is nobody to ask, so what was heard is all, as far as one can tell.
            self._host.dump_ended(self.dumps.fell_silent(self._now()), heard_probe=True)
            return
        for kind in self._host.wanted_types():
            if not await self._ask(kind, self._adapter.request_dump(kind)):
                return
        if self._host.eid is None:
            # A server that never heard of us says who it is in the dump itself.
            await _wait(self._learned.wait, _PATIENCE)
        eid = self._host.eid
        if eid is None:
            self.dumps.failed(self._now())
            return
        # What is not cachable the server does not keep.
        probes = [Event.device(window.probe, DeviceState.NOT_INUSE, eid, cachable=False)]
        shared = self._host.shares_mailboxes
        if shared:
            probes.append(Event.mailbox(PROBE_MAILBOX, 0, window.mark, eid))
        for probe in probes:
            if not await self._ask(probe.type, self._adapter.probe(probe)):
                return
        self.dumps.asked()
        heard = await self._returns(self._echo, lambda: self._host.last_heard)
        drained = not shared or await self._returns(self._mailbox_echo, lambda: self.dumps.mailbox_words)
        if not heard:
            self._host.dump_ended(self.dumps.fell_silent(self._now()), heard_probe=False)
            return
        if self._refused:
            self.dumps.failed(self._now())
            return
        result = self.dumps.echoed(self._host.known_states(), self._now())
        self._host.dump_ended(result, heard_probe=drained)

    async def _returns(self, echo: asyncio.Event, progress: Callable[[], Hashable]) -> bool:
        """Wait for the echo of a probe; False once the server has said nothing for a while."""
        while not echo.is_set():
            before = progress()
            await _wait(echo.wait, _PATIENCE)
            last = self.dumps.last_mailbox
            waits = self._host.shares_mailboxes and last is not None and not self._host.is_on_bus(last)
            if progress() == before and not echo.is_set() and not waits:
                return False
        return True

    async def _ask(self, stream: EventType, question: Coroutine[Any, Any, AdapterOutcome]) -> bool:
        """Whether the member accepted it. Both requests of devices go into one publication."""
        with contextlib.closing(question):
            async with self.turns.turn(stream):
                outcome = await question
                self.turns.ended(stream, outcome)
        if outcome.intrusion:
            self._host.suspect_intrusion()
        if outcome.delivery is Delivery.ACCEPTED:
            self._host.dump_asked()
            return True
        self._host.went_wrong(outcome)
        self.dumps.failed(self._now())
        return False

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


async def _wait(event: Callable[[], Awaitable[object]], within: float) -> None:
    """Wait for an event, at most `within` seconds."""
    try:
        async with asyncio.timeout(within):
            await event()
    except TimeoutError:
        pass
