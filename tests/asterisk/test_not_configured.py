"""A server that does not take part: its agent's advice names what was seen of it."""

from collections.abc import Callable

import pytest

import eventfed_lab._configuration
from eventfed import EID
from eventfed_lab import (
    SHORT_TIMES,
    AgentProcess,
    AsteriskConfiguration,
    AsteriskServer,
    allot,
)
from tests.ground.fixture_types import AsteriskFactory, NatsFactory
from tests.ground.strangers import configured, eventually, lines

TIMES = {"timing": {**SHORT_TIMES["timing"], "not_configured_after": 1.0}}


async def reason(agent: AgentProcess, *words: str) -> str:
    """Wait until the only member is not configured, for a reason with these words."""

    async def told() -> bool:
        members = await agent.member_list()
        return [
            member["state"] == "not_configured" and all(word in member["reason"] for word in words)
            for member in members
        ] == [True]

    try:
        await eventually(told)
    except TimeoutError:
        raise AssertionError(f"{await agent.member_list()}\n{agent.log[-2000:]}") from None
    (member,) = await agent.member_list()
    return str(member["reason"])


async def test_a_server_that_publishes_from_its_other_address_is_told_so_and_not_to_add_lines(
    asterisk: AsteriskFactory, nats_server: NatsFactory
) -> None:
    url = (await nats_server()).url
    async with AgentProcess("agent", url, sections=TIMES) as agent:
        with allot() as other:
            second = f"\n[second]\ntype = transport\nprotocol = udp\nbind = {other.host}:5060\n"
            snippet = configured(agent).pjsip_snippet
            server = await asterisk(configuration=AsteriskConfiguration(pjsip_snippet=snippet, pjsip_extra=second))
            agent.members = [{"name": "a", "host": other.host}]
            agent.write()
            text = await reason(agent, f"{server.host} publishes under EID {server.eid}")
            assert f"nothing came from {other.host}" in text
            assert "asterisk-config" not in text
            assert len(lines(agent, "unknown_source", str(server.eid))) == 1
            agent.members = [{"name": "a", "host": other.host, "eid": str(server.eid)}]
            agent.write()
            await reason(agent, f"set host to {server.host}")
            agent.members = [{"name": "a", "host": server.host, "eid": str(server.eid)}]
            agent.write()
            await agent.wait_members("synced")


def without_outbound(snippet: str) -> str:
    """The snippet without what the server tells its agent."""
    head, _, rest = snippet.partition("; What this server tells the agent")
    return head + rest.partition("; What the agent tells this server")[2]


@pytest.mark.parametrize(
    ("module", "change", "words"),
    [
        ("", lambda snippet: "", ("401", "lacks the lines of `eventfed asterisk-config`")),
        ("", without_outbound, ("it takes our PUBLISH", "outbound-publish")),
        ("res_pjsip_publish_asterisk", str, ("489", "res_pjsip_publish_asterisk is not loaded")),
        ("res_pjsip_outbound_publish", str, ("489", "it needs res_pjsip_outbound_publish")),
        ("res_pjsip_pubsub", str, ("501", "res_pjsip_pubsub is not loaded")),
        (
            "res_pjsip_endpoint_identifier_ip",
            str,
            ("it publishes to us but", "401", "res_pjsip_endpoint_identifier_ip"),
        ),
    ],
    ids=["no snippet", "no outbound-publish", "publish_asterisk", "outbound_publish", "pubsub", "identifier"],
)
async def test_what_a_server_lacks_is_told_by_how_it_answers(
    asterisk: AsteriskFactory,
    nats_server: NatsFactory,
    monkeypatch: pytest.MonkeyPatch,
    module: str,
    change: Callable[[str], str],
    words: tuple[str, ...],
) -> None:
    not_loaded = f"{eventfed_lab._configuration._NOT_LOADED} {module}"
    monkeypatch.setattr(eventfed_lab._configuration, "_NOT_LOADED", not_loaded)
    async with AgentProcess("agent", (await nats_server()).url, sections=TIMES) as agent:
        snippet = change(configured(agent).pjsip_snippet)
        server: AsteriskServer = await asterisk(configuration=AsteriskConfiguration(pjsip_snippet=snippet))
        agent.members = [server]
        agent.write()
        await reason(agent, *words)


async def test_what_is_refused_by_the_agent_itself_is_told_as_that(
    asterisk: AsteriskFactory, nats_server: NatsFactory
) -> None:
    async with AgentProcess("agent", (await nats_server()).url, sections=TIMES) as agent:
        server = await asterisk(configuration=configured(agent))
        expected = EID.derive("another")
        agent.members = [{"name": "a", "host": server.host, "eid": str(expected)}]
        agent.write()
        await reason(agent, "refused by us", f"its EID is {server.eid}, expected is {expected}")
