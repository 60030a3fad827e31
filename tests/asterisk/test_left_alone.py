"""A federation that is left alone does nothing but renew leases and prolong publications.

Asterisk prolongs its publication in the very moment in which it ends, so nothing shorter than two full periods of it
shows that the agent still knows it then.
"""

import asyncio
import os
import time
from collections import Counter

import pytest

from eventfed_lab import AsteriskUnavailable, MailboxCounts, Pbx, obtain_asterisk
from tests.ground.fixture_types import Measure
from tests.ground.left_alone import bus_traffic, counted

SERVERS = ("a", "b", "c")
PUBLICATIONS = 2
"""Of each server: device states, mailboxes."""
LEASE_RENEWAL = 5.0
"""Of production, in seconds."""
SETTLED = 1.0
SLACK = 5.0
MINUTES = float(os.environ.get("EVENTFED_IDLE_MINUTES", "10"))


class Federation:
    """One of several that are left alone at the same time."""

    def __init__(self, version: int, expiration: int) -> None:
        self.version = version
        self.expiration = expiration
        self.name = f"Asterisk {version}, expiration {expiration} s"
        self.agents: Counter[str] = Counter()
        self.bus: Counter[str] = Counter()
        self.states = 0
        self.seconds = 0.0

    async def run(self, idle: float) -> None:
        """Start it, let it settle, and leave it alone for so many seconds."""
        try:
            root = await asyncio.to_thread(obtain_asterisk, print, version=self.version)
        except AsteriskUnavailable as error:
            pytest.skip(f"no real Asterisk {self.version}: {error}")
        # With the times of production: empty sections take the place of the lab's short times.
        production: dict[str, dict[str, object]] = {"departure": {}, "timing": {}}
        async with Pbx(root, SERVERS, sections=production, expiration=self.expiration) as pbx:
            await pbx["a"].leave_voicemail("1001@default")
            for name in SERVERS:
                await pbx[name].wait_mailbox("1001@default", MailboxCounts(1, 0))
            await pbx.wait_quiet(SETTLED)
            async with bus_traffic(pbx.nats.url) as traffic:
                before, began = await self._count(pbx), time.monotonic()
                await asyncio.sleep(idle)
                after = await self._count(pbx)
                self.seconds = time.monotonic() - began
                self.bus = Counter(traffic.kinds)
            self.agents = Counter({what: after[what] - before[what] for what in after})
            self.states = int(await pbx.agents["a"].metric("eventfed_states"))
            for name in SERVERS:
                assert await pbx.agents[name].metric("eventfed_member_state", state="synced") == 1

    async def _count(self, pbx: Pbx) -> Counter[str]:
        return counted(await asyncio.gather(*(pbx.agents[name].get("/metrics") for name in SERVERS)))

    def check(self) -> None:
        agents, bus = self.agents, self.bus
        told = f"{self.name}, {self.seconds:.0f} s: {dict(agents)}, messages on the bus {dict(bus)}"
        print(told)
        # One sweep an hour, to a tenth, asks each server for a dump without any evidence.
        sweeps = len(SERVERS) * int(self.seconds / (0.9 * 3600))
        assert agents["dumps"] <= sweeps, told
        quiet = set(agents) - {"dumps", "publications prolonged", "renewals of states", "states heard"}
        assert {what: agents[what] for what in quiet if agents[what]} == {}, told
        assert sweeps or not agents["states heard"], told
        # Renewals of states are apart: each at a third of its TTL of six hours.
        assert agents["renewals of states"] <= 1 + self.states * self.seconds / 7200, told
        assert bus["state"] == agents["renewals of states"], told
        assert {kind: number for kind, number in bus.items() if kind not in ("state", "member")} == {}, told
        # That nothing happens proves something only where the timers ran.
        each = len(SERVERS) * PUBLICATIONS
        periods = self.seconds / self.expiration
        assert each * int(periods) <= agents["publications prolonged"] <= each * (int(periods) + 1), told
        leases = len(SERVERS) * self.seconds / LEASE_RENEWAL
        assert 0.7 * leases <= bus["member"] <= 1.1 * leases + len(SERVERS), told


async def leave_alone(idle: float, *federations: Federation) -> None:
    async with asyncio.TaskGroup() as tasks:
        for federation in federations:
            tasks.create_task(federation.run(idle))
    for federation in federations:
        federation.check()


@pytest.mark.timeout(360)  # the first time, Asterisk 16 is built
async def test_an_idle_federation_renews_leases_and_prolongs_publications_and_does_nothing_else() -> None:
    periods = 2
    await leave_alone(periods * 20 + SLACK, Federation(22, 20), Federation(16, 20))


@pytest.mark.long
@pytest.mark.timeout(2 * 60 * MINUTES)
async def test_federations_of_16_and_22_that_are_left_alone_for_long_do_nothing_else(measure: Measure) -> None:
    federations = [Federation(version, expiration) for version in (16, 22) for expiration in (20, 60)]
    await leave_alone(60 * MINUTES, *federations)
    for one in federations:
        measure(f"idle {one.name}: dumps", one.agents["dumps"], "")
        measure(f"idle {one.name}: injections", one.agents["injections"], "")
        measure(f"idle {one.name}: messages beside leases", sum(one.bus.values()) - one.bus["member"], "")
