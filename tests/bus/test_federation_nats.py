"""What a client meets on NATS alone: addresses, limits of the server, and no server at all."""

from dataclasses import replace
from functools import partial

from eventfed import (
    EID,
    ClaimState,
    DeviceState,
    Event,
    EventType,
    Federation,
    FederationSettings,
    InformationElement,
    PresenceState,
)
from eventfed_lab import NatsServer
from tests.ground.fixture_types import Until
from tests.ground.narrowing import present

A = EID.derive("a")
LAMP = Event.device("PJSIP/1", DeviceState.INUSE, A)
DEVICE = EventType.DEVICE_STATE_CHANGE


def device(number: int, state: DeviceState = DeviceState.INUSE, eid: EID = A) -> Event:
    return Event.device(f"PJSIP/{number}", state, eid)


async def test_it_works_over_ipv6(quick: FederationSettings, until: Until) -> None:
    async with (
        NatsServer(host="::1") as server,
        Federation.connect(server.url, federation="pbx", agent="a", settings=quick) as a,
        Federation.connect(server.url, federation="pbx", agent="b", settings=quick) as b,
    ):
        assert await a.wait_synced(5)
        a.claim(A, uid="u", name="a")
        a.publish(device(1))
        await until(lambda: b.view.by_server(DEVICE, "PJSIP/1"))


async def test_what_is_too_large_is_dropped_and_counted_or_told_and_holds_nothing_up(
    quick: FederationSettings, until: Until
) -> None:
    async with (
        NatsServer(configuration="max_payload: 32KB") as server,
        Federation.connect(server.url, federation="pbx", agent="a", settings=quick) as a,
    ):
        assert await a.wait_synced(5)
        a.claim(A, uid="u", name="a")
        message = InformationElement.PRESENCE_MESSAGE
        presence = Event.presence("CustomPresence:a", PresenceState.AWAY, A)
        for size in (70_000, 40_000):
            a.publish(replace(presence, elements=(*presence.elements[:3], (message, "x" * size))))
            a.publish(device(size))
            await until(partial(a.view.by_server, DEVICE, f"PJSIP/{size}"))
        assert a.counters.oversized == 1
        assert "max_payload" in present(a.problem)
        a.publish_event(Event(EventType.CUSTOM, A, ((message, "x" * 60_000),)))
        a.publish(presence)
        assert await a.flush(5)
        assert a.problem is None
        assert a.counters.sessions == 1


async def test_without_nats_a_client_waits_and_says_so(quick: FederationSettings) -> None:
    async with Federation.connect("nats://127.0.0.1:9", federation="pbx", agent="a", settings=quick) as a:
        claim = a.claim(A, uid="u", name="a")
        a.publish(LAMP)
        assert not await a.wait_synced(0.5)
        assert claim.state is ClaimState.WAITING
        assert not a.connected
        assert "no connection to NATS" in present(a.problem)
        assert not await a.flush(0.1)
        assert a.counters.connect_failures >= 1
