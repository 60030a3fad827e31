"""A dump whose beginning another agent heard, and one of which something was refused."""

import asyncio
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

    async def probe(self, device: str, eid: EID) -> AdapterOutcome:
        self.asked += 1
        if self.refusing:
            self.rounds.refused()
        else:
            asyncio.get_running_loop().call_soon(self.rounds.heard_probe, device)
        return ACCEPTED

    def wanted_types(self) -> list[EventType]:
        return [EventType.DEVICE_STATE_CHANGE]

    def known_states(self) -> set[StateKey]:
        return {key(name) for name in (*KNOWN, "Custom:gone")}

    def dump_failed(self, outcome: Any) -> None:
        raise AssertionError

    def dump_asked(self) -> None:
        pass

    def suspect_intrusion(self) -> None:
        raise AssertionError

    def dump_ended(self, result: DumpResult, *, heard_probe: bool) -> None:
        assert heard_probe
        self.results.append(result)
        self.ended.set()


@pytest.mark.parametrize("moves", [False, True])
async def test_only_a_dump_that_was_heard_from_its_beginning_tells_that_something_is_missing(moves: bool) -> None:
    server = Server(moves=moves)
    task = asyncio.create_task(server.rounds.run())
    try:
        for _ in range(2):
            server.ended.clear()
            server.rounds.need("a test")
            async with asyncio.timeout(5):
                await server.ended.wait()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    first, second = server.results[:2]
    assert first.missing == (frozenset() if moves else {key("Custom:gone")})
    assert second.missing == {key("Custom:gone")}
    assert [one.whole for one in (first, second)] == [not moves, True]


async def test_a_dump_whose_end_was_refused_is_begun_anew_once_the_member_is_ours() -> None:
    server = Server(moves=False)
    server.refusing = True
    task = asyncio.create_task(server.rounds.run())
    try:
        server.rounds.need("a test")
        async with asyncio.timeout(1):  # Not after the time in which an echo may still come.
            while not server.asked:  # noqa: ASYNC110
                await asyncio.sleep(0)
            server.refusing = False
            server.rounds.claimed()
            await server.ended.wait()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert [one.whole for one in server.results] == [True]
    assert server.asked == 2
