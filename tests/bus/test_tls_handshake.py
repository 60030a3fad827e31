"""A TLS handshake that fails is told, and tried again."""

import asyncio
import ssl
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from eventfed import Credentials, Federation
from eventfed.jetstream.connection import Client

INFO = (
    b'INFO {"server_id":"x","server_name":"x","version":"2.12.0","proto":1,"headers":true,'
    b'"max_payload":1048576,"tls_required":true}\r\n'
)


class NoTls:
    """Says that it wants TLS, and then cannot."""

    def __init__(self) -> None:
        self.connections = 0
        self.port = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.write(INFO)
        await reader.read(1)
        writer.write(b"this is no TLS, whatever a client makes of it\r\n")
        try:
            await reader.read()
        except ConnectionError:
            pass
        finally:
            writer.close()


@pytest_asyncio.fixture
async def server() -> AsyncIterator[NoTls]:
    no_tls = NoTls()
    async with await asyncio.start_server(no_tls.answer, "127.0.0.1", 0) as listening:
        no_tls.port = listening.sockets[0].getsockname()[1]
        yield no_tls


@pytest.mark.timeout(60)
async def test_a_handshake_that_fails_is_told_and_tried_again(server: NoTls) -> None:
    url, credentials = f"tls://127.0.0.1:{server.port}", Credentials(tls=ssl.create_default_context())
    async with Federation.connect(url, federation="f", agent="a", credentials=credentials) as federation:
        async with asyncio.timeout(30):
            while server.connections < 3 or federation.problem is None:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert federation.problem.startswith("TLS with NATS failed")


async def test_a_transport_that_is_closed_already_is_disposed_of(
    server: NoTls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in Python 3.11.2, where ``abort()`` of a closed TLS transport fails."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    await reader.readline()
    writer.close()
    await writer.wait_closed()

    def abort() -> None:
        raise AttributeError("'NoneType' object has no attribute '_abort'")

    async def close() -> None:
        pass

    class Transport:
        _io_writer = writer

    client = Client()
    monkeypatch.setattr(writer.transport, "abort", abort)
    monkeypatch.setattr(client, "close", close)
    monkeypatch.setattr(client, "_transport", Transport())
    await client.dispose()
