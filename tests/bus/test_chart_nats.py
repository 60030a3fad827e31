"""The chart's NATS configuration on a real nats-server: who may do what, and the operator's bus on it."""

import asyncio
import re
import subprocess
import tomllib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from eventfed import EID, ConnectionLost, Credentials, DeviceState, Event, Federation, FederationSettings, Subjects
from eventfed.wire.report import AgentReport, MemberState, ReportedMember
from eventfed.wire.roster import Roster, RosterMember
from eventfed_lab import NatsServer, nats_server_binary
from eventfed_operator.agent_configuration import agent_configuration
from eventfed_operator.bus_access import AccessFiles, bus_access
from eventfed_operator.federation_bus import open_nats_bus
from eventfed_operator.resources import ChartNats, Settings, read_resource
from eventfed_operator.streams import wanted_stream
from eventfed_operator.tokens import HeaderTokens
from tests.ground.fixture_types import Until

FILES = Path(__file__).resolve().parents[2] / "charts" / "eventfed" / "files"
A = EID.parse("02:00:00:00:00:0a")
SUBJECTS = Subjects("voice_pbx")
MEMBER = RosterMember("asterisk-0", "uid-0", "10.1.0.1")
ENVIRONMENT = {
    "POD_NAME": "eventfed-nats-0",
    "NATS_MAX_FILE": "100MB",
    "NATS_MAX_MEMORY": "16MB",
    "NATS_OPERATOR_PASSWORD": "pOperator1",
    "NATS_AGENT_PASSWORD": "pAgent1",
    "NATS_ROUTE_PASSWORD": "pRoute1",
    **{f"NATS_ROUTE_{n}": f"nats-route://route:pRoute1@nats-{n}.nats-servers.voice.svc:6222" for n in range(3)},
}
OPERATOR = Credentials("operator", "pOperator1", inbox_prefix="_INBOX_operator")
AGENT = Credentials("agent", "pAgent1", inbox_prefix="_INBOX_agent")
RESOURCE = {
    "metadata": {"name": "pbx", "namespace": "voice", "uid": "u", "creationTimestamp": "2026-03-01T11:00:00Z"},
    "spec": {
        "members": {"selector": {"matchLabels": {"app": "asterisk"}}},
        "events": [{"type": "device_state"}],
    },
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
async def server() -> AsyncIterator[NatsServer]:
    """nats-server with the chart's accounts; place and port of its store are the laboratory's."""
    text = (FILES / "nats.conf").read_text()
    text = re.sub(r"^(server_name|port|http):.*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"^jetstream \{.*?^\}$", "", text, flags=re.MULTILINE | re.DOTALL)
    async with NatsServer(configuration=text) as server:
        yield server


def test_operator_and_agents_log_in_as_the_configuration_wants() -> None:
    settings = Settings("eventfed:1", ChartNats(("nats://nats:4222",), "agent", "pAgent1"))
    resource = read_resource(RESOURCE)
    access = bus_access(resource, settings, Credentials("operator", "pOperator1"), {})
    with AccessFiles(access) as credentials:
        assert credentials == OPERATOR
    configuration = agent_configuration(resource, settings, HeaderTokens("token-0123456789"), {})
    nats = tomllib.loads(configuration.text)["nats"]
    assert (nats["user"], nats["inbox_prefix"]) == (AGENT.user, AGENT.inbox_prefix)


@pytest.mark.parametrize("name", ["nats.conf", "nats-cluster.conf"])
def test_nats_takes_the_whole_configuration(name: str) -> None:
    command: list[str | Path] = [nats_server_binary(), "-t", "-c", FILES / name]
    checked = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert checked.returncode == 0, checked.stderr


async def test_the_operator_makes_the_stream_and_writes_rosters_and_hears_agents(
    server: NatsServer, quick: FederationSettings, until: Until
) -> None:
    changes: list[None] = []
    wanted = wanted_stream(read_resource(RESOURCE))
    async with open_nats_bus(SUBJECTS, [server.url], OPERATOR, on_change=lambda: changes.append(None)) as bus:
        await until(lambda: changes)
        await bus.ensure_stream(wanted, exists=False)
        await bus.publish_roster("node-0.example", Roster("node-0.example", (MEMBER,)))
        seen = await bus.observe(mark="")
        assert seen.connected
        assert seen.stream is not None
        assert seen.stream.owner == "voice/pbx"
        assert seen.rosters == {"node-0.example": Roster("node-0.example", (MEMBER,))}
        settings = replace(quick, create_stream=False)
        async with Federation.connect(
            server.url, federation="voice_pbx", agent="a", settings=settings, credentials=AGENT
        ) as client:
            assert await client.wait_synced(5), client.problem
            assert client.rosters.known["node-0.example"].members == (MEMBER,)
            client.claim(A, uid="uid-0", name="asterisk-0")
            client.publish(Event.device("PJSIP/1001", DeviceState.INUSE, A))
            assert await client.flush(5)
            await asyncio.sleep(0.3)
            members = (ReportedMember("uid-0", "synced"),)
            client.report(AgentReport("a", client.instance, "node-0.example", members=members))
            for _ in range(100):
                seen = await bus.observe(mark="")
                if seen.reports and seen.leases:
                    break
                await asyncio.sleep(0.05)
            assert seen.reports["uid-0"].state is MemberState.SYNCED
            assert [lease.uid for lease in seen.leases] == ["uid-0"]
            assert client.problem is None
        await bus.publish_roster("node-0.example", None)
        assert (await bus.observe(mark="")).rosters == {}
        await bus.ensure_stream({**wanted, "max_bytes": 2_000_000, "discard": "new"}, exists=True)
        await bus.delete_stream()
        await bus.delete_stream()
        assert (await bus.observe(mark="")).stream is None


async def test_agents_can_neither_write_rosters_nor_touch_streams(
    server: NatsServer, quick: FederationSettings, until: Until
) -> None:
    settings = replace(quick, create_stream=False, request_timeout=0.5)
    connect = partial(Federation.connect, server.url, federation="voice_pbx", settings=settings)
    async with (
        connect(agent="operator", credentials=OPERATOR) as maker,
        connect(agent="a", credentials=AGENT) as client,
    ):
        await until(lambda: maker.connected and client.connected)
        wanted = wanted_stream(read_resource(RESOURCE))
        with pytest.raises(ConnectionLost):
            await client.administration.make_stream(wanted)
        await maker.administration.make_stream(wanted)
        assert await client.wait_synced(5)
        everything_forbidden: tuple[Callable[[], Awaitable[object]], ...] = (
            lambda: client.administration.write_roster(Roster("node-0")),
            lambda: client.administration.update_stream(wanted),
            lambda: client.administration.delete_stream(),
        )
        for forbidden in everything_forbidden:
            with pytest.raises(ConnectionLost):
                await forbidden()
        stream = await maker.administration.stream()
        assert stream is not None
        assert stream.messages == 0


async def test_refused_credentials_and_a_missing_stream_are_told(server: NatsServer) -> None:
    wrong = replace(OPERATOR, password="wrong")
    async with open_nats_bus(SUBJECTS, [server.url], wrong, on_change=lambda: None) as bus:
        await asyncio.sleep(0.5)
        seen = await bus.observe(mark="")
        assert not seen.connected
        assert "credentials" in (seen.problem or "")
    async with open_nats_bus(SUBJECTS, [server.url], OPERATOR, on_change=lambda: None) as bus:
        await asyncio.sleep(0.5)
        seen = await bus.observe(mark="")
        assert (seen.connected, seen.stream) == (True, None)
