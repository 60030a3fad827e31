"""Every file that tells NATS who we are, or us who NATS is, may be replaced while we run."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from eventfed import EID, DeviceState, Event, Federation, FederationSettings
from eventfed_agent.configuration import NatsSection
from eventfed_agent.nats_access import credentials_source
from eventfed_lab import AgentProcess, NatsServer, SimulatedServer
from tests.ground.fixture_types import Until
from tests.ground.narrowing import present
from tests.ground.nats_secrets import SECRETS, Secret, password

A = EID.parse("02:00:00:00:00:0a")


@contextlib.asynccontextmanager
async def running(secret: Secret) -> AsyncIterator[tuple[NatsServer, NatsSection]]:
    async with NatsServer(configuration=secret.configuration) as server:
        url = server.url.replace("nats://", f"{secret.scheme}://")
        yield server, NatsSection.model_validate({"servers": (url,), **secret.fields})


@pytest.mark.parametrize("kind", SECRETS)
async def test_what_was_replaced_on_both_sides_is_used_at_the_next_connection(
    kind: Callable[[Path], Secret], tmp_path: Path, quick: FederationSettings, until: Until
) -> None:
    secret = kind(tmp_path)
    state = Event.device("PJSIP/1", DeviceState.INUSE, A)
    async with (
        running(secret) as (server, section),
        Federation.connect(
            section.servers, federation="pbx", agent="a", settings=quick, credentials=credentials_source(section)
        ) as client,
    ):
        assert await client.wait_synced(5), client.problem
        server.configuration = secret.replace()
        await server.restart()
        client.publish(state)
        await until(lambda: client.connected and client.counters.sessions == 2)
        assert await client.flush(5)
        await until(lambda: client.problem is None)


@pytest.mark.parametrize("kind", SECRETS)
async def test_while_the_server_alone_has_the_next_one_it_is_told_and_then_it_heals(
    kind: Callable[[Path], Secret], tmp_path: Path, quick: FederationSettings, until: Until
) -> None:
    secret = kind(tmp_path)
    kept = {path: path.read_bytes() for path in secret.fields.values() if isinstance(path, Path)}
    async with (
        running(secret) as (server, section),
        Federation.connect(
            section.servers, federation="pbx", agent="a", settings=quick, credentials=credentials_source(section)
        ) as client,
    ):
        assert await client.wait_synced(5), client.problem
        server.configuration = secret.replace()
        new = {path: path.read_bytes() for path in kept}
        for path, content in kept.items():
            path.write_bytes(content)
        await server.restart()
        await until(lambda: client.counters.connect_failures > 2)
        assert secret.refusal in present(client.problem)
        for path, content in new.items():
            path.write_bytes(content)
        await until(lambda: client.connected and client.problem is None)


@pytest.mark.parametrize("kind", SECRETS)
@pytest.mark.parametrize("left", [None, b"", b"half of it"], ids=["gone", "empty", "half written"])
async def test_a_file_that_cannot_be_used_is_told_of_and_awaited(
    left: bytes | None, kind: Callable[[Path], Secret], tmp_path: Path, quick: FederationSettings, until: Until
) -> None:
    secret = kind(tmp_path)
    kept = {path: path.read_bytes() for path in secret.fields.values() if isinstance(path, Path)}
    async with (
        running(secret) as (server, section),
        Federation.connect(
            section.servers, federation="pbx", agent="a", settings=quick, credentials=credentials_source(section)
        ) as client,
    ):
        assert await client.wait_synced(5), client.problem
        for path in kept:
            if left is None:
                path.unlink()
            else:
                path.write_bytes(left)
        await server.restart()
        await until(lambda: client.counters.connect_failures > 2 and client.problem is not None)
        assert not client.connected
        if left is None:
            assert secret.scheme == "tls" or any(str(path) in present(client.problem) for path in kept)
        for path, content in kept.items():
            path.write_bytes(content)
        await until(lambda: client.connected and client.problem is None)


async def test_an_agent_takes_a_new_password_without_a_restart(tmp_path: Path) -> None:
    secret = password(tmp_path)
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(NatsServer(configuration=secret.configuration))
        fields = {name: str(value) for name, value in secret.fields.items()}
        agent = AgentProcess("a", server.url, sections={"nats": fields}, token="t")
        stack.push_async_callback(agent.close)
        asterisk = SimulatedServer("a", agent=(agent.host, agent.sip_port), tokens=("t",))
        stack.push_async_callback(asterisk.close)
        agent.members = [asterisk]
        await agent.start()
        await asterisk.start()
        await agent.wait_members("synced")
        server.configuration = secret.replace()
        await server.restart()
        async with asyncio.timeout(10):
            while not await agent.metric("eventfed_bus_connected"):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        await asterisk.set_device("Custom:lamp", DeviceState.INUSE)
        async with asyncio.timeout(10):
            while await agent.metric("eventfed_states") < 1:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
