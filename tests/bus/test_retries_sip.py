"""How often a real SIP peer that refuses, says nothing or is not there is asked by an agent: counted by the peer."""

import asyncio
import socket
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import cast

import pytest

from eventfed_agent.pjsip.sip import Request, Response, parse_message
from eventfed_lab import AgentProcess, NatsServer
from eventfed_lab._agents import MWI_AND_DEVICES
from tests.ground.fixture_types import Measure

SECONDS = 10.0
KEEP_ALIVE = 5.0
STATUSES = (401, 403, 404, 412, 423, 481, 489, 500, 501, 503, 600, 603)
MUTE, SILENT, CLOSED = "silence to PUBLISH", "silence", "a closed port (ICMP)"


class Peer(asyncio.DatagramProtocol):
    """A UDP socket that answers each request in one way, and keeps when which one came."""

    def __init__(self, status: int | None, options: int | None) -> None:
        self.status, self.options = status, options
        self.datagrams = 0
        self.asked: dict[str, dict[str, float]] = defaultdict(dict)
        """Method and package → branch of a request, which its retransmissions have too → when it came first."""
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, source: tuple[str, int]) -> None:
        request = self.count(data)
        assert self.transport is not None
        status = self.options if request.method == "OPTIONS" else self.status
        if status is not None:
            self.transport.sendto(bytes(Response.answer(request, status)), source)

    def count(self, data: bytes) -> Request:
        request = parse_message(data)
        assert isinstance(request, Request)
        self.datagrams += 1
        what = f"{request.method} {request.header('Event') or ''}".strip()
        self.asked[what].setdefault(request.header("Via") or "", asyncio.get_running_loop().time())
        return request

    @property
    def attempts(self) -> dict[str, int]:
        return {what: len(requests) for what, requests in self.asked.items()}

    @property
    def total(self) -> int:
        return sum(self.attempts.values())


@asynccontextmanager
async def peer(status: int | None, options: int | None) -> AsyncIterator[tuple[Peer, int]]:
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Peer(status, options), local_addr=("127.0.0.1", 0)
    )
    try:
        yield protocol, transport.get_extra_info("sockname")[1]
    finally:
        transport.close()


@asynccontextmanager
async def overheard(port: int) -> AsyncIterator[Peer]:
    """What goes to a UDP port of 127.0.0.1 that nobody has, where the kernel answers with an ICMP error."""
    try:
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
    except PermissionError:
        pytest.skip("requests to a closed port are counted by a raw socket, which needs CAP_NET_RAW")
    counts, loop = Peer(None, None), asyncio.get_running_loop()
    raw.setblocking(False)

    def read() -> None:
        packet = raw.recv(65_536)
        udp = packet[(packet[0] & 15) * 4 :]
        if int.from_bytes(udp[2:4], "big") == port:
            counts.count(udp[8:])

    loop.add_reader(raw, read)
    try:
        yield counts
    finally:
        loop.remove_reader(raw)
        raw.close()


def closed_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


async def counted(nats: str, kind: str, package: str) -> dict[str, Peer]:
    """What each peer was asked in ten seconds by an agent that is to federate one kind of events."""
    async with AsyncExitStack() as stack:
        peers: dict[str, tuple[Peer, int]] = {
            str(status): await stack.enter_async_context(peer(status, status)) for status in STATUSES
        }
        peers[MUTE] = await stack.enter_async_context(peer(None, 200))
        peers[SILENT] = await stack.enter_async_context(peer(None, None))
        port = closed_port()
        peers[CLOSED] = await stack.enter_async_context(overheard(port)), port
        members = [
            {"name": f"m{port}", "host": "127.0.0.1", "port": port, "eid": f"02:00:00:00:00:{number:02x}"}
            for number, (_, port) in enumerate(peers.values(), 1)
        ]
        events = [spec for spec in MWI_AND_DEVICES if spec["type"] == kind]
        sections = {"timing": {"keep_alive": KEEP_ALIVE}}
        agent = await stack.enter_async_context(
            AgentProcess(package, nats, federation=kind, members=members, events=events, sections=sections)
        )
        await asyncio.sleep(SECONDS)
        agent.kill()
        assert len(agent.log.splitlines()) < 20 * len(peers)
        return {name: one for name, (one, _) in peers.items()}


@pytest.mark.timeout(60)
async def test_a_sip_peer_that_refuses_in_whatever_way_is_asked_once_a_second_at_most(
    nats_server: NatsServer, measure: Measure
) -> None:
    packages = {"mwi": "asterisk-mwi", "device_state": "asterisk-devicestate"}
    results = await asyncio.gather(*(counted(nats_server.url, *one) for one in packages.items()))
    for package, peers in zip(packages.values(), results, strict=True):
        for name, asked in peers.items():
            measure(f"SIP peer, {name}: requests of {package} and OPTIONS in 10 s", asked.total, "requests")
            # Of one that says nothing it is asked first whether it is there at all.
            expected = {"OPTIONS"} if name in (SILENT, CLOSED) else {"OPTIONS", f"PUBLISH {package}"}
            assert set(asked.asked) == expected, (name, asked.attempts)
            assert asked.total <= SECONDS, (name, asked.attempts)
