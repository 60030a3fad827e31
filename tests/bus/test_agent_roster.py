"""An agent that reads its members from NATS, as under Kubernetes, with simulated servers."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from eventfed import EID, DeviceState, Federation, FederationSettings, Subjects, stream_configuration
from eventfed.wire.report import AgentReport, ReportedMember, token_mark
from eventfed.wire.roster import Roster, RosterMember
from eventfed_lab import AgentProcess, NatsServer, Server, SimulatedServer
from tests.ground.fixture_types import Until

TOKEN = "token-of-the-lab-1"
EID_A = EID.parse("02:00:00:00:00:0a")
OTHERS = "Custom:of-another"


class Ground:
    """NATS, an operator's client with a stream, and agents and servers as a test wants them."""

    def __init__(self, nats: NatsServer, operator: Federation, stack: AsyncExitStack) -> None:
        self.nats = nats
        self.operator = operator
        self.stack = stack

    async def agent(self, node: str, *, start: bool = True, **agent: object) -> AgentProcess:
        sections: dict[str, dict[str, object]] = {"agent": {"node": node, **agent}, "nats": {"create_stream": False}}
        made = AgentProcess(f"agent.{node}", self.nats.url, federation="pbx", sections=sections, token=TOKEN)
        self.stack.push_async_callback(made.close)
        if start:
            await made.start()
        return made

    async def server(self, name: str, agent: AgentProcess, *, eid: EID | None = None) -> SimulatedServer:
        server = SimulatedServer(name, agent=(agent.host, agent.sip_port), tokens=(TOKEN,), eid=eid)
        self.stack.push_async_callback(server.close)
        await server.start()
        return server

    async def roster(self, node: str, *members: RosterMember, rules: str = "") -> None:
        await self.operator.administration.write_roster(Roster(node, members, rules))

    def reported(self) -> dict[str, ReportedMember]:
        return {one.uid: one for report in self.operator.reports.current() for one in report.members}

    def leases(self) -> dict[str, str]:
        return {lease.uid: lease.agent for lease in self.operator.members()}


def on_roster(server: Server, uid: str | None = None, *, leaving: bool = False) -> RosterMember:
    return RosterMember(server.name, uid or f"uid-{server.name}", server.host, server.sip_port, leaving=leaving)


@pytest.fixture
async def ground(nats_server: NatsServer, quick: FederationSettings, until: Until) -> AsyncIterator[Ground]:
    settings = replace(quick, create_stream=False, deputy=False, read_states=False, read_reports=True)
    async with AsyncExitStack() as stack:
        operator = await stack.enter_async_context(
            Federation.connect(nats_server.url, federation="pbx", agent="operator", settings=settings)
        )
        await until(lambda: operator.connected)
        await operator.administration.make_stream(stream_configuration(Subjects("pbx"), quick))
        assert await operator.wait_synced(10)
        yield Ground(nats_server, operator, stack)


async def test_without_a_roster_nobody_is_answered_and_with_one_nothing_was_lost(ground: Ground, until: Until) -> None:
    agent = await ground.agent("node-1")
    a = await ground.server("a", agent)
    await a.set_device(OTHERS, DeviceState.RINGING)
    await asyncio.sleep(1)
    assert await agent.metric("eventfed_requests_without_roster_total") > 0
    assert await agent.metric("eventfed_unknown_sources_total") == 0
    assert await agent.member_list() == []
    await ground.roster("node-2", on_roster(a))
    await asyncio.sleep(0.5)
    assert await agent.member_list() == [], "another node's roster is no roster"
    await ground.roster("node-1", on_roster(a))
    await agent.wait_members("synced", "a")
    assert ground.leases() == {"uid-a": "agent.node-1"}
    await until(lambda: ground.reported().get("uid-a", ReportedMember("", "")).state == "synced")
    [report] = ground.operator.reports.current()
    mark = token_mark(TOKEN)
    assert report.members == (ReportedMember("uid-a", "synced", "", str(a.eid), 0, mark),)
    assert (report.agent, report.node, report.version) == ("agent.node-1", "node-1", "0.1.0")
    b = await ground.server("b", agent)
    await ground.roster("node-1", on_roster(a), on_roster(b))
    await b.wait_device(OTHERS, DeviceState.RINGING)


async def test_who_leaves_the_federation_is_withdrawn_from_and_who_ends_is_let_go(ground: Ground, until: Until) -> None:
    agent = await ground.agent("node-1")
    a, b, c = [await ground.server(name, agent) for name in "abc"]
    await ground.roster("node-1", *map(on_roster, (a, b, c)))
    await agent.wait_members("synced", "a", "b", "c")
    await a.set_device(OTHERS, DeviceState.RINGING)
    for server in (b, c):
        await server.wait_device(OTHERS, DeviceState.RINGING)
    read = agent.log.count("roster_changed")
    await ground.roster("node-1", on_roster(a), on_roster(b), on_roster(c, leaving=True))
    # A pod takes a while to end; an agent that slept through it would withdraw from it first.
    await until(lambda: agent.log.count("roster_changed") > read)
    await ground.roster("node-1", on_roster(a))
    await b.wait_device(OTHERS, DeviceState.UNKNOWN)
    await until(lambda: ground.leases() == {"uid-a": "agent.node-1"})
    assert [member["name"] for member in await agent.member_list()] == ["a"]
    assert await c.device_state(OTHERS) is DeviceState.RINGING, "nobody has the time for a pod that ends"
    await ground.roster("node-1", on_roster(a), on_roster(b))
    await b.wait_device(OTHERS, DeviceState.RINGING)


async def test_filters_come_with_the_roster_and_an_older_file_does_not_take_them_back(
    ground: Ground, until: Until
) -> None:
    def rules(*patterns: str) -> str:
        return json.dumps({"events": [{"type": "device_state", "exclude": patterns}]})

    agent = await ground.agent("node-1")
    a, b = [await ground.server(name, agent) for name in "ab"]
    both = (on_roster(a), on_roster(b))
    await ground.roster("node-1", *both)
    await agent.wait_members("synced", "a", "b")
    await a.set_device(OTHERS, DeviceState.RINGING)
    await b.wait_device(OTHERS, DeviceState.RINGING)
    await ground.roster("node-1", *both, rules=rules("^Custom:of-"))
    await b.wait_device(OTHERS, DeviceState.UNKNOWN)
    assert await a.device_state(OTHERS) is DeviceState.RINGING
    agent.sections["departure"] = {"grace_period": 4.0, "mailbox_grace_period": 3.0}
    agent.write()
    await until(lambda: "configuration_changed" in agent.log)
    await ground.roster("node-1", *both, rules='{"events": [], "later": true}')
    await until(lambda: "rules_refused" in agent.log)
    await a.set_device("Custom:crosses", DeviceState.BUSY)
    await b.wait_device("Custom:crosses", DeviceState.BUSY)
    assert await b.device_state(OTHERS) is DeviceState.UNKNOWN, "what counted before still does"
    await ground.roster("node-1", *both, rules=rules())
    await b.wait_device(OTHERS, DeviceState.RINGING)
    await ground.roster("node-1", *both, rules=rules("^Custom:of-"))
    await b.wait_device(OTHERS, DeviceState.UNKNOWN)
    await ground.roster("node-1", *both)
    await b.wait_device(OTHERS, DeviceState.RINGING)


async def test_an_agent_that_another_one_follows_serves_on_until_that_one_has_its_members(
    ground: Ground, until: Until
) -> None:
    first, second = [await ground.agent("node-1", start=False, name=name) for name in ("first", "second")]
    for agent in (first, second):
        agent.sections["timing"] = {**agent.sections["timing"], "handover": 8.0}
        await agent.start()
    a, b = [await ground.server(name, first) for name in "ab"]
    await ground.roster("node-1", on_roster(a), on_roster(b))
    await first.wait_members("synced", "a", "b")
    ending = asyncio.create_task(first.stop())
    await until(lambda: "agent_stops" in first.log)
    with pytest.raises(OSError, match="503"):
        await first.get("/readyz")
    await a.set_device("Custom:meanwhile", DeviceState.BUSY)
    await b.wait_device("Custom:meanwhile", DeviceState.BUSY)
    assert ground.leases() == {"uid-a": "first", "uid-b": "first"}
    seen: set[int] = set()
    # Neither server has anything to say, and what it is made to say goes to the second agent from now on.
    for server in (a, b):
        server.point((second.host, second.sip_port))
    while not ending.done():
        seen.add(len(ground.leases()))
        await asyncio.sleep(0.01)
    assert seen == {2}, "each has a lease all the time"
    assert ground.leases() == {"uid-a": "second", "uid-b": "second"}
    assert await second.metric("eventfed_bus_total", name="leases_lost") == 0
    await second.wait_members("synced", "a", "b")
    await b.set_device("Custom:meanwhile", DeviceState.RINGING)
    await a.set_device("Custom:of-a", DeviceState.RINGING)
    await b.wait_device("Custom:of-a", DeviceState.RINGING)


async def test_an_empty_roster_withdraws_everything_which_ends_a_federation(ground: Ground, until: Until) -> None:
    agents = [await ground.agent(f"node-{number}") for number in (1, 2)]
    a, b = [await ground.server(name, agent) for name, agent in zip("ab", agents, strict=True)]
    await ground.roster("node-1", on_roster(a))
    await ground.roster("node-2", on_roster(b))
    for agent in agents:
        await agent.wait_members("synced")
    await a.set_device(OTHERS, DeviceState.RINGING)
    await b.wait_device(OTHERS, DeviceState.RINGING)
    await ground.roster("node-1")
    await ground.roster("node-2")
    await b.wait_device(OTHERS, DeviceState.UNKNOWN)
    await until(lambda: not ground.operator.members())


async def test_the_last_roster_counts_while_operator_and_nats_are_away_and_after_a_lost_store(
    ground: Ground, until: Until
) -> None:
    agent = await ground.agent("node-1")
    a, b = [await ground.server(name, agent) for name in "ab"]
    await ground.roster("node-1", on_roster(a), on_roster(b))
    await agent.wait_members("synced", "a", "b")
    await ground.nats.stop()
    ground.nats.wipe()
    await until(lambda: not ground.operator.connected)
    assert len(await agent.member_list()) == 2
    await ground.nats.start()
    await until(lambda: ground.operator.connected)
    await ground.operator.administration.make_stream(stream_configuration(Subjects("pbx"), FederationSettings()))
    await until(lambda: not ground.operator.rosters.present, within=20)
    await until(lambda: len(ground.operator.members()) == 2, within=20)
    await a.set_device(OTHERS, DeviceState.RINGING)
    await b.wait_device(OTHERS, DeviceState.RINGING)
    await ground.operator.administration.write_roster(Roster("node-1", (on_roster(a),)))
    await until(lambda: ground.leases() == {"uid-a": "agent.node-1"})


async def test_a_pod_that_comes_back_elsewhere_takes_over_though_its_old_address_answers(
    ground: Ground, until: Until
) -> None:
    first, second = await ground.agent("node-1"), await ground.agent("node-2")
    old = await ground.server("a", first, eid=EID_A)
    await ground.roster("node-1", on_roster(old, "uid-old"))
    await first.wait_members("synced")
    first.kill()  # its node is lost: nobody gives the lease back, and the address is another pod's soon
    new = await ground.server("a", second, eid=EID_A)
    await ground.roster("node-2", on_roster(new, "uid-new"))
    await second.wait_members("duplicate")
    assert ground.leases() == {"uid-old": "agent.node-1"}
    await ground.operator.administration.delete_roster("node-1")
    await second.wait_members("synced", within=5)
    assert ground.leases() == {"uid-new": "agent.node-2"}


async def test_a_pod_that_comes_back_on_its_node_is_another_member_at_once(ground: Ground, until: Until) -> None:
    agent = await ground.agent("node-1")
    old = await ground.server("a", agent, eid=EID_A)
    await ground.roster("node-1", on_roster(old, "uid-old"))
    await agent.wait_members("synced")
    old.kill()
    new = await ground.server("a", agent, eid=EID_A)
    await ground.roster("node-1", on_roster(new, "uid-new"))
    await until(lambda: ground.leases() == {"uid-new": "agent.node-1"}, within=5)
    await agent.wait_members("synced")
    assert agent.log.count("duplicate_eid") == 0


async def test_a_secret_is_replaced_without_a_restart_and_it_is_told_who_has_the_new_one(
    ground: Ground, until: Until
) -> None:
    agent = await ground.agent("node-1")
    a, b = [await ground.server(name, agent) for name in "ab"]
    await ground.roster("node-1", on_roster(a), on_roster(b))
    await agent.wait_members("synced", "a", "b")
    previous = agent.file.with_name("previous")
    previous.write_text(TOKEN + "\n")
    agent.token = "token-of-the-lab-2"
    agent.sections = {**agent.sections, "agent": {"node": "node-1", "previous_token_file": str(previous)}}
    agent.write()
    await until(lambda: "tokens_changed" in agent.log)
    await a.set_device(OTHERS, DeviceState.RINGING)
    await b.wait_device(OTHERS, DeviceState.RINGING)
    old, new = token_mark(TOKEN), token_mark(agent.token)
    await until(lambda: {one.token for one in ground.reported().values()} == {old})
    b.accept_tokens(TOKEN, agent.token)
    await until(lambda: (ground.reported()["uid-a"].token, ground.reported()["uid-b"].token) == (old, new))
    a.accept_tokens(TOKEN, agent.token)
    await until(lambda: {one.token for one in ground.reported().values()} == {new})
    agent.sections = {**agent.sections, "agent": {"node": "node-1"}}
    agent.write()
    await until(lambda: agent.log.count("tokens_changed") == 2)
    for server in (a, b):
        server.accept_tokens(agent.token)
    await a.set_device(OTHERS, DeviceState.BUSY)
    await b.wait_device(OTHERS, DeviceState.BUSY)
    assert set((await agent.member_states()).values()) == {"synced"}


async def test_a_secret_that_was_lost_counts_until_the_servers_have_the_new_one(ground: Ground, until: Until) -> None:
    agent = await ground.agent("node-1")
    a, b = [await ground.server(name, agent) for name in "ab"]
    await ground.roster("node-1", on_roster(a), on_roster(b))
    await agent.wait_members("synced", "a", "b")
    agent.token = "token-of-the-lab-2"
    agent.write()
    await until(lambda: "tokens_changed" in agent.log)
    for origin, other, state in ((a, b, DeviceState.RINGING), (b, a, DeviceState.BUSY)):
        await origin.set_device(f"Custom:of-{origin.name}", state)
        await other.wait_device(f"Custom:of-{origin.name}", state)
    b.accept_tokens(agent.token)
    await until(lambda: ground.reported()["uid-b"].token == token_mark(agent.token))
    assert ground.reported()["uid-a"].token == token_mark(TOKEN)
    await a.set_device("Custom:of-a", DeviceState.INUSE)
    await b.wait_device("Custom:of-a", DeviceState.INUSE)
    # Who has taken the new one is never again offered the old one.
    b.accept_tokens(TOKEN)
    await a.set_device("Custom:of-a", DeviceState.BUSY)
    await asyncio.sleep(1)
    assert await b.device_state("Custom:of-a") is DeviceState.INUSE


async def test_departure_and_times_change_without_a_restart_and_the_rest_is_refused(
    ground: Ground, until: Until
) -> None:
    agent = await ground.agent("node-1")
    a, b = [await ground.server(name, agent) for name in "ab"]
    await ground.roster("node-1", on_roster(a), on_roster(b))
    await agent.wait_members("synced", "a", "b")
    agent.sections = {**agent.sections, "departure": {"grace_period": 600.0, "tombstone_ttl": 600.0}}
    agent.write()
    await until(lambda: agent.log.count("configuration_changed") == 1)
    await a.set_device(OTHERS, DeviceState.RINGING)
    await b.wait_device(OTHERS, DeviceState.RINGING)
    await ground.roster("node-1", on_roster(a, leaving=True), on_roster(b))
    await ground.roster("node-1", on_roster(b))
    await until(lambda: ground.leases() == {"uid-b": "agent.node-1"})
    await asyncio.sleep(4)  # longer than the grace that it began with
    assert await b.device_state(OTHERS) is DeviceState.RINGING
    timing = {**agent.sections["timing"], "keep_alive": 0.3}
    agent.sections = {**agent.sections, "departure": {"grace_period": 1.0}, "timing": timing}
    agent.write()
    await b.wait_device(OTHERS, DeviceState.UNKNOWN)
    agent.sections = {**agent.sections, "agent": {"node": "node-9"}}
    agent.write()
    await until(lambda: "section [agent] has changed" in agent.log)
    assert agent.log.count("configuration_refused") == 1
    assert await agent.member_states() == {"b": "synced"}


async def test_a_new_agent_of_a_node_reports_beside_the_old_one_and_takes_over(ground: Ground, until: Until) -> None:
    first = await ground.agent("node-1")
    a = await ground.server("a", first)
    await ground.roster("node-1", on_roster(a))
    await first.wait_members("synced")
    surge = AgentProcess(
        "surge",
        ground.nats.url,
        federation="pbx",
        sections={"agent": {"node": "node-1"}, "nats": {"create_stream": False}},
        token=TOKEN,
    )
    ground.stack.push_async_callback(surge.close)
    await surge.start()
    await surge.wait_members("connecting")

    def agents() -> dict[str, AgentReport]:
        return {report.agent: report for report in ground.operator.reports.current()}

    await until(lambda: agents().keys() == {"agent.node-1", "surge"})
    a.agent = (surge.host, surge.sip_port)
    await first.stop()
    await a.restart()
    await surge.wait_members("synced")
    await until(lambda: ground.leases() == {"uid-a": "surge"})
