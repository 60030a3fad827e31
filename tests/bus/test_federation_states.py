import asyncio

import pytest

from eventfed import (
    EID,
    DeviceState,
    Event,
    EventType,
    FederationSettings,
    Mailbox,
    MalformedEvent,
    MemberChanged,
    StateChanged,
    StateKey,
    Synced,
)
from tests.ground.fixture_types import Clients, Measure, Shown, Until
from tests.ground.narrowing import instance, present

A, B = EID.derive("a"), EID.derive("b")

DEVICE, MWI = EventType.DEVICE_STATE_CHANGE, EventType.MWI


def device(number: int, state: DeviceState = DeviceState.INUSE, eid: EID = A) -> Event:
    return Event.device(f"PJSIP/{number}", state, eid)


async def test_a_state_published_by_one_client_is_shown_by_the_other(clients: Clients, until: Until) -> None:
    async with clients("a", "b") as (a, b):
        a.claim(A, uid="pod-a", name="asterisk-a")
        a.publish(device(1, DeviceState.RINGING))
        a.publish(Event.mailbox("1001@default", 3, 1, A))
        await until(lambda: b.view.by_server(MWI, "1001@default") and b.view.by_server(DEVICE, "PJSIP/1"))
        assert b.view.by_server(MWI, "1001@default")[A].counts == Mailbox(3, 1)
        assert present(b.get(device(1).state_key)).device_state is DeviceState.RINGING
        assert [(lease.name, lease.agent, lease.uid) for lease in b.members()] == [("asterisk-a", "a", "pod-a")]


async def test_a_late_joiner_gets_the_last_values_then_synced_then_what_changes(clients: Clients, until: Until) -> None:
    async with clients("a") as (a,):
        a.claim(A, uid="u", name="a")
        for state in (DeviceState.RINGING, DeviceState.INUSE):
            for number in range(50):
                a.publish(device(number, state))
            assert await a.flush(5)
        async with clients("late") as (late,):
            changes = []
            async for change in late.watch(type=EventType.DEVICE_STATE_CHANGE):
                changes.append(change)
                if isinstance(change, Synced):
                    a.publish(device(7, DeviceState.BUSY))
                elif isinstance(change, StateChanged) and change.previous is not None:
                    break
        *replayed, live = changes
        assert isinstance(replayed[0], MemberChanged)
        assert replayed[-1] == Synced()
        events = [instance(StateChanged, c).event for c in replayed[1:-1]]
        assert {event.key for event in events} == {f"PJSIP/{n}" for n in range(50)}
        assert {event.device_state for event in events} == {DeviceState.INUSE}
        assert isinstance(live, StateChanged)
        assert (live.event.key, live.event.device_state) == ("PJSIP/7", DeviceState.BUSY)
        assert present(live.previous).device_state is DeviceState.INUSE


async def test_a_state_taken_back_is_gone_everywhere_and_for_late_joiners(
    clients: Clients, until: Until, shown: Shown
) -> None:
    async with clients("a", "b") as (a, b):
        a.claim(A, uid="u", name="a")
        a.publish(device(1))
        a.publish(device(2))
        await until(lambda: len(shown(b)) == 2)
        a.retract(device(1).state_key)
        await until(lambda: len(shown(b)) == 1)
        assert present(b.view.states[device(1).state_key].event).device_state is DeviceState.INUSE
        async with clients("late") as (late,):
            assert late.view.states[device(1).state_key].tombstone
            assert late.view.states[device(1).state_key].event is None
        a.publish(device(1))
        await until(lambda: len(shown(b)) == 2)
        changes = b.watch(eid=A)
        seen = [await anext(changes) for _ in range(4)]
        await changes.aclose()
        assert [type(change) for change in seen] == [MemberChanged, StateChanged, StateChanged, Synced]


async def test_nothing_is_sent_for_a_value_that_is_the_last_one_already(clients: Clients, until: Until) -> None:
    async with clients("a", "b") as (a, b):
        a.claim(A, uid="u", name="a")
        for number in range(100):
            a.publish(device(number))
        assert await a.flush(5)
        await until(lambda: len(b.view.states) == 100)
        before = b.counters.received
        for number in range(100):
            a.publish(device(number))
        assert await a.flush(5)
        assert a.counters.unchanged == 100
        await asyncio.sleep(0.2)
        assert b.counters.received - before <= 2  # renewals of the lease


async def test_fast_changes_are_merged_and_the_last_value_wins(clients: Clients, until: Until, shown: Shown) -> None:
    async with clients("a", "b") as (a, b):
        a.claim(A, uid="u", name="a")
        for number in range(20_000):
            a.publish(device(number % 100, DeviceState(number // 100 % 2 + 1)))
        a.publish(device(3, DeviceState.ONHOLD))
        assert await a.flush(20)
        expected = {f"PJSIP/{n}": DeviceState.ONHOLD if n == 3 else DeviceState.INUSE for n in range(100)}
        await until(lambda: {key.key: value for key, value in shown(b).items()} == expected)
        assert a.counters.coalesced > 10_000


async def test_a_third_party_publishes_without_a_claim(clients: Clients, until: Until, shown: Shown) -> None:
    async with clients("tool", "b") as (tool, b):
        tool.publish(Event.device("Custom:lamp", DeviceState.INUSE, A))
        assert await tool.flush(5)
        await until(lambda: shown(b))
        assert present(b.get(StateKey(EventType.DEVICE_STATE_CHANGE, A, "Custom:lamp"))).epoch > 1_700_000_000_000


async def test_an_event_without_a_last_value_reaches_who_listens_now(clients: Clients, until: Until) -> None:
    async with clients("a", "b") as (a, b):
        heard: list[Event] = []
        stop = b.on_event(heard.append)
        ping = Event(EventType.PING, A)
        a.publish_event(ping)
        await until(lambda: heard)
        assert heard == [ping]
        stop()
        a.publish_event(ping)
        await asyncio.sleep(0.1)
        assert len(heard) == 1
        with pytest.raises(MalformedEvent, match="publish_event"):
            a.publish(ping)


async def test_a_request_for_a_refresh_reaches_every_client(clients: Clients, until: Until) -> None:
    async with clients("a", "b") as (a, b):
        asked: list[EID | None] = []
        stop = b.on_refresh(asked.append)
        await a.request_refresh()
        await a.request_refresh(A)
        await until(lambda: len(asked) == 2)
        assert asked == [None, A]
        stop()


async def test_a_name_with_every_forbidden_character_passes(clients: Clients, until: Until) -> None:
    name = "Custom:Ä b.c*d>e%f\u00a0g"  # what NATS takes for the end of a word, or for a wildcard
    async with clients("a", "b") as (a, b):
        a.claim(A, uid="u", name="a")
        a.publish(Event.device(name, DeviceState.BUSY, A))
        await until(lambda: b.view.by_server(DEVICE, name))


async def test_twenty_thousand_states_are_published_and_replayed(
    clients: Clients, until: Until, measure: Measure
) -> None:
    loop = asyncio.get_running_loop()
    async with clients("a", settings=FederationSettings()) as (a,):
        a.claim(A, uid="u", name="a")
        await until(lambda: a.view.leases)
        started = loop.time()
        for number in range(20_000):
            a.publish(device(number))
        assert await a.flush(60)
        measure("20,000 states put and acknowledged", loop.time() - started)
        started = loop.time()
        async with clients("late", settings=FederationSettings()) as (late,):
            measure("replay of 20,000 states", loop.time() - started)
            assert len(late.view.states) == 20_000


async def test_a_third_party_gives_way_to_the_owner(clients: Clients, until: Until) -> None:
    lamp = Event.device("Custom:lamp", DeviceState.INUSE, A)
    async with clients("tool", "a") as (tool, a):
        tool.publish(lamp)
        assert await tool.flush(5)
        claim = a.claim(A, uid="u", name="a")
        a.publish(Event.device("Custom:lamp", DeviceState.BUSY, A))
        assert await a.flush(5)
        assert claim.held
        await until(lambda: [event.device_state for event in [tool.get(lamp.state_key)] if event] == [DeviceState.BUSY])
        await asyncio.sleep(0.5)
        assert tool.counters.corrected == 0
        assert a.counters.corrected == 0
        await until(lambda: tool.own_value(lamp.state_key) is None)
