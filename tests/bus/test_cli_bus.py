"""The command against a real nats-server."""

import asyncio
import json
import re
import signal
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from eventfed import EID, DeviceState, Event, Federation
from eventfed_cli._app import app
from eventfed_lab import NatsServer
from tests.ground.cli_commands import OWN, QUICK, A, B, Command, agent, until
from tests.ground.fixture_types import Measure

# --- reading ---


async def test_members_and_contended_names_are_listed(eventfed: Command, federation: Federation) -> None:
    document = (await eventfed("members --config agent.toml --json")).json
    assert [(m["name"], m["eid"], m["agent"], m["address"]) for m in document["members"]] == [
        ("pbx-a", str(A), "node-1", "udp:10.0.0.1:5060"),
        ("pbx-b", str(B), "node-1", "udp:10.0.0.1:5060"),
    ]
    assert set(document["members"][0]) == {"name", "eid", "agent", "address", "complete", "epoch", "since"}
    assert document["contended"] == [{"name": "Custom:night", "eids": [str(A), str(B)]}]
    text = (await eventfed("members --config agent.toml")).stdout.splitlines()
    assert text[0].split() == ["NAME", "EID", "AGENT", "ADDRESS", "COMPLETE", "EPOCH", "SINCE"]
    assert text[1].split()[:5] == ["pbx-a", str(A), "node-1", "udp:10.0.0.1:5060", "no"]
    assert text[3].startswith(f"contended: Custom:night is announced by {A}, {B}")


async def test_states_are_listed_and_selected(
    eventfed: Command, federation: Federation, nats_server: NatsServer
) -> None:
    everything = (await eventfed("state list --config agent.toml --json")).json
    assert len(everything) == 6
    access = f"--server {nats_server.url} --federation pbx"
    boxes = (await eventfed(f"state list {access} --type mwi --eid {B} --json")).json
    assert [(s["name"], s["eid"], s["member"], s["new"], s["old"]) for s in boxes] == [
        ("1001@default", str(B), "pbx-b", 1, 0)
    ]
    named = (await eventfed("state list --config agent.toml --name ^PJSIP --json")).json
    assert {(s["type"], s["name"], s["eid"], s["state"]) for s in named} == {
        ("device_state", "PJSIP/1001", str(A), "INUSE"),
        ("device_state", "PJSIP/1001", str(B), "RINGING"),
    }
    lines = (await eventfed("state list --config agent.toml --type mwi")).stdout.splitlines()
    assert lines[0].split() == ["TYPE", "NAME", "VALUE", "MEMBER", "EID", "HEARD"]
    assert "2 new, 1 old" in lines[1]
    none = await eventfed("state list --config agent.toml --name nothing")
    assert (none.code, none.stdout) == (0, "no such state\n")


async def test_one_name_is_shown_on_all_servers_and_together(eventfed: Command, federation: Federation) -> None:
    (device,) = (await eventfed("state get PJSIP/1001 --config agent.toml --json")).json
    assert device["aggregate"] == {"state": "RINGINUSE", "by": "rank"}
    assert [(s["eid"], s["state"]) for s in device["servers"]] == [(str(A), "INUSE"), (str(B), "RINGING")]
    (box,) = (await eventfed("state get 1001@default --config agent.toml --json")).json
    assert box["aggregate"] == {"new": 3, "old": 1, "by": "sum"}
    text = (await eventfed("state get 1001@default --config agent.toml")).stdout
    assert "all servers together: 3 new, 1 old (sum)" in text


async def test_a_name_that_nobody_knows_exits_with_1(eventfed: Command, federation: Federation) -> None:
    outcome = await eventfed("state get PJSIP/9 --config agent.toml --json")
    assert (outcome.code, outcome.json) == (1, [])
    assert outcome.stderr.startswith("eventfed: no server says anything of PJSIP/9")


async def test_a_federation_that_never_was_exits_with_3(eventfed: Command) -> None:
    outcome = await eventfed("state list --config agent.toml --timeout 1")
    assert outcome.code == 3
    assert "no agent of federation pbx, site local, has run here yet" in outcome.stderr
    assert outcome.stderr.count("\n") == 1


# --- watching ---


async def test_watching_gives_a_json_object_per_change_and_ends_well(eventfed: Command, federation: Federation) -> None:
    async with eventfed.running("state watch --config agent.toml --type device_state --name PJSIP --json") as process:
        assert process.stdout is not None
        seen: list[dict[str, Any]] = []
        async with asyncio.timeout(15):
            while not seen or seen[-1]["change"] != "synced":
                seen.append(json.loads(await process.stdout.readline()))
            states = [change for change in seen if change["change"] == "state"]
            assert {(change["name"], change["eid"]) for change in states} == {
                ("PJSIP/1001", str(A)),
                ("PJSIP/1001", str(B)),
            }
            assert {change["name"] for change in seen if change["change"] == "member"} == {"pbx-a", "pbx-b"}

            federation.publish(Event.device("Custom:night", DeviceState.BUSY, A))  # is not selected
            federation.publish(Event.device("PJSIP/1001", DeviceState.BUSY, A))
            change = json.loads(await process.stdout.readline())
            assert (change["change"], change["state"], change["previous"]) == ("state", "BUSY", {"state": "INUSE"})

            federation.retract(Event.device("PJSIP/1001", DeviceState.BUSY, A).state_key)
            change = json.loads(await process.stdout.readline())
            assert (change["change"], change["eid"], change["previous"]) == ("removed", str(A), {"state": "BUSY"})
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(5):
            assert await process.wait() == 0
        assert process.stderr is not None
        assert await process.stderr.read() == b""


async def test_watching_without_a_terminal_gives_lines(eventfed: Command, federation: Federation) -> None:
    async with eventfed.running("state watch --config agent.toml --type mwi") as process:
        assert process.stdout is not None
        lines = [(await asyncio.wait_for(process.stdout.readline(), 15)).decode().strip() for _ in range(5)]
    assert f"1001@default: 2 new, 1 old on pbx-a ({A})" in lines
    assert lines[-1] == "synced: what follows is live"


# --- publishing ---


async def test_a_state_published_once_goes_after_the_grace_and_that_is_said(
    eventfed: Command, nats_server: NatsServer
) -> None:
    outcome = await eventfed(f"publish device Custom:lamp1 inuse --eid {OWN} --config agent.toml")
    assert outcome.code == 0
    assert outcome.stdout == f"published Custom:lamp1: INUSE under {OWN}\n"
    assert "the state goes after the grace (1 s by these settings); use --hold to keep it" in outcome.stderr
    key = Event.device("Custom:lamp1", DeviceState.INUSE, OWN).state_key
    async with agent(nats_server, A) as federation:
        value = federation.get(key)
        assert value is not None
        assert value.device_state is DeviceState.INUSE
        await until(lambda: federation.get(key) is None)


async def test_a_state_is_helduntil_it_is_stopped(eventfed: Command, nats_server: NatsServer) -> None:
    key = Event.mailbox("1001@default", 1, 0, OWN).state_key
    arguments = f"publish mailbox 1001@default 1 0 --eid {OWN} --config agent.toml --hold"
    async with agent(nats_server, A) as federation, eventfed.running(arguments) as process:
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), 15)).decode()
        assert line == f"holding 1001@default: 1 new, 0 old under {OWN} until Ctrl-C\n"
        await asyncio.sleep(2.5)  # longer than the grace
        assert federation.get(key) is not None
        (lease,) = [lease for lease in federation.members() if lease.eid == OWN]
        assert (lease.agent, lease.complete) == ("eventfed-cli", True)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(5):
            assert await process.wait() == 0
        await until(lambda: federation.get(key) is None, within=2)
        assert OWN not in federation.view.leases


async def test_an_eid_that_an_agent_serves_cannot_be_held(eventfed: Command, federation: Federation) -> None:
    outcome = await eventfed(f"publish device Custom:x INUSE --eid {A} --config agent.toml --hold")
    assert outcome.code == 1
    assert f"the lease of {A} is held by agent node-1 for pbx-a" in outcome.stderr


async def test_publishing_for_a_server_that_an_agent_serves_is_told(eventfed: Command, federation: Federation) -> None:
    outcome = await eventfed(f"publish device Custom:x INUSE --eid {A} --config agent.toml")
    assert outcome.code == 0
    assert f"{A} is pbx-a, served by agent node-1" in outcome.stderr


# --- refresh ---


async def test_a_refresh_reaches_the_owners(eventfed: Command, federation: Federation) -> None:
    asked: list[EID | None] = []
    federation.on_refresh(asked.append)
    assert (await eventfed("refresh --config agent.toml")).stdout == "asked pbx-a, pbx-b\n"
    assert (await eventfed(f"refresh --eid {B} --config agent.toml")).stdout == "asked pbx-b\n"
    assert asked == [None, B]
    nobody = await eventfed(f"refresh --eid {OWN} --config agent.toml")
    assert nobody.code == 1
    assert f"no agent holds the lease of {OWN}" in nobody.stderr


# --- credentials ---


async def test_secrets_come_from_files_and_wrong_ones_are_told(tmp_path: Path) -> None:
    users = 'authorization { users = [ { user: "reader", password: "right-secret" } ] }'
    async with NatsServer(configuration=users) as server:
        (tmp_path / "good").write_text("right-secret\n")
        (tmp_path / "bad").write_text("wrong-secret\n")
        eventfed = Command(tmp_path)
        options = f"--server {server.url} --federation pbx --user reader --timeout 1.5"
        wrong = await eventfed(f"members {options} --password-file bad")
        assert (wrong.code, wrong.stdout) == (3, "")
        assert "NATS refuses our credentials" in wrong.stderr
        right = await eventfed(f"members {options} --password-file good")
        assert "has run here yet" in right.stderr  # in, but no agent has made the stream
        assert "secret" not in wrong.stderr + right.stderr


# --- the help's examples ---


@pytest.mark.parametrize(
    "command", ["members", "state list", "state get", "publish device", "publish mailbox", "refresh"]
)
async def test_the_examples_of_the_help_run(
    command: str, eventfed: Command, nats_server: NatsServer, federation: Federation
) -> None:
    help_text = CliRunner().invoke(app, [*command.split(), "--help"]).stdout
    examples = re.findall(r"^ *\$ eventfed (.*)$", help_text, re.M)
    assert examples
    for example in examples:
        if "--hold" in example:
            continue
        outcome = await eventfed(example.replace("nats://127.0.0.1:4222", nats_server.url))
        assert outcome.code == 0, (example, outcome)


async def test_a_reader_makes_no_tombstones(eventfed: Command, nats_server: NatsServer) -> None:
    """A watcher must not bury what agents, with a longer grace, still keep."""
    patient = replace(QUICK, grace_period=60.0)
    async with agent(nats_server, A, settings=patient) as federation:
        federation.publish(Event.device("Custom:x", DeviceState.INUSE, OWN))
        assert await federation.flush(5)
        async with eventfed.running("state watch --config agent.toml --json"):
            await asyncio.sleep(3)
        assert federation.get(Event.device("Custom:x", DeviceState.INUSE, OWN).state_key) is not None


# --- the agent as a process ---


@pytest.mark.parametrize("style", ["json", "console"])
async def test_an_agent_ends_well_at_sigterm_and_logs_lines_without_secrets(
    style: str, eventfed: Command, nats_server: NatsServer, measure: Measure
) -> None:
    file = eventfed.folder / "agent.toml"
    (eventfed.folder / "token").write_text("secret-of-the-header\n")
    section = (
        f'[agent]\nname = "node-1"\nlisten = ["127.0.0.1:0"]\nhttp = "127.0.0.1:0"\nlog_format = "{style}"\n'
        'token_file = "token"\nlog_level = "debug"\n'
    )
    file.write_text(file.read_text() + section)
    async with eventfed.running("agent --config agent.toml") as process:
        assert process.stderr is not None
        lines = [(await asyncio.wait_for(process.stderr.readline(), 15)).decode()]
        while "agent_started" not in lines[-1]:
            lines.append((await asyncio.wait_for(process.stderr.readline(), 15)).decode())
        url = re.search(r"http://127\.0\.0\.1:\d+", lines[-1])
        assert url is not None
        await until_ready(f"{url[0]}/readyz")
        await nats_server.restart(wipe=True)  # the standard library's loggers have something to say as well
        async with asyncio.timeout(15):
            while "another one than before" not in lines[-1]:
                lines.append((await process.stderr.readline()).decode())
        memory = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())  # noqa: ASYNC240
        assert memory is not None
        measure("agent without members, resident memory", int(memory[1]) / 1024, "MiB")
        assert int(memory[1]) < 80 * 1024
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            assert await process.wait() == 0
        lines += (await process.stderr.read()).decode().splitlines()
    assert "secret" not in "".join(lines)
    if style == "json":
        entries = [json.loads(line) for line in lines]
        assert {"level", "timestamp", "event"} <= set.intersection(*map(set, entries))
        assert {entry["event"] for entry in entries} >= {"agent_started", "agent_stops"}
    else:
        assert any("agent_stops" in line and "[info" in line for line in lines)
        assert not any("\x1b" in line for line in lines)


async def until_ready(url: str) -> None:
    def get() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=2) as response:
                return bool(response.status == 200)
        except OSError:
            return False

    async with asyncio.timeout(10):
        while not await asyncio.to_thread(get):  # noqa: ASYNC110 - it is asked, it does not tell
            await asyncio.sleep(0.05)
