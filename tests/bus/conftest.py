"""A nats-server for each test, clients with short times, and ways to wait."""

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from eventfed import DeviceState, Event, Federation, FederationSettings
from eventfed_lab import NatsServer
from tests.ground.cli_commands import A, B, Command, agent
from tests.ground.federation_clients import ADMINISTERS, QUICK, opens, shown, until
from tests.ground.fixture_types import Clients, Shown, Until


@pytest.fixture
async def nats_server() -> AsyncIterator[NatsServer]:
    async with NatsServer() as server:
        yield server


@pytest.fixture
def quick() -> FederationSettings:
    """Settings with short times."""
    return QUICK


@pytest.fixture
def administers() -> FederationSettings:
    """Settings of an operator."""
    return ADMINISTERS


@pytest.fixture
def clients(nats_server: NatsServer) -> Clients:
    """``async with clients("a", "b") as (a, b)``: synced clients of one federation, one per agent name."""
    return opens(partial(Federation.connect, nats_server.url, federation="pbx"))


@pytest.fixture(name="until")
def _until() -> Until:
    """``await until(condition, within=10)``: wait for it; the result is how long that took, in seconds."""
    return until


@pytest.fixture(name="shown")
def _shown() -> Shown:
    """``shown(client)``: the device states and counts that a client has, tombstones left out."""
    return shown


@pytest.fixture
def eventfed(nats_server: NatsServer, tmp_path: Path) -> Command:
    (tmp_path / "agent.toml").write_text(
        f'events = [{{ type = "device_state" }}]\n[federation]\nname = "pbx"\n[nats]\nservers = ["{nats_server.url}"]\n'
        "[departure]\ngrace_period = 1\n[timing]\nlease_ttl = 3\nlease_renewal = 0.5\n"
    )
    return Command(tmp_path)


@pytest.fixture
async def federation(nats_server: NatsServer) -> AsyncIterator[Federation]:
    """Two servers with a few states."""
    async with agent(nats_server, A, B) as client:
        client.publish(Event.device("PJSIP/1001", DeviceState.INUSE, A, time=1.0))
        client.publish(Event.device("PJSIP/1001", DeviceState.RINGING, B))
        client.publish(Event.device("Custom:night", DeviceState.NOT_INUSE, A))
        client.publish(Event.device("Custom:night", DeviceState.INUSE, B))
        client.publish(Event.mailbox("1001@default", 2, 1, A))
        client.publish(Event.mailbox("1001@default", 1, 0, B))
        assert await client.flush(5)
        yield client
