"""What makes the agents' alerts fire: what real agents expose, with a real NATS and simulated servers.

Scrapes are taken when something has come about; a rule's ``for`` is waited for by repeating the last one, because what
is exposed then does not change.
"""

import re
from pathlib import Path
from typing import Any

import yaml

from eventfed import DeviceState
from eventfed_lab import AgentProcess, MailboxCounts, Pbx
from tests.ground.alert_rules import Scrape, firing, seconds
from tests.ground.strangers import Stranger, eventually, publish

CHART = Path(__file__).resolve().parents[2] / "charts" / "eventfed"
RULES: dict[str, dict[str, Any]] = {
    rule["alert"]: rule
    for group in yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
}
WITH_AGENTS = {
    name for name, rule in RULES.items() if not re.search("eventfed_(operator|federation|stream)_", rule["expr"])
}


def lasting(name: str, *texts: str) -> list[Scrape]:
    """Scrapes a quarter of a minute apart, the last one for as long as the rule asks."""
    scrapes = [(15.0 * index, text) for index, text in enumerate(texts)]
    pending = seconds(RULES[name].get("for", "0s"))
    begin = scrapes[-1][0]
    return [*scrapes, *((begin + step, texts[-1]) for step in range(15, int(pending) + 16, 15))]


def fires(name: str, *texts: str) -> bool:
    scrapes = lasting(name, *texts)
    return bool(firing(RULES[name], scrapes)) and not firing(RULES[name], lasting(name, texts[0]))


async def scrape(agent: AgentProcess) -> str:
    return await agent.get("/metrics")


async def test_nats_that_is_lost() -> None:
    async with Pbx(None, ("a",)) as pbx:
        agent = pbx.agents["a"]
        before = await scrape(agent)
        await pbx.nats.stop()
        await eventually(lambda: zero(agent, "eventfed_bus_connected"))
        assert fires("EventfedBusLost", before, await scrape(agent))


async def zero(agent: AgentProcess, name: str, **labels: str) -> bool:
    return await agent.metric(name, **labels) == 0


async def positive(agent: AgentProcess, name: str, **labels: str) -> bool:
    return await agent.metric(name, **labels) > 0


async def test_nats_that_lets_an_agent_in_and_refuses_its_work() -> None:
    alert = RULES["EventfedBusTrouble"]
    async with Pbx(None, ("a",)) as pbx:
        agent = pbx.agents["a"]
        before = await scrape(agent)
        # What tests/bus/test_bus_health.py brings about, an agent tells so.
        told = re.subn(r'^(eventfed_bus_problem\{kind="refused"\}) 0\.0$', r"\1 1.0", before, flags=re.MULTILINE)
        assert told[1] == 1
        assert fires("EventfedBusTrouble", before, told[0])
        await pbx.nats.stop()
        await eventually(lambda: zero(agent, "eventfed_bus_connected"))
        lost = (await scrape(agent)).replace(
            'eventfed_bus_problem{kind="refused"} 0.0', 'eventfed_bus_problem{kind="refused"} 1.0'
        )
        assert not firing(alert, lasting("EventfedBusTrouble", *[lost] * 5)), "EventfedBusLost says it"


async def test_a_server_that_died() -> None:
    async with Pbx(None, ("a", "b")) as pbx:
        agent = pbx.agents["a"]
        before = await scrape(agent)
        pbx["a"].kill()
        await eventually(lambda: zero(agent, "eventfed_member_state", member="a", state="synced"))
        assert fires("EventfedMemberNotSynced", before, await scrape(agent))


GROWING = "EventfedUnknownSource"
"""What asks for more than one packet: something that goes on for ten minutes."""


async def test_what_no_member_and_no_asterisk_sends() -> None:
    async with Pbx(None, ("a",)) as pbx:
        agent, server = pbx.agents["a"], pbx["a"]
        before = await scrape(agent)
        with Stranger("127.0.0.77", (agent.host, agent.sip_port)) as stranger:
            stranger.send(publish("{}"))
            await eventually(lambda: positive(agent, "eventfed_unknown_sources_total"))
        after = await scrape(agent)
        rule = RULES[GROWING]
        assert not firing(rule, lasting(GROWING, before, after))
        growing = [(0.0, before), *((15.0 * step, more(after, step)) for step in range(1, 45))]
        assert firing(rule, growing)
        with Stranger(server.host, (agent.host, agent.sip_port)) as stranger:
            stranger.send(publish('{"type": "nonsense"}'))
            await eventually(lambda: positive(agent, "eventfed_malformed_payloads_total"))
        assert fires("EventfedMalformedPayloads", before, await scrape(agent))


def more(text: str, step: int) -> str:
    """What is exposed when so many more requests came from an unknown address."""
    name = "eventfed_unknown_sources_total"
    found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    assert found is not None
    return text.replace(found[0], f"{name} {float(found[1]) + step}")


async def test_a_custom_device_of_two_servers() -> None:
    async with Pbx(None, ("a", "b")) as pbx:
        agent = pbx.agents["a"]
        before = await scrape(agent)
        for server in pbx.servers.values():
            await server.set_device("Custom:night", DeviceState.INUSE)
        await eventually(lambda: positive(agent, "eventfed_contended_names"))
        assert fires("EventfedNameContended", before, await scrape(agent))


BY_VALUE = {
    "EventfedDuplicateEntityID": ('eventfed_member_state{member="a",state="duplicate"}', 1),
    "EventfedPossibleIntrusion": ('eventfed_member_possible_intrusions_total{member="a"}', 1),
    "EventfedMailboxContended": ('eventfed_member_contended_mailboxes{member="a"}', 1),
    "EventfedNameCut": ("eventfed_cut_names", 1),
    "EventfedMemberSlow": ('eventfed_member_backlog{member="a"}', 1001),
    "EventfedMemberTaskFailed": ("eventfed_member_failures_total", 1),
}
"""What takes Asterisk, a bug or a load to come about: of an agent's own scrape one sample gets this value.

That these samples follow such faults, the asterisk suite shows (test_intruders, test_rivals, test_lamps_polling).
"""


async def test_what_an_agent_exposes_makes_the_others_fire_when_its_value_says_so() -> None:
    async with Pbx(None, ("a",)) as pbx:
        await pbx["a"].leave_voicemail("1001@default")
        await pbx["a"].wait_mailbox("1001@default", MailboxCounts(1, 0))
        before = await scrape(pbx.agents["a"])
    for name, (sample, value) in BY_VALUE.items():
        after, changed = re.subn(rf"^{re.escape(sample)} \S+$", f"{sample} {value}", before, flags=re.MULTILINE)
        assert changed == 1, name
        assert fires(name, before, after), name


def test_no_alert_of_the_agents_is_left_out() -> None:
    """By this module's text: what ran before in this process says nothing, since tests run in any order."""
    text = Path(__file__).read_text(encoding="utf-8")
    made_to_fire = {*re.findall(r'assert fires\("(\w+)"', text), *BY_VALUE, GROWING}
    assert made_to_fire == WITH_AGENTS
