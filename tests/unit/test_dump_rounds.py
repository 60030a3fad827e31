"""A dump whose beginning another agent heard, one of which something was refused, and one of slow mailboxes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from eventfed import EID, DeviceState, Event, EventType, StateKey
from eventfed_agent.adapter import AdapterOutcome, Delivery
from eventfed_agent.members.dump_rounds import DumpRounds
from eventfed_agent.members.dumps import DumpResult, Dumps
from eventfed_agent.members.turns import MemberTurns

ACCEPTED = AdapterOutcome(Delivery.ACCEPTED, "200")
KNOWN = {"Custom:first", "Custom:second"}


def key(name: str) -> StateKey:
    return StateKey(EventType.DEVICE_STATE_CHANGE, EID.derive("a"), name)


class Server:
    """A member and its adapter in one: it tells of two devices, the first of them to another agent at first."""

    def __init__(self, *, moves: bool) -> None:
        self.eid: EID | None = None if moves else EID.derive("a")
        self.can_dump = True
        self.last_heard = 0.0
        self.shares_mailboxes = False
        self.on_bus = True
        self.mailbox_probe: Event | None = None
        self.refusing = False
        self.asked = 0
        self.results: list[DumpResult] = []
        self.ended = asyncio.Event()
        self.dumps = Dumps()
        self.rounds = DumpRounds(self.dumps, MemberTurns(), self, self)  # type: ignore[arg-type]

    async def request_dump(self, kind: EventType) -> AdapterOutcome:
        if self.eid is None:
            self.eid = EID.derive("a")
            self.rounds.learned_eid()
        else:
            self.dumps.hear(Event.device("Custom:first", DeviceState.BUSY, EID.derive("a")))
        self.dumps.hear(Event.device("Custom:second", DeviceState.BUSY, EID.derive("a")))
        return ACCEPTED

    async def probe(self, event: Event) -> AdapterOutcome:
        if event.type is EventType.MWI:
            self.mailbox_probe = event
            return ACCEPTED
        self.asked += 1
        if self.refusing:
            self.rounds.refused()
        else:
            asyncio.get_running_loop().call_soon(self.rounds.heard_probe, event)
        return ACCEPTED

    def wanted_types(self) -> list[EventType]:
        return [EventType.DEVICE_STATE_CHANGE]

    def known_states(self) -> set[StateKey]:
        return {key(name) for name in (*KNOWN, "Custom:gone")}

    def dump_failed(self, outcome: Any) -> None:
        raise AssertionError

    def is_on_bus(self, key: StateKey) -> bool:
        return self.on_bus

    def dump_asked(self) -> None:
        pass

    def suspect_intrusion(self) -> None:
        raise AssertionError

    def dump_ended(self, result: DumpResult, *, heard_probe: bool) -> None:
        assert heard_probe or self.shares_mailboxes
        self.results.append(result)
        self.ended.set()


@asynccontextmanager
async def running(server: Server) -> AsyncIterator[None]:
    """Its rounds of dumps, in a task."""
    task = asyncio.create_task(server.rounds.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("moves", [False, True])
async def test_only_a_dump_that_was_heard_from_its_beginning_tells_that_something_is_missing(moves: bool) -> None:
    server = Server(moves=moves)
    async with running(server):
        for _ in range(2):
            server.ended.clear()
            server.rounds.need("a test")
            async with asyncio.timeout(5):
                await server.ended.wait()
    first, second = server.results[:2]
    assert first.missing == (frozenset() if moves else {key("Custom:gone")})
    assert second.missing == {key("Custom:gone")}
    assert [one.whole for one in (first, second)] == [not moves, True]


async def test_a_dump_whose_end_was_refused_is_begun_again_once_the_member_is_ours() -> None:
    server = Server(moves=False)
    server.refusing = True
    async with running(server):
        server.rounds.need("a test")
        async with asyncio.timeout(1):  # Not after the time in which an echo may still come.
            while not server.asked:  # noqa: ASYNC110
                await asyncio.sleep(0)
            server.refusing = False
            server.rounds.claimed()
            await server.ended.wait()
    assert [one.whole for one in server.results] == [True]
    assert server.asked == 2


async def test_with_a_shared_spool_a_dump_goes_on_until_the_queue_of_mailboxes_is_empty(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("eventfed_agent.members.dump_rounds._PATIENCE", 0.05)
    server = Server(moves=False)
    server.shares_mailboxes = True
    server.on_bus = False  # the bus takes its time with what the server said last
    async with running(server):
        server.rounds.need("a test")
        server.dumps.hear(Event.mailbox("1001@default", 0, 0, EID.derive("a")))
        await asyncio.sleep(0.3)
        assert server.mailbox_probe is not None
        assert server.dumps.draining
        assert not server.results
        # Asterisk keeps the mailbox and tells it in each dump with what an earlier one put into it.
        server.rounds.heard_probe(Event.mailbox(server.mailbox_probe.key, 0, 0, EID.derive("a")))
        await asyncio.sleep(0)
        assert server.dumps.draining
        server.rounds.heard_probe(server.mailbox_probe)
        async with asyncio.timeout(1):
            await server.ended.wait()
        assert not server.dumps.draining
        assert server.results[0].missing == {key("Custom:gone")}


async def test_a_server_that_holds_the_probe_mailbox_back_ends_its_dump_by_silence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("eventfed_agent.members.dump_rounds._PATIENCE", 0.05)
    server = Server(moves=False)
    server.shares_mailboxes = True
    async with running(server):
        server.rounds.need("a test")
        async with asyncio.timeout(5):
            await server.ended.wait()
        assert not server.dumps.draining
        assert server.results[0].missing == {key("Custom:gone")}


def test_what_is_heard_after_a_request_that_failed_may_be_its_answer() -> None:
    dumps = Dumps()
    dumps.begin()
    dumps.failed(0.0)
    assert dumps.window is None
    assert dumps.draining
    dumps.begin()
    dumps.echoed(set(), 1.0)
    assert not dumps.draining
