"""Two servers with one EID: a duplicate is refused and told, a successor takes over at once."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest

from eventfed import EID, DeviceState
from eventfed_lab import SHORT_TIMES, AgentProcess, AsteriskConfiguration, AsteriskRoot, AsteriskServer, NatsServer
from tests.ground.fixture_types import Measure

SHARED_EID = EID.parse("02:00:00:00:0d:0d")
LEASE = 60.0
"""Long, so that nothing here is done by the lapse of a lease."""
SECTIONS = {"timing": {**SHORT_TIMES["timing"], "lease_ttl": LEASE}}


@dataclass
class Ground:
    """A server, a twin with its EID, and one that watches; an agent each. The twin is not started."""

    server: AsteriskServer
    twin: AsteriskServer
    watcher: AsteriskServer
    agents: dict[str, AgentProcess]


@pytest.fixture
async def ground(asterisk_root: AsteriskRoot) -> AsyncIterator[Ground]:
    async with AsyncExitStack() as stack:
        nats = await stack.enter_async_context(NatsServer())
        servers: dict[str, AsteriskServer] = {}
        agents: dict[str, AgentProcess] = {}
        for name in ("server", "twin", "watcher"):
            agent = agents[name] = AgentProcess(f"agent-{name}", nats.url, sections=SECTIONS)
            stack.push_async_callback(agent.close)
            configuration = AsteriskConfiguration(pjsip_snippet=agent.snippet)
            eid = None if name == "watcher" else SHARED_EID
            servers[name] = AsteriskServer(asterisk_root, name, configuration=configuration, eid=eid)
            stack.push_async_callback(servers[name].close)
            agent.members.append(servers[name])
        async with asyncio.TaskGroup() as tasks:
            for agent in agents.values():
                tasks.create_task(agent.start())
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(servers["server"].start())
            tasks.create_task(servers["watcher"].start())
        for name in ("server", "watcher"):
            await agents[name].wait_members("synced")
        await servers["server"].set_device("Custom:lamp1", DeviceState.RINGING)
        await servers["watcher"].wait_device("Custom:lamp1", DeviceState.RINGING)
        yield Ground(**servers, agents=agents)


async def test_a_second_live_server_with_the_same_eid_is_refused_and_told(ground: Ground, measure: Measure) -> None:
    agent = ground.agents["twin"]
    await ground.twin.start()
    booted = time.monotonic()
    measure("duplicate EID told", await agent.wait_members("duplicate") - booted)
    [member] = await agent.member_list()
    assert "server (udp:" in member["reason"]
    assert "give each server its own entityid in asterisk.conf" in member["reason"]
    assert await agent.metric("eventfed_member_state", member="twin", state="duplicate") == 1

    with ground.watcher.ami.events("DeviceStateChange") as events:
        for state in (DeviceState.BUSY, DeviceState.ONHOLD, DeviceState.NOT_INUSE):
            await ground.twin.set_device("Custom:lamp1", state)
            await ground.twin.set_device("Custom:of-the-twin", state)
        await ground.server.set_device("Custom:lamp1", DeviceState.INUSE)
        await ground.watcher.wait_device("Custom:lamp1", DeviceState.INUSE)
        await asyncio.sleep(2)
        assert {(event["Device"], event["State"]) for _, event in events.drain()} == {("Custom:lamp1", "INUSE")}
    assert await agent.metric("eventfed_warnings_total", name="duplicate_eid") >= 1
    assert agent.log.count("duplicate_eid") == 1
    assert await ground.agents["server"].member_states() == {"server": "synced"}
    # Nor is anything put into the twin.
    await ground.watcher.set_device("Custom:of-the-watcher", DeviceState.BUSY)
    await ground.server.wait_device("Custom:of-the-watcher", DeviceState.BUSY)
    assert await ground.twin.device_state("Custom:of-the-watcher") is DeviceState.UNKNOWN


async def test_a_duplicate_takes_over_when_the_first_one_dies(ground: Ground, measure: Measure) -> None:
    await ground.twin.start()
    await ground.agents["twin"].wait_members("duplicate")
    await ground.twin.set_device("Custom:lamp1", DeviceState.BUSY)
    ground.server.kill()
    died = time.monotonic()
    measure("duplicate EID, the first server killed: replaced", await ground.watcher.wait_device(
        "Custom:lamp1", DeviceState.BUSY, 20
    ) - died)  # fmt: skip
    await ground.agents["twin"].wait_members("synced")
    assert (await ground.agents["twin"].member_list())[0]["reason"] == ""


async def test_a_dead_predecessor_is_replaced_long_before_its_lease_lapses(ground: Ground, measure: Measure) -> None:
    # Server and agent at once, so that nobody gives the lease back: a node is lost.
    ground.agents["server"].kill()
    ground.server.kill()
    await ground.twin.start()
    booted = time.monotonic()
    await ground.twin.set_device("Custom:lamp1", DeviceState.BUSY)
    replaced = await ground.watcher.wait_device("Custom:lamp1", DeviceState.BUSY, 20)
    measure(f"dead predecessor with a lease of {LEASE:g} s: replaced", replaced - booted)
    assert replaced - booted < 10
    await ground.agents["twin"].wait_members("synced")


async def test_two_members_of_one_agent_with_the_same_eid_are_told_apart(
    asterisk_root: AsteriskRoot, measure: Measure
) -> None:
    async with AsyncExitStack() as stack:
        nats = await stack.enter_async_context(NatsServer())
        agent = AgentProcess("agent", nats.url)
        stack.push_async_callback(agent.close)
        configuration = AsteriskConfiguration(pjsip_snippet=agent.snippet)
        server, twin = (
            AsteriskServer(asterisk_root, name, configuration=configuration, eid=SHARED_EID)
            for name in ("server", "twin")
        )
        for one in (server, twin):
            stack.push_async_callback(one.close)
        agent.members += [server, twin]
        await agent.start()
        await server.start()
        await agent.wait_members("synced", "server")
        await twin.start()
        await agent.wait_members("duplicate", "twin")
        assert (await agent.member_states())["server"] == "synced"
        assert await agent.metric("eventfed_member_refused_total", member="twin") >= 1
        assert agent.log.count("duplicate_eid") == 1
        server.kill()
        died = time.monotonic()
        replaced = await agent.wait_members("synced", "twin")
        measure("duplicate EID at one agent, the first server killed: replaced", replaced - died)
        assert (await agent.member_states())["server"] in ("lost", "connecting")
