"""How names get from the view into the lanes of one member: at once, in order, bounded, and in fair portions."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from eventfed import EID, DeviceState, Event, View
from eventfed.spec import EventSpec
from eventfed_agent.adapter import AdapterOutcome, Delivery
from eventfed_agent.members.injection import Injector
from tests.ground.injections import injector_of

OWN, OTHER = EID.parse("02:00:00:00:00:01"), EID.parse("02:00:00:00:00:02")
MANY = 20_000


class Server:
    """A member with one lane, which answers as soon as it may."""

    lanes = 1

    def __init__(self) -> None:
        self.answers = asyncio.Event()
        self.answers.set()
        self.given: list[Event] = []

    def lane_of(self, kind: Any, key: str) -> int:
        return 0

    async def inject(self, event: Event, lane: int) -> AdapterOutcome:
        self.given.append(event)
        await asyncio.sleep(0)
        await self.answers.wait()
        return AdapterOutcome(Delivery.ACCEPTED, "200")


def new_injector(view: View, server: Server, exclude: tuple[str, ...] = ()) -> Injector:
    events = [EventSpec(type="device_state", exclude=exclude)]
    return injector_of(view, server, events, own=OWN, federation=OTHER)


@asynccontextmanager
async def injecting(view: View, server: Server, exclude: tuple[str, ...] = ()) -> AsyncIterator[Injector]:
    injector = new_injector(view, server, exclude)
    task = asyncio.create_task(injector.run())
    await asyncio.sleep(0.01)
    yield injector
    assert not task.done()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


def put(view: View, number: int, state: DeviceState = DeviceState.INUSE, sequence: int = 1) -> None:
    event = Event.device(f"PJSIP/{number}", state, OTHER).stamped(epoch=1, sequence=sequence)
    view.put_state(event.state_key, event, number + 1)


async def test_a_change_is_on_its_way_one_turn_after_it_was_read() -> None:
    view, server = View(soon=asyncio.get_running_loop().call_soon), Server()
    async with injecting(view, server):
        put(view, 0)  # a lane that was accepted once asks nobody whose turn it is
        await asyncio.sleep(0.01)
        put(view, 1)
        view.tell_followers()
        await asyncio.sleep(0)
        assert [event.key for event in server.given] == ["PJSIP/0", "PJSIP/1"]


async def test_what_a_slow_member_is_not_given_waits_as_a_name_and_its_lane_is_bounded() -> None:
    view, server = View(), Server()
    async with injecting(view, server) as injector:
        server.answers.clear()
        for number in range(1000):
            put(view, number)
        await asyncio.sleep(0.01)
        for number in range(1000):
            put(view, number, DeviceState.BUSY, sequence=2)
        assert [len(lane) for lane in injector._lanes] == [64]
        server.answers.set()
        await injector.wait_idle()
    last = {event.key: event.device_state for event in server.given}
    assert len(last) == 1000
    assert set(last.values()) == {DeviceState.BUSY}
    assert len(server.given) <= 1000 + 1 + 64 + 1  # again what was under way, in the lane, or next to come
    assert [event.key for event in server.given[1:65]] == [f"PJSIP/{number}" for number in range(1, 65)]


@pytest.mark.parametrize("exclude", [(), ("^PJSIP/",)], ids=["given", "left out"])
async def test_a_replay_of_many_states_keeps_no_other_task_waiting(exclude: tuple[str, ...]) -> None:
    view, server = View(), Server()
    for number in range(MANY):
        put(view, number)
    others = 0

    async def other() -> None:
        nonlocal others
        while True:
            await asyncio.sleep(0)
            others += 1

    task = asyncio.create_task(other())
    async with injecting(view, server, exclude) as injector:
        await injector.wait_idle()
        assert len(server.given) == (0 if exclude else MANY)
    assert others >= MANY // 256
    task.cancel()
    await asyncio.wait([task])


async def test_a_failure_while_names_are_put_is_the_injectors_and_not_the_readers() -> None:
    class Broken(Server):
        def lane_of(self, kind: Any, key: str) -> int:
            raise KeyError(key)

    view, broken, healthy = View(), Broken(), Server()
    async with injecting(view, healthy) as well:
        failing = asyncio.create_task(new_injector(view, broken).run())
        await asyncio.sleep(0.01)
        put(view, 1)
        await asyncio.wait([failing], timeout=1)
        error = failing.exception()
        assert isinstance(error, ExceptionGroup)
        assert error.subgroup(KeyError) is not None
        put(view, 2)
        await well.wait_idle()
    assert [event.key for event in healthy.given] == ["PJSIP/1", "PJSIP/2"]
