"""Where TLS is asked for, nothing is said in clear: to no server, whatever its first line says."""

import asyncio
import base64
import contextlib
import hashlib
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from eventfed import Credentials, Federation, FederationSettings
from eventfed_agent.configuration import NatsSection
from eventfed_agent.nats_access import credentials_source
from eventfed_lab import NatsServer
from tests.ground.fixture_types import Until
from tests.ground.narrowing import present
from tests.ground.nats_identities import Authority

INFO = (
    b'INFO {"server_id":"x","server_name":"x","version":"2.12.0","proto":1,"headers":true,"auth_required":true,'
    b'"max_payload":1048576}\r\n'
)


@dataclass
class InClear:
    """Speaks NATS, by TCP or WebSocket, and leaves out of its first line that TLS is required."""

    heard: bytearray = field(default_factory=bytearray)
    connections: int = 0
    port: int = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.write(INFO)
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(4096):
                self.heard += data
                if b"PING" in data:
                    writer.write(b"PONG\r\n")
        writer.close()

    async def answer_websocket(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            key = next(
                line[18:].strip() for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key")
            )
            accept = base64.b64encode(hashlib.sha1(key.strip() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
            writer.write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n\x82" + bytes([126]) + len(INFO).to_bytes(2) + INFO
            )
            while data := await reader.read(4096):
                self.heard += data
        writer.close()


# nats-py gives aiohttp its time limit in an old way.
pytestmark = pytest.mark.filterwarnings("ignore:parameter 'timeout' of type 'float' is deprecated:DeprecationWarning")


@pytest.fixture
async def in_clear() -> AsyncIterator[InClear]:
    server = InClear()
    async with await asyncio.start_server(server.answer, "127.0.0.1", 0) as listening:
        server.port = listening.sockets[0].getsockname()[1]
        yield server


@pytest.fixture
def one_authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "nats")


@pytest.mark.parametrize("how", ["tls", "authority", "certificate", "handshake first", "one of two"])
async def test_a_server_that_offers_no_tls_is_told_nothing(
    how: str,
    in_clear: InClear,
    one_authority: Authority,
    tmp_path: Path,
    quick: FederationSettings,
    until: Until,
) -> None:
    password = tmp_path / "password"
    password.write_text("s3cret-pw\n")
    certificate, key = one_authority.issue("agent")
    plain, secured = f"nats://127.0.0.1:{in_clear.port}", f"tls://127.0.0.1:{in_clear.port}"
    cases: dict[str, tuple[tuple[str, ...], dict[str, object]]] = {
        "tls": ((secured,), {}),
        "authority": ((plain,), {"ca_file": one_authority.certificate}),
        "certificate": ((plain,), {"certificate_file": certificate, "key_file": key}),
        "handshake first": ((plain,), {"tls_handshake_first": True}),
        "one of two": ((plain, "tls://127.0.0.1:1"), {}),
    }
    servers, fields = cases[how]
    section = NatsSection.model_validate({"servers": servers, "user": "agent", "password_file": password, **fields})
    async with Federation.connect(
        servers, federation="pbx", agent="a", settings=quick, credentials=credentials_source(section)
    ) as client:
        await until(lambda: in_clear.connections > 2)
        await until(lambda: client.problem is not None)
        told = present(client.problem)
        assert not client.connected
    assert b"CONNECT" not in in_clear.heard
    assert b"s3cret" not in in_clear.heard
    if how == "handshake first":
        assert in_clear.heard[:2] == b"\x16\x03"  # a ClientHello (RFC 8446 5.1)
    if how not in ("handshake first", "one of two"):
        assert f"NATS at 127.0.0.1:{in_clear.port} offers no TLS" in told
        assert "nothing was sent" in told
        assert in_clear.heard == b""


async def test_a_websocket_in_clear_is_told_nothing_where_an_authority_is_given(
    one_authority: Authority, quick: FederationSettings, until: Until
) -> None:
    server = InClear()
    context = ssl.create_default_context(cafile=str(one_authority.certificate))
    async with await asyncio.start_server(server.answer_websocket, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        async with Federation.connect(
            f"ws://127.0.0.1:{port}", federation="pbx", agent="a", settings=quick,
            credentials=Credentials("agent", "s3cret-pw", tls=context),
        ) as client:  # fmt: skip
            await until(lambda: "offers no TLS" in str(client.problem))
            assert "wss://" in present(client.problem)
        # Nothing but close frames of two bytes each, masked (RFC 6455 5.2 and 5.5.1).
    assert set(server.heard[::8]) <= {0x88}


async def test_without_any_wish_for_tls_a_server_in_clear_is_used(
    in_clear: InClear, quick: FederationSettings, until: Until
) -> None:
    async with Federation.connect(
        f"nats://127.0.0.1:{in_clear.port}", federation="pbx", agent="a", settings=quick,
        credentials=Credentials("agent", "pw"),
    ):  # fmt: skip
        await until(lambda: b"CONNECT" in in_clear.heard)
    assert json.loads(in_clear.heard.split(b"CONNECT ")[1].split(b"\r\n")[0])["pass"] == "pw"


@pytest.mark.parametrize(("first", "scheme"), [(False, "tls"), (True, "tls"), (True, "nats"), (False, "wss")])
async def test_a_server_with_tls_is_used_in_each_order_of_the_handshake(
    first: bool, scheme: str, one_authority: Authority, quick: FederationSettings
) -> None:
    certificate, key = one_authority.issue("server")
    files = f'cert_file: "{certificate}", key_file: "{key}"'
    context = ssl.create_default_context(cafile=str(one_authority.certificate))
    if scheme == "wss":
        configuration = f'websocket {{ host: "127.0.0.1", port: -1, tls {{ {files} }} }}'
    else:
        configuration = f"tls {{ {files}, handshake_first: {'auto' if first else 'false'} }}"
    async with NatsServer(configuration=configuration) as server:
        url = server.url.replace("nats://", f"{scheme}://")
        if scheme == "wss":
            [line] = [line for line in server.log.splitlines() if "Listening for websocket clients" in line]
            url = line.rpartition(" ")[2]
        async with Federation.connect(
            url, federation="pbx", agent="a", settings=quick,
            credentials=Credentials(tls=context, tls_handshake_first=first),
        ) as client:  # fmt: skip
            assert await client.wait_synced(5), client.problem
