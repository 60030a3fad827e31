"""Events without a last value on their way into a member: now or never."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from eventfed import EID, DeviceState, Event, EventType, View
from eventfed.spec import EventSpec
from eventfed_agent.adapter import AdapterOutcome, Delivery
from eventfed_agent.members.injection import Injector
from tests.ground.injections import injector_of

OWN, OTHER, FEDERATION = (EID.parse(f"02:00:00:00:00:0{digit}") for digit in "abf")


class Server:
    """An adapter whose server takes everything, once `answers` is set."""

    lanes = 1

    def __init__(self) -> None:
        self.answers = asyncio.Event()
        self.answers.set()
        self.taken: list[Event] = []

    def lane_of(self, kind: EventType, key: str) -> int:
        return 0

    async def inject(self, event: Event, lane: int) -> AdapterOutcome:
        await self.answers.wait()
        self.taken.append(event)
        return AdapterOutcome(Delivery.ACCEPTED, "200")


@asynccontextmanager
async def injecting(server: Server, *, include: tuple[str, ...] = ("^Local/",)) -> AsyncIterator[Injector]:
    events = [EventSpec(type="device_state", include=include)]
    injector = injector_of(View(), server, events, own=OWN, federation=FEDERATION)
    task = asyncio.create_task(injector.run())
    await asyncio.sleep(0)
    yield injector
    task.cancel()
    await asyncio.wait([task])


def local(state: DeviceState, eid: EID = OTHER, name: str = "Local/1@x") -> Event:
    return Event.device(name, state, eid)


async def test_an_event_is_injected_as_one_that_is_not_kept() -> None:
    server = Server()
    async with injecting(server) as injector:
        injector.inject_transient(local(DeviceState.INUSE))
        await injector.wait_idle()
    assert [(event.eid, event.device_state, event.cachable) for event in server.taken] == [
        (OTHER, DeviceState.INUSE, False)
    ]


async def test_the_members_own_events_other_types_and_names_nobody_asked_for_stay_out() -> None:
    server = Server()
    async with injecting(server) as injector:
        injector.inject_transient(local(DeviceState.INUSE, OWN))
        injector.inject_transient(local(DeviceState.INUSE, name="Custom:lamp"))
        injector.inject_transient(Event.mailbox("1001@default", 1, 0, OTHER))
        await injector.wait_idle()
    async with injecting(server, include=()) as injector:
        injector.inject_transient(local(DeviceState.INUSE, name="Custom:lamp"))
        await injector.wait_idle()
    assert server.taken == []


async def test_events_faster_than_the_member_are_merged_to_the_latest_of_each_name() -> None:
    server = Server()
    async with injecting(server) as injector:
        server.answers.clear()
        injector.inject_transient(local(DeviceState.BUSY, name="Local/first@x"))
        await asyncio.sleep(0)
        for state in (DeviceState.RINGING, DeviceState.INUSE, DeviceState.NOT_INUSE):
            injector.inject_transient(local(state))
        server.answers.set()
        await injector.wait_idle()
    assert [event.device_state for event in server.taken] == [DeviceState.BUSY, DeviceState.NOT_INUSE]


async def test_an_event_for_a_member_that_is_away_or_full_is_dropped_and_counted() -> None:
    server = Server()
    async with injecting(server) as injector:
        server.answers.clear()
        for number in range(100):
            injector.inject_transient(local(DeviceState.INUSE, name=f"Local/{number}@x"))
        full = injector.counters.events_dropped
        assert 0 < full < 100
        injector.close()
        injector.inject_transient(local(DeviceState.INUSE))
        assert injector.counters.events_dropped == 101
        server.answers.set()
        injector.open()
        await injector.wait_idle()
    assert server.taken == []
