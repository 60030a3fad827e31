"""How often a NATS that refuses, or says nothing, is asked: once a second at most."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest

from eventfed import Credentials, Federation, FederationSettings
from eventfed_lab import NatsServer
from tests.ground.fixture_types import Measure

SECONDS = 10.0
USERS = (
    'authorization { users: [{user: "agent", password: "pw"}, {user: "deaf", password: "pw", permissions: '
    '{publish: {deny: ["$JS.API.>"]}}}] }'
)
NO_JETSTREAM = "accounts { $SYS {}, A {users: [{user: agent, password: pw}]} }"
CONSUMER = b"$JS.API.CONSUMER.CREATE"


@dataclass
class Doorkeeper:
    """What a client asked for on its way to NATS."""

    connections: int = 0
    consumers: int = 0


@asynccontextmanager
async def counted(target: int | None, *, silent: bool = False) -> AsyncIterator[tuple[str, Doorkeeper]]:
    """An address that counts, before a NATS or before nobody: `silent`, or one that closes at once."""
    keeper = Doorkeeper()
    tasks: set[asyncio.Task[None]] = set()

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, count: bool) -> None:
        try:
            while data := await source.read(65_536):
                if count:
                    keeper.consumers += data.count(b"PUB " + CONSUMER)
                sink.write(data)
                await sink.drain()
        except OSError:
            pass
        finally:
            sink.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        keeper.connections += 1
        if target is None:
            if silent:
                await reader.read()
            writer.close()
            return
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", target)
        there = asyncio.create_task(pump(reader, to_writer, count=True))
        tasks.add(there)
        await pump(to_reader, writer, count=False)
        await there

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}", keeper
    finally:
        server.close()
        for task in tasks:
            task.cancel()


async def attempts(url: str, credentials: Credentials | None, settings: FederationSettings) -> Federation:
    async with Federation.connect(
        url, federation="pbx", agent="a", settings=settings, credentials=credentials
    ) as federation:
        await asyncio.sleep(SECONDS)
        assert federation.problem is not None
        return federation


@pytest.mark.timeout(60)
async def test_a_nats_that_refuses_in_whatever_way_is_asked_once_a_second_at_most(measure: Measure) -> None:
    agent, deaf, wrong = Credentials("agent", "pw"), Credentials("deaf", "pw"), Credentials("agent", "wrong")
    waiting = FederationSettings(create_stream=False)
    async with AsyncExitStack() as stack:
        with_users = await stack.enter_async_context(NatsServer(configuration=USERS))
        without = await stack.enter_async_context(NatsServer(configuration=NO_JETSTREAM))
        cases: dict[str, tuple[int | None, bool, Credentials | None, FederationSettings]] = {
            "no JetStream": (without.port, False, agent, FederationSettings()),
            "a wrong password": (with_users.port, False, wrong, FederationSettings()),
            "no permission": (with_users.port, False, deaf, FederationSettings()),
            "no stream": (with_users.port, False, agent, waiting),
            "closed at once": (None, False, None, FederationSettings()),
            "silence": (None, True, None, FederationSettings()),
        }
        keepers: dict[str, Doorkeeper] = {}
        running = []
        for name, (target, silent, credentials, settings) in cases.items():
            url, keepers[name] = await stack.enter_async_context(counted(target, silent=silent))
            running.append(attempts(url, credentials, settings))
        await asyncio.gather(*running)
    for name, keeper in keepers.items():
        measure(f"NATS refuses, {name}: connections in 10 s", keeper.connections, "connections")
        measure(f"NATS refuses, {name}: requests for a consumer in 10 s", keeper.consumers, "requests")
        assert keeper.connections + keeper.consumers, name
        assert keeper.connections <= SECONDS, (name, keeper)
        assert keeper.consumers <= SECONDS, (name, keeper)
