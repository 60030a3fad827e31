"""Anyone who sends what nobody should: each is counted, told once per source, and everything else goes on."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from eventfed import EID, DeviceState
from eventfed_lab import (
    SHORT_TIMES,
    AgentProcess,
    AsteriskRoot,
    Pbx,
    allot,
)
from tests.ground.fixture_types import AsteriskFactory, Measure, NatsFactory
from tests.ground.strangers import LAMP, Stranger, configured, crosses, eventually, lines, more, publish, real, state

shared = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pbx(asterisk_root: AsteriskRoot) -> AsyncIterator[Pbx]:
    async with Pbx(asterisk_root, ("a", "b")) as pbx:
        yield pbx


async def test_of_two_live_servers_with_one_eid_the_second_is_refused_until_it_has_one_of_its_own(
    asterisk: AsteriskFactory, nats_server: NatsFactory
) -> None:
    async with AgentProcess("agent", (await nats_server()).url) as agent:
        first, second, other = [
            await asterisk(name, start=False, eid=EID.derive(eid), configuration=configured(agent))
            for name, eid in (("first", "one"), ("second", "one"), ("other", "other"))
        ]
        agent.members += [first, second, other]
        agent.write()
        await first.start()
        await agent.wait_members("synced", "first")
        await second.start()
        await other.start()
        await agent.wait_members("duplicate", "second")
        await agent.wait_members("synced", "first", "other")
        (told,) = [member for member in await agent.member_list() if member["name"] == "second"]
        assert "first" in told["reason"]
        assert "entityid" in told["reason"]

        async def refused() -> float:
            return await agent.metric("eventfed_member_refused_total", member="second", reason="duplicate_eid")

        before = await refused()
        await second.set_device("Custom:second", DeviceState.BUSY)
        await eventually(lambda: more(refused, before))
        await crosses(first, other)
        await crosses(other, first)
        assert await other.device_state("Custom:second") is DeviceState.UNKNOWN
        assert len(lines(agent, "duplicate_eid")) == 1

        second.eid = EID.derive("two")
        await second.restart()
        await agent.wait_members("synced", "first", "second", "other")
        await other.wait_device("Custom:second", DeviceState.BUSY)


async def test_an_unknown_source_gets_silence_for_the_first_seconds_then_403_and_is_served_once_it_is_named(
    asterisk: AsteriskFactory, nats_server: NatsFactory
) -> None:
    times = {"timing": {**SHORT_TIMES["timing"], "unknown_source_silence": 4.0}}
    async with AgentProcess("agent", (await nats_server()).url, sections=times) as agent:
        ready = time.monotonic()
        member = await asterisk("member", start=False, configuration=configured(agent))
        agent.members.append(member)
        with allot() as address, Stranger(address.host, (agent.host, agent.sip_port)) as stranger:
            body = state("Custom:forged", DeviceState.BUSY, EID.derive("stranger"))
            answers: list[int | None] = []
            while None in answers or not answers or len(answers) < 10:
                stranger.send(publish(body))
                answers.append(await stranger.answer(0.5))
                if answers[-1] is not None:
                    break
            assert answers[-1] == 403
            assert time.monotonic() - ready > 3
            assert set(answers[:-1]) == {None}
            assert await stranger.ask(publish(body)) == 403
            assert await agent.metric("eventfed_unknown_sources_total") >= len(answers) + 1
            assert len(lines(agent, "unknown_source", address.host)) == 1
        await member.start()
        unnamed = await asterisk("unnamed", configuration=configured(agent))
        await unnamed.set_device("Custom:unnamed", DeviceState.INUSE)
        await eventually(lambda: _told(agent, "unknown_source", unnamed.host))
        agent.write()
        await agent.wait_members("synced", "member")
        assert await member.device_state("Custom:forged") is DeviceState.UNKNOWN
        assert await member.device_state("Custom:unnamed") is DeviceState.UNKNOWN
        agent.members.append(unnamed)
        agent.write()
        await agent.wait_members("synced", "member", "unnamed")
        await member.wait_device("Custom:unnamed", DeviceState.INUSE)


async def _told(agent: AgentProcess, *words: str) -> bool:
    return bool(lines(agent, *words))


async def test_a_server_that_expects_another_header_secret_gets_nothing_and_is_told_what_to_change(
    asterisk: AsteriskFactory, nats_server: NatsFactory
) -> None:
    async with AgentProcess("agent", (await nats_server()).url) as agent:
        good, other, wrong = [
            await asterisk(name, start=False, configuration=configured(agent, token))
            for name, token in (("good", None), ("other", None), ("wrong", "a-token-of-long-ago"))
        ]
        agent.members += [good, other, wrong]
        agent.write()
        async with asyncio.TaskGroup() as tasks:
            for server in (good, other, wrong):
                tasks.create_task(server.start())
        await agent.wait_members("synced", "good", "other")
        await agent.wait_members("not_configured", "wrong")
        await good.set_device("Custom:secret", DeviceState.BUSY)
        await crosses(good, other)

        async def denied() -> bool:
            return await agent.metric("eventfed_member_injection_failures_total", member="wrong", status="401") >= 4

        await eventually(denied)
        (told,) = [member for member in await agent.member_list() if member["name"] == "wrong"]
        assert told["state"] == "not_configured"
        assert "header secret" in told["reason"]
        assert "asterisk-config" in told["reason"]
        assert await agent.metric("eventfed_member_injected_total", member="wrong") == 0
        assert await wrong.device_state("Custom:secret") is DeviceState.UNKNOWN
        assert len(lines(agent, "not_configured")) == 1
        assert agent.token not in agent.log
        await crosses(good, other)

        wrong.configuration = configured(agent)
        await wrong.restart()
        await agent.wait_members("synced", "wrong")
        await wrong.wait_device("Custom:secret", DeviceState.BUSY)


# --- another endpoint of the server ---


@shared
async def test_an_endpoint_that_guesses_an_etag_can_forge_a_state_and_the_agent_tells_it(
    pbx: Pbx, measure: Measure
) -> None:
    """As docs/security.md says: only the initial PUBLISH is checked against its endpoint."""
    a, b, agent = real(pbx, "a"), real(pbx, "b"), pbx.agents["b"]
    await asyncio.sleep(6)  # the server's own start explains what it forgot just before or after
    await crosses(a, b)
    assert await b.device_state(LAMP) is DeviceState.INUSE
    before = await agent.metric("eventfed_member_possible_intrusions_total", member="b")
    with Stranger(b.host, (b.host, b.sip_port)) as phone:
        unheard = state("Custom:forged", DeviceState.BUSY, EID.derive("nobody"))
        assert await phone.ask(publish(unheard, user="1001", host=b.host)) == 403
        assert await b.device_state("Custom:forged") is DeviceState.UNKNOWN
        # The truth: a modification is found by its ETag alone, a small integer, no matter who sends it.
        forged = state(LAMP, DeviceState.RINGING, a.eid)
        accepted = [
            number
            for number in range(100)
            if await phone.ask(publish(forged, user="1001", host=b.host, if_match=str(number))) == 200
        ]
        assert accepted
        await b.wait_device(LAMP, DeviceState.RINGING)
    assert await agent.metric("eventfed_member_possible_intrusions_total", member="b") == before

    # The agent's next words on the publications that were taken from it are answered 412: it makes new ones, ...
    began = time.monotonic()
    await a.run_changes(64, 64, "Custom:lane")
    for number in range(64):
        await b.wait_device(f"Custom:lane{number}", DeviceState.INUSE if number % 2 == 0 else DeviceState.NOT_INUSE)

    # ... waits whether a restart explains it, tells, and gives the server everything again.
    async def counted() -> bool:
        return await agent.metric("eventfed_member_possible_intrusions_total", member="b") > before

    await eventually(counted)
    measure("possible intrusion told", time.monotonic() - began)
    assert len(lines(agent, "possible_intrusion")) == 1
    await b.wait_device(LAMP, DeviceState.INUSE)
    await pbx.wait_synced()
    measure("state crosses after an intrusion", await crosses(a, b) / 2)
    text = (Path(__file__).parents[2] / "docs/security.md").read_text()
    assert "SIP-If-Match" in text
    assert "possible_intrusion" in text


@shared
async def test_a_restart_is_no_intrusion(pbx: Pbx) -> None:
    a, b, agent = real(pbx, "a"), real(pbx, "b"), pbx.agents["b"]
    before = await agent.metric("eventfed_member_possible_intrusions_total", member="b")
    for _ in range(2):
        b.kill()
        await b.start()
        await a.run_changes(64, 64, "Custom:lane")
        await pbx.wait_synced()
    await b.cli("core reload")
    await a.run_changes(64, 64, "Custom:lane")
    await crosses(a, b)
    await asyncio.sleep(6)  # as long as a suspicion waits for what explains it
    await a.run_changes(64, 64, "Custom:lane")
    await crosses(a, b)
    assert await agent.metric("eventfed_member_possible_intrusions_total", member="b") == before


# --- what nobody can read, from a member's own address ---
