"""A nats-server for each test, clients with short times, and ways to wait."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from eventfed import DeviceState, Event, EventType, Federation, FederationSettings, StateKey
from eventfed_lab import NatsServer
from tests.ground.cli_commands import A, B, Command, agent
from tests.ground.fixture_types import Clients, Shown, Until

QUICK = FederationSettings(
    lease_ttl=2.0,
    lease_renewal=0.4,
    grace_period=1.0,
    mailbox_grace_period=1.5,
    deputy_delay=0.5,
    tombstone_ttl=60.0,
    ack_deadline=1.0,
    correction_interval=0.2,
    heartbeat=0.3,
    pull_expires=5.0,
    request_timeout=0.7,
    connect_timeout=0.7,
    reconnect_pause=0.05,
    reconnect_pause_limit=0.2,
)


@pytest.fixture
async def nats_server() -> AsyncIterator[NatsServer]:
    async with NatsServer() as server:
        yield server


@pytest.fixture
def quick() -> FederationSettings:
    """Settings with short times."""
    return QUICK


@pytest.fixture
def clients(nats_server: NatsServer) -> Clients:
    """``async with clients("a", "b") as (a, b)``: synced clients of one federation, one per agent name."""

    @asynccontextmanager
    async def connect(*agents: str, **options: Any) -> AsyncIterator[list[Federation]]:
        options = {"settings": QUICK, "federation": "pbx", "servers": nats_server.url, **options}
        async with AsyncExitStack() as stack:
            opened = [await stack.enter_async_context(Federation.connect(agent=agent, **options)) for agent in agents]
            for client in opened:
                assert await client.wait_synced(20), client.problem
            yield opened

    return connect


@pytest.fixture
def until() -> Until:
    """``await until(condition, within=10)``: wait for it; the result is how long that took, in seconds."""

    async def wait(condition: Callable[[], object], within: float = 10.0) -> float:
        started = time.monotonic()
        async with asyncio.timeout(within):
            while not condition():  # noqa: ASYNC110 - conditions of many kinds
                await asyncio.sleep(0.01)
        return time.monotonic() - started

    return wait


@pytest.fixture
def shown() -> Shown:
    """``shown(client)``: the device states and counts that a client has, tombstones left out."""

    def value(event: Event) -> object:
        return event.counts if event.type is EventType.MWI else event.device_state

    def read(client: Federation) -> dict[StateKey, object]:
        return {key: value(event) for key in client.view.states if (event := client.get(key)) is not None}

    return read


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
