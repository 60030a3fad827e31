"""The lab's nats-server: what tests of faults rely on."""

import asyncio
import os
from pathlib import Path

import nats
import pytest

from eventfed_lab import LabError, NatsServer


async def _stored(server: NatsServer) -> list[str]:
    client = await nats.connect(server.url, max_reconnect_attempts=1)
    try:
        return [stream.config.name or "" for stream in await client.jetstream().streams_info()]
    finally:
        await client.close()


async def _store(server: NatsServer, name: str) -> None:
    client = await nats.connect(server.url)
    await client.jetstream().add_stream(name=name, subjects=[f"{name}.>"])
    await client.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_it_keeps_its_port_and_store_over_restarts_until_it_is_wiped(host: str) -> None:
    async with NatsServer(host=host) as server:
        url = server.url
        await _store(server, "kept")
        await server.restart()
        assert await _stored(server) == ["kept"]
        server.kill()
        assert not server.running
        await server.start()
        assert await _stored(server) == ["kept"]
        with pytest.raises(LabError, match="before its store is wiped"):
            server.wipe()
        await server.restart(wipe=True)
        assert await _stored(server) == []
        assert server.url == url


async def test_it_hangs_with_its_socket_open_and_goes_on(tmp_path: Path) -> None:
    async with NatsServer(store=tmp_path / "store") as server:
        server.hang()
        reader, writer = await asyncio.open_connection(server.host, server.port)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await reader.readline()
        server.resume()
        assert (await reader.readline()).startswith(b"INFO")
        writer.close()
        await writer.wait_closed()
        await _store(server, "kept")
    assert (tmp_path / "store").exists()


async def test_a_configuration_text_is_taken_and_a_wrong_one_is_told() -> None:
    async with NatsServer(configuration='authorization { user: agent, password: "lab" }') as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        assert b'"auth_required":true' in await reader.readline()
        writer.close()
        await writer.wait_closed()
        client = await nats.connect(server.url, user="agent", password="lab")
        await client.close()
    with pytest.raises(LabError, match=r"did not start:\n.*unknown field"):
        async with NatsServer(configuration="nonsense { a: }"):
            pass


async def test_nothing_is_left_behind() -> None:
    server = NatsServer()
    await server.start()
    pid, store = server.pid, server.store
    await server.close()
    assert not os.path.exists(f"/proc/{pid}")  # noqa: ASYNC240
    assert not os.path.exists(store)  # noqa: ASYNC240
    with pytest.raises(LabError, match="does not run"):
        server.hang()
