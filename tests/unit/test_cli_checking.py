"""One line about an agent, for monitoring systems."""

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web
from typer.testing import CliRunner, Result

from eventfed_cli._app import app
from eventfed_cli._checking import Severity, judge

WELL = """\
# TYPE eventfed_bus_connected gauge
eventfed_bus_connected 1.0
# TYPE eventfed_bus_problem gauge
eventfed_bus_problem{kind="refused"} 0.0
# TYPE eventfed_bus_waiting gauge
eventfed_bus_waiting 3.0
"""
SYNCED = {"name": "a", "state": "synced", "reason": "", "backlog": 2}


def member(state: str, reason: str = "") -> dict[str, Any]:
    return {"name": "b", "state": state, "reason": reason, "backlog": 0}


def test_an_agent_whose_members_are_synced_is_well() -> None:
    found = judge([SYNCED], WELL)
    assert found.severity is Severity.OK
    assert found.summary == "1 members synced"
    assert found.figures["waiting"] == 3
    assert found.figures["backlog"] == 2


@pytest.mark.parametrize(
    ("state", "severity"),
    [
        ("connecting", Severity.WARNING),
        ("syncing", Severity.WARNING),
        ("lost", Severity.CRITICAL),
        ("not_configured", Severity.CRITICAL),
        ("duplicate", Severity.CRITICAL),
        ("moved", Severity.CRITICAL),
        ("a word of a later version", Severity.CRITICAL),
    ],
)
def test_a_member_that_is_not_synced_is_told_with_its_reason(state: str, severity: Severity) -> None:
    found = judge([SYNCED, member(state, "two | lines\nof it")], WELL)
    assert found.severity is severity
    assert found.summary == f"b is {state} (two / lines of it)"


def test_what_nats_does_not_do_is_told_and_the_worst_comes_first() -> None:
    found = judge([SYNCED], WELL.replace('"refused"} 0.0', '"refused"} 1.0'))
    assert [severity for severity, _ in found.faults] == [Severity.WARNING]
    found = judge([member("syncing")], WELL.replace("connected 1.0", "connected 0.0"))
    assert found.summary == "NATS is not connected; b is syncing"


def test_an_agent_without_members_is_a_warning() -> None:
    assert judge([], WELL).faults == [(Severity.WARNING, "the agent serves no member")]


async def ask(members: list[dict[str, Any]], exposition: str, *arguments: str) -> Result:
    """The command against a server that answers so."""
    application = web.Application()

    async def told(_: web.Request) -> web.Response:
        return web.json_response(members)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(text=exposition)

    application.add_routes([web.get("/members", told), web.get("/metrics", metrics)])
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return await asyncio.to_thread(CliRunner().invoke, app, ["check", "--url", url, *arguments])
    finally:
        await runner.cleanup()


async def test_nagios_is_given_one_line_with_figures_and_its_own_exit_codes() -> None:
    well = await ask([SYNCED], WELL, "--format", "nagios")
    assert well.exit_code == 0
    assert well.stdout == (
        "EVENTFED OK - 1 members synced | backlog=2 contended_names=0 members=1 states=0 synced=1 waiting=3\n"
    )
    assert (await ask([member("syncing")], WELL, "--format", "nagios")).exit_code == 1
    bad = await ask([member("lost", "no answer")], WELL, "--format", "nagios")
    assert bad.exit_code == 2
    assert bad.stdout.startswith("EVENTFED CRITICAL - b is lost (no answer) | ")


async def test_zabbix_is_given_one_document_with_what_its_discovery_takes() -> None:
    told = json.loads((await ask([SYNCED], WELL, "--format", "zabbix")).stdout)
    assert told["severity"] == 0
    assert told["members_found"] == [{"{#MEMBER}": "a", "state": "synced"}]
    assert told["synced"] == 1


async def test_people_and_programs_are_given_words_and_json_with_the_usual_exit_codes() -> None:
    assert (await ask([SYNCED], WELL)).stdout == "ok: 1 members synced\n"
    bad = await ask([member("lost")], WELL, "--format", "json")
    assert bad.exit_code == 1
    assert json.loads(bad.stdout)["faults"] == [{"severity": "critical", "text": "b is lost"}]


def test_an_agent_that_does_not_answer_is_critical() -> None:
    done = CliRunner().invoke(app, ["check", "--url", "http://127.0.0.1:1", "--format", "nagios"])
    assert done.exit_code == 2
    assert done.stdout.startswith("EVENTFED CRITICAL - no agent answers at http://127.0.0.1:1: ")


async def test_what_is_no_agent_is_told_as_such() -> None:
    assert "is no agent" in (await ask([SYNCED], "nothing of it")).stdout


def test_without_an_address_there_is_a_usage_error() -> None:
    done = CliRunner().invoke(app, ["check"], env={"EVENTFED_CONFIG": ""})
    assert done.exit_code == 2
    assert "name the agent with --config FILE or --url" in done.output
