"""The doctor on real servers: each thing that can be wrong is told with the line to change."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from eventfed import EID
from eventfed.asterisk_config import identifier_order_line
from eventfed_agent.configuration import load_configuration
from eventfed_cli._doctor import examine
from eventfed_cli._findings import Finding, Verdict
from eventfed_lab import (
    AgentProcess,
    AsteriskConfiguration,
    AsteriskRoot,
    AsteriskServer,
    Pbx,
    SimulatedServer,
)
from tests.ground.fixture_types import AsteriskFactory, NatsFactory

AUTH = "\n".join(
    [
        *(f"[{endpoint}](+)\nauth = phones" for endpoint in ("watcher", "1001", "1002")),
        "[phones]\ntype = auth\nauth_type = userpass\nusername = phones\npassword = as-in-every-office",
    ]
)
"""Auth for the lab's own endpoints, which have none."""
SOUND = AsteriskConfiguration(pjsip_extra=AUTH)


def with_files(server: AsteriskServer) -> dict[str, object]:
    """The server as a member whose files can be read."""
    return {"name": server.name, "host": server.host, "port": server.sip_port, "etc": str(server.folder / "etc")}


@pytest.fixture
async def agent(nats_server: NatsFactory) -> AsyncIterator[AgentProcess]:
    """An agent's file and secret; the doctor needs no running agent."""
    process = AgentProcess("agent-a", (await nats_server()).url)
    yield process
    await process.close()


@pytest.fixture
def findings(asterisk: AsteriskFactory, agent: AgentProcess) -> Callable[..., Awaitable[dict[str, Finding]]]:
    """Starts a server and gives what the doctor finds on it, by check."""

    async def find(
        configuration: AsteriskConfiguration = SOUND, *, snippet: str | None = None, **options: Any
    ) -> dict[str, Finding]:
        snippet = agent.snippet if snippet is None else snippet
        server = await asterisk(configuration=replace(configuration, pjsip_snippet=snippet), **options)
        agent.members[:] = [with_files(server)]
        agent.write()
        found = await examine(load_configuration(agent.file), 3.0)
        return {finding.check: finding for finding in found if finding.subject == server.name}

    return find


def problems(found: dict[str, Finding]) -> set[str]:
    return {check for check, finding in found.items() if finding.verdict is Verdict.PROBLEM}


async def test_a_sound_federation_is_all_ok(asterisk_root: AsteriskRoot) -> None:
    async with Pbx(asterisk_root, ("a", "b"), configuration=SOUND) as pbx:
        agent = pbx.agents["a"]
        server = pbx["a"]
        assert isinstance(server, AsteriskServer)
        agent.members[:] = [with_files(server)]
        agent.write()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "eventfed_cli", "doctor", "--config", str(agent.file), "--json",
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, _ = await process.communicate()
        found = json.loads(out)
        assert [finding for finding in found if finding["verdict"] != "ok"] == []
        assert process.returncode == 0
        assert set(found[0]) == {"subject", "check", "verdict", "detail", "change"}
        checks = {(finding["subject"], finding["check"]) for finding in found}
        assert {("nats", "connection"), ("nats", "JetStream"), ("nats", "stream"), ("nats", "clock")} <= checks
        assert {("a", check) for check in ("header secret", "refuses strangers", "EID", "pollmailboxes")} <= checks
        assert agent.token not in out.decode()
        # It forged nothing and took nobody's publication over.
        await asyncio.sleep(1)
        assert await agent.metric("eventfed_member_possible_intrusions_total") == 0
        assert await agent.member_states() == {"a": "synced"}


async def test_another_endpoint_that_is_identified_first_needs_the_order_line(
    findings: Callable[..., Awaitable[dict[str, Finding]]],
) -> None:
    anonymous = f"{AUTH}\n[anonymous]\ntype = endpoint\ncontext = nowhere\nauth = phones\n"
    order = "ip,username,anonymous,header"
    found = await findings(AsteriskConfiguration(pjsip_extra=anonymous, identifier_order=order))
    assert {"header secret", "identifier order"} <= problems(found)
    assert identifier_order_line() in found["header secret"].change
    assert identifier_order_line() in found["identifier order"].change
    assert "anonymous may be identified before the agent" in found["identifier order"].detail


async def test_an_anonymous_endpoint_that_comes_first_is_refused_as_another_one(
    findings: Callable[..., Awaitable[dict[str, Finding]]],
) -> None:
    anonymous = f"{AUTH}\n[anonymous]\ntype = endpoint\ncontext = nowhere\n"
    found = await findings(AsteriskConfiguration(pjsip_extra=anonymous, identifier_order="anonymous,header"))
    assert found["header secret"].detail.startswith("403: another endpoint")
    assert found["header secret"].change.endswith(identifier_order_line())


async def test_a_server_without_the_secret_is_told_which_lines_it_lacks(
    findings: Callable[..., Awaitable[dict[str, Finding]]], agent: AgentProcess
) -> None:
    found = await findings(snippet=agent.snippet.replace(agent.token, "another-token-than-ours"))
    assert {"header secret", "pjsip.conf"} == problems(found)
    assert found["header secret"].detail.startswith("401: the server does not know the secret")
    assert "eventfed asterisk-config --config FILE --member a" in found["header secret"].change
    assert found["refuses strangers"].verdict is Verdict.OK


async def test_a_server_without_the_snippet_is_told_to_include_it(
    findings: Callable[..., Awaitable[dict[str, Finding]]],
) -> None:
    found = await findings(snippet="")
    assert {"header secret", "pjsip.conf", "device filter"} == problems(found)
    assert "eventfed asterisk-config" in found["pjsip.conf"].change


async def test_endpoints_without_auth_can_forge_and_are_named(
    findings: Callable[..., Awaitable[dict[str, Finding]]],
) -> None:
    found = await findings(AsteriskConfiguration())
    assert problems(found) == {"other endpoints"}
    assert found["other endpoints"].detail.endswith("they have no auth: 1001, 1002, watcher")
    assert "drop PUBLISH" in found["other endpoints"].change


async def test_our_own_endpoint_found_by_user_name_lets_everybody_in(
    findings: Callable[..., Awaitable[dict[str, Finding]]], agent: AgentProcess
) -> None:
    found = await findings(snippet=agent.snippet.replace("identify_by = header\n", ""))
    assert {"refuses strangers", "publication is ours", "pjsip.conf"} == problems(found)
    assert "without the secret and with a wrong one" in found["refuses strangers"].detail
    assert found["pjsip.conf"].change == "put this into [eventfed] type=endpoint: identify_by = header"


async def test_an_anonymous_endpoint_without_auth_may_change_our_publication(
    findings: Callable[..., Awaitable[dict[str, Finding]]],
) -> None:
    anonymous = f"{AUTH}\n[anonymous]\ntype = endpoint\ncontext = nowhere\n"
    found = await findings(AsteriskConfiguration(pjsip_extra=anonymous))
    assert {"publication is ours", "other endpoints"} == problems(found)
    assert "without any secret" in found["publication is ours"].detail
    assert "anonymous" in found["publication is ours"].change


async def test_polled_mailboxes_are_told_with_the_line(findings: Callable[..., Awaitable[dict[str, Finding]]]) -> None:
    found = await findings(replace(SOUND, poll_mailboxes=True))
    assert problems(found) == {"pollmailboxes"}
    assert found["pollmailboxes"].change == "put this into [general] of voicemail.conf: pollmailboxes = no"


async def test_an_eid_of_a_mac_address_is_told(asterisk_root: AsteriskRoot) -> None:
    async with Pbx(asterisk_root, ()) as pbx:
        pbx.add("a")
        server = pbx["a"]
        server.eid = EID.parse("00:16:3e:12:34:56")
        await pbx.agents["a"].start()
        await server.start()
        await pbx.wait_synced()
        found = await examine(load_configuration(pbx.agents["a"].file), 3.0)
    (eid,) = [finding for finding in found if finding.check == "EID"]
    assert eid.verdict is Verdict.PROBLEM
    assert eid.detail == "00:16:3e:12:34:56 comes from a MAC address and changes with the pod"
    assert eid.change.startswith("put this into [options] of asterisk.conf: entityid = 02:")


async def test_what_cannot_be_looked_at_is_said_and_is_no_problem(agent: AgentProcess) -> None:
    server = SimulatedServer("a", agent=(agent.host, agent.sip_port), tokens=(agent.token,))
    async with server:
        agent.members[:] = [server]
        agent.write()
        found = await examine(load_configuration(agent.file), 3.0)
    assert not [finding for finding in found if finding.verdict is Verdict.PROBLEM]
    unchecked = {finding.check: finding.change for finding in found if finding.verdict is Verdict.NOT_CHECKED}
    assert set(unchecked) == {"stream", "runs", "EID", "other endpoints", "files", "pollmailboxes"}
    assert unchecked["pollmailboxes"] == 'give etc = "/etc/asterisk" for member a where its files can be read'


async def test_a_server_and_a_bus_that_are_not_there_are_problems(agent: AgentProcess) -> None:
    agent.nats = ["nats://127.0.0.1:1"]
    agent.members[:] = [{"name": "a", "host": agent.host, "port": 5099}]
    agent.write()
    found = {finding.check: finding for finding in await examine(load_configuration(agent.file), 0.5)}
    assert found["connection"].detail.startswith("no connection to NATS")
    assert found["reachable"].detail == f"no answer to OPTIONS from udp:{agent.host}:5099"
    assert problems(found) == {"connection", "reachable"}
