"""Servers and agents fail and come back while states change: afterwards every server shows the owners' truth."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

import nats
import pytest
from nats.aio.msg import Msg

from eventfed import DeviceState, Event, Federation, Subjects, decode_envelope
from eventfed_lab import AgentProcess, AsteriskRoot, AsteriskServer, Pbx, Truth
from tests.ground.fixture_types import Measure
from tests.ground.pbx_faults import (
    PRODUCTION,
    PbxFault,
    agent_hung,
    agent_killed,
    agent_stopped,
    asterisk_killed,
    asterisk_stopped,
    asterisk_stopped_now,
    servers_of,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

FAULTS: Mapping[str, tuple[PbxFault, float]] = {
    "Asterisk stopped gracefully and started": (asterisk_stopped, 1),
    "Asterisk stopped now and started": (asterisk_stopped_now, 1),
    "Asterisk killed and started": (asterisk_killed, 1),
    "agent stopped and started": (agent_stopped, 2),
    "agent killed and started": (agent_killed, 2),
    "agent killed, away for longer than its lease and the grace": (agent_killed, 9),
    "agent hung for 10 s and resumed": (agent_hung, 10),
    "agent upgraded": (agent_stopped, 0),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_all_servers_show_the_truth_again_after(name: str, pbx: Pbx, measure: Measure) -> None:
    async with Truth(servers_of(pbx)) as truth:
        await asyncio.sleep(1)
        fault, seconds = FAULTS[name]
        ended = await fault(pbx, "a", seconds)
        right = await truth.settle()
    assert truth.changes > 100
    measure(name, max(0.0, right - ended))


async def test_a_member_that_moved_while_its_agent_hung_is_never_touched_by_that_agent_again(
    asterisk_root: AsteriskRoot, measure: Measure
) -> None:
    async with Pbx(asterisk_root, ("a", "b")) as pbx:
        measure("member moved while its agent hung for 10 s: taken over", await member_moves(pbx, 10))


@pytest.mark.long
@pytest.mark.timeout(240)
async def test_a_member_that_moved_while_its_agent_hung_for_a_minute_is_never_touched_by_that_agent_again(
    asterisk_root: AsteriskRoot, measure: Measure
) -> None:
    async with Pbx(asterisk_root, ("a", "b"), sections=PRODUCTION) as pbx:
        measure(
            "member moved while its agent hung for 60 s, with production's times: taken over",
            await member_moves(pbx, 60),
        )


async def member_moves(pbx: Pbx, seconds: float) -> float:
    """Seconds from the start of the Asterisk that points to the other agent until that one has it in sync."""
    a, b = servers_of(pbx)
    first, second = pbx.agents["a"], pbx.agents["b"]
    # One secret for all agents, as under Kubernetes: the server would take in what the first sends.
    await second.stop()
    second.token = first.token
    await second.start()
    await point(b, second)
    await pbx.wait_synced()
    async with Truth([a, b]) as truth:
        await asyncio.sleep(1)
        first.hang()
        resume_at = time.monotonic() + seconds
        await asyncio.sleep(seconds / 4)
        await point(a, second)
        pointed = time.monotonic()
        taken_over = await second.wait_members("synced", "a")
        await asyncio.sleep(max(1.0, resume_at - 3 - time.monotonic()))
        await truth.settle()
        epoch = await lease_epoch(pbx, a)
        async with published(pbx) as states:
            with a.ami.events("DeviceStateChange", "MessageWaiting") as on_a, b.ami.events("DeviceStateChange") as on_b:
                await asyncio.sleep(max(0.0, resume_at - time.monotonic()))
                first.resume()
                await first.wait_members("moved", "a")
                await asyncio.sleep(2)
                assert [(event["Device"], event["State"]) for _, event in on_a.drain() + on_b.drain()] == []
            # Only the new agent's word, if any (states are renewed now and then): nothing from the old ownership.
            assert [event for event in states if event is None or (event.eid == a.eid and event.epoch < epoch)] == []
        assert await truth.differences() == []
    assert (await first.member_list())[0]["reason"] == "another agent serves it"
    assert (await first.metric("eventfed_bus_total", name="leases_lost")) == 1

    # It goes back: who was moved away from has to claim it again.
    second.members.remove(a)
    second.write()
    await until_lists(second, a, False)
    await point(a, first)
    await first.wait_members("synced", "a", within=40)
    await a.set_device("Custom:moved", DeviceState.RINGING)
    await b.set_device("Custom:stayed", DeviceState.ONHOLD)
    await pbx.wait_device("Custom:moved", DeviceState.RINGING)
    await pbx.wait_device("Custom:stayed", DeviceState.ONHOLD)
    return taken_over - pointed


async def point(server: AsteriskServer, agent: AgentProcess) -> None:
    """Have another agent serve the server: in the agent's file, then in the server's, which restarts."""
    if server not in agent.members:
        agent.members.append(server)
        agent.write()
    await until_lists(agent, server, True)
    server.configuration = replace(server.configuration, pjsip_snippet=agent.snippet)
    await server.restart()


async def until_lists(agent: AgentProcess, server: AsteriskServer, listed: bool) -> None:
    async with asyncio.timeout(10):
        while (server.name in await agent.member_states()) is not listed:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def lease_epoch(pbx: Pbx, server: AsteriskServer) -> int:
    async with Federation.connect(pbx.nats.url, federation="lab", agent="looker") as federation:
        assert await federation.wait_synced(5)
        return federation.view.leases[server.eid].epoch


@asynccontextmanager
async def published(pbx: Pbx) -> AsyncIterator[list[Event | None]]:
    """All states that anybody publishes from now on; None is a tombstone."""
    seen: list[Event | None] = []

    async def note(message: Msg) -> None:
        seen.append(decode_envelope(message.data) if message.data else None)

    client = await nats.connect(pbx.nats.url)
    try:
        await client.subscribe(Subjects("lab").read()[0], cb=note)
        yield seen
    finally:
        await client.close()


async def test_a_member_belongs_to_the_agent_that_it_publishes_to_however_many_list_it(
    asterisk_root: AsteriskRoot, measure: Measure
) -> None:
    async with Pbx(asterisk_root, ("a", "b")) as pbx:
        a, b = servers_of(pbx)
        first, second = pbx.agents["a"], pbx.agents["b"]
        await a.stop_gracefully()
        await point(a, second)
        await second.wait_members("synced", "a")
        # It answers the first agent as well, which must not take that for more than it is.
        await first.wait_members("moved", "a")
        await asyncio.sleep(3)
        assert await first.member_states() == {"a": "moved"}
        assert (await second.member_states())["a"] == "synced"
        await a.set_device("Custom:moved", DeviceState.RINGING)
        await pbx.wait_device("Custom:moved", DeviceState.RINGING)
        await b.set_device("Custom:stayed", DeviceState.ONHOLD)
        await pbx.wait_device("Custom:stayed", DeviceState.ONHOLD)

        second.kill()
        killed = time.monotonic()
        await point(a, first)
        measure("member pointed back as the other agent died", await first.wait_members("synced", "a") - killed)
        await a.set_device("Custom:moved", DeviceState.BUSY)
        await second.start()
        await pbx.wait_device("Custom:moved", DeviceState.BUSY)
        await b.set_device("Custom:stayed", DeviceState.INUSE)
        await pbx.wait_device("Custom:stayed", DeviceState.INUSE)
