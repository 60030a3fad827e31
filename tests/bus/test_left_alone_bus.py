"""Two full periods of all that NATS counts as well, on a real nats-server and with short times."""

import asyncio
from dataclasses import replace

from eventfed import EID, DeviceState, Event, FederationSettings
from eventfed_lab import NatsServer
from tests.ground.fixture_types import Clients, Measure, Until
from tests.ground.left_alone import bus_traffic

A, B = EID.derive("a"), EID.derive("b")
GONE = Event.device("PJSIP/gone", DeviceState.INUSE, B)
STATES = 20
LONGEST = 3.0


async def test_what_nats_forgets_is_renewed_in_time_and_what_it_forgets_by_itself_is_told_by_nobody(
    clients: Clients, quick: FederationSettings, nats_server: NatsServer, until: Until, measure: Measure
) -> None:
    # Requests of the reader stand for 1 s, leases live for 2 s, states and tombstones for 3 s.
    times = replace(quick, state_ttl=LONGEST, tombstone_ttl=LONGEST, pull_expires=1.0, deputy_delay=0.2)
    async with clients("a", "b", settings=times) as (a, b):
        claim = a.claim(A, uid="pod-a", name="asterisk-a")
        for number in range(STATES):
            a.publish(Event.device(f"PJSIP/{number}", DeviceState.INUSE, A))
        a.publish(Event.mailbox("1001@default", 1, 0, A))
        claim.complete()
        gone = b.claim(B, uid="pod-b", name="asterisk-b")
        b.publish(GONE)
        await until(lambda: len(a.view.states) == len(b.view.states) == STATES + 2 and b.view.is_complete(A))
        gone.release()
        await until(lambda: a.get(GONE.state_key) is None and b.get(GONE.state_key) is None)
        before = (b.view.revision, b.view.lease_revision, b.counters.replays, a.counters.corrected)
        renewed = a.counters.renewed
        async with bus_traffic(nats_server.url) as traffic:
            await asyncio.sleep(2 * LONGEST + 1)
            renewed = a.counters.renewed - renewed
        assert (b.view.revision, b.view.lease_revision, b.counters.replays, a.counters.corrected) == before
        assert b.get(Event.device("PJSIP/7", DeviceState.INUSE, A).state_key) is not None
        assert claim.held
        # The mailbox has no TTL, so nobody renews it.
        assert traffic.kinds["state"] == renewed
        assert 2 * STATES <= renewed <= 9 * STATES
        assert traffic.beside("state", "member") == {}
        assert traffic.kinds["member"] <= 1.2 * (2 * LONGEST + 1) / times.lease_renewal
        measure("bus left alone: messages beside leases and renewals", traffic.kinds["state"] - renewed, "")
