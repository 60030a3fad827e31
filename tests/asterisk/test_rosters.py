"""Agents that read rosters, as under Kubernetes, with real Asterisk servers."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from eventfed import EID, DeviceState, Federation, FederationSettings
from eventfed.asterisk_config import pjsip_snippet
from eventfed.wire.report import ReportedMember, token_mark
from eventfed.wire.roster import Roster, RosterMember
from eventfed_lab import AgentProcess, AsteriskConfiguration, AsteriskServer, NatsServer
from tests.ground.fixture_types import AsteriskFactory, Measure

STATEFUL = EID.parse("02:00:00:00:0d:0e")
LAMP = "Custom:lamp1"
RELOAD = "module reload res_pjsip_endpoint_identifier_ip.so"


class Cluster:
    """NATS, an operator's client, and an agent for each of two nodes."""

    def __init__(self, operator: Federation, agents: list[AgentProcess], asterisk: AsteriskFactory) -> None:
        self.operator = operator
        self.agents = agents
        self._asterisk = asterisk

    async def pod(self, name: str, node: int, *, eid: EID | None = None) -> AsteriskServer:
        configuration = AsteriskConfiguration(pjsip_snippet=self.agents[node].snippet)
        return await self._asterisk(name, configuration=configuration, eid=eid)

    async def roster(self, node: int, **servers: AsteriskServer) -> None:
        """Members by uid."""
        members = [RosterMember(server.name, uid, server.host, server.sip_port) for uid, server in servers.items()]
        await self.operator.administration.write_roster(Roster(f"node-{node}", tuple(members)))

    async def wait_report(self, uid: str, expected: Callable[[ReportedMember], bool], within: float = 20.0) -> float:
        deadline = time.monotonic() + within
        while True:
            told = [one for report in self.operator.reports.current() for one in report.members if one.uid == uid]
            if any(expected(one) for one in told):
                return time.monotonic()
            if time.monotonic() > deadline:
                raise TimeoutError(f"{uid}: {told}")
            await _pause()

    async def wait_lease(self, uid: str, within: float = 20.0) -> float:
        deadline = time.monotonic() + within
        while [lease.uid for lease in self.operator.members() if lease.uid.startswith(uid[:3])] != [uid]:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{uid}: {self.operator.members()}")
            await _pause()
        return time.monotonic()


@pytest.fixture
async def cluster(asterisk: AsteriskFactory) -> AsyncIterator[Cluster]:
    async with AsyncExitStack() as stack:
        nats = await stack.enter_async_context(NatsServer())
        settings = FederationSettings(deputy=False, read_states=False, read_reports=True)
        operator = await stack.enter_async_context(
            Federation.connect(nats.url, federation="lab", agent="operator", settings=settings)
        )
        assert await operator.wait_synced(10)
        agents = [
            AgentProcess(
                f"agent-{node}",
                nats.url,
                sections={"agent": {"node": f"node-{node}"}, "nats": {"create_stream": False}},
                token="token-of-the-lab-1",
            )
            for node in (0, 1)
        ]
        for agent in agents:
            stack.push_async_callback(agent.close)
            await agent.start()
        yield Cluster(operator, agents, asterisk)


def synced_as(eid: str) -> Callable[[ReportedMember], bool]:
    return lambda one: (one.state, one.eid) == ("synced", eid)


async def test_servers_that_came_before_their_rosters_lose_nothing(cluster: Cluster, measure: Measure) -> None:
    a, b = await cluster.pod("a", 0), await cluster.pod("b", 1)
    await a.set_device(LAMP, DeviceState.RINGING)
    started = time.monotonic()
    await cluster.roster(0, uid_a=a)
    await cluster.roster(1, uid_b=b)
    for uid, server in (("uid_a", a), ("uid_b", b)):
        done = await cluster.wait_report(uid, synced_as(str(server.eid)))
        measure(f"roster written: {server.name} synced, by its agent's report", done - started)
    await b.wait_device(LAMP, DeviceState.RINGING)
    await cluster.roster(1)
    await b.wait_device(LAMP, DeviceState.UNKNOWN)


async def test_a_secret_is_replaced_while_servers_still_have_the_old_one(cluster: Cluster) -> None:
    a, b = await cluster.pod("a", 0), await cluster.pod("b", 1)
    await cluster.roster(0, uid_a=a)
    await cluster.roster(1, uid_b=b)
    old, new = "token-of-the-lab-1", "token-of-the-lab-2"
    for uid in ("uid_a", "uid_b"):
        await cluster.wait_report(uid, lambda one: (one.state, one.token) == ("synced", token_mark(old)))
    agent = cluster.agents[1]
    previous = agent.file.with_name("previous")
    previous.write_text(old)
    agent.token = new
    agent.sections = {**agent.sections, "agent": {"node": "node-1", "previous_token_file": str(previous)}}
    agent.write()
    while "tokens_changed" not in agent.log:
        await _pause()
    await a.set_device(LAMP, DeviceState.RINGING)
    await b.wait_device(LAMP, DeviceState.RINGING)
    await cluster.wait_report("uid_b", lambda one: (one.state, one.token) == ("synced", token_mark(old)))
    snippet = pjsip_snippet(agent_host=agent.host, agent_port=agent.sip_port, token=new, previous_token=old)
    b.configuration = replace(b.configuration, pjsip_snippet=snippet)
    b.write_configuration()
    await b.cli(RELOAD)
    await cluster.wait_report("uid_b", lambda one: one.token == token_mark(new))
    agent.sections = {**agent.sections, "agent": {"node": "node-1"}}
    agent.write()
    b.configuration = replace(b.configuration, pjsip_snippet=agent.snippet)
    b.write_configuration()
    await b.cli(RELOAD)
    while agent.log.count("tokens_changed") < 2:
        await _pause()
    await a.set_device(LAMP, DeviceState.BUSY)
    await b.wait_device(LAMP, DeviceState.BUSY)
    assert await agent.metric("eventfed_member_possible_intrusions_total") == 0


async def test_a_pod_that_comes_back_on_another_node_is_taken_over_when_the_roster_says_so(
    cluster: Cluster, measure: Measure
) -> None:
    old = await cluster.pod("a", 0, eid=STATEFUL)
    await cluster.roster(0, pod_old=old)
    await cluster.wait_lease("pod_old")
    await old.set_device(LAMP, DeviceState.RINGING)
    cluster.agents[0].kill()  # the node is lost for everybody but itself: its server goes on answering
    new = await cluster.pod("a", 1, eid=STATEFUL)
    await cluster.roster(1, pod_new=new)
    await cluster.wait_report("pod_new", lambda one: one.state == "duplicate" and "asterisk.conf" in one.reason)
    removed = time.monotonic()
    await cluster.operator.administration.delete_roster("node-0")
    measure("roster says that the old pod is gone: taken over", await cluster.wait_lease("pod_new") - removed)
    await cluster.wait_report("pod_new", lambda one: one.state == "synced")


async def _pause() -> None:
    await asyncio.sleep(0.02)
