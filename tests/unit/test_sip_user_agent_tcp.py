from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest

from eventfed_agent.pjsip.sip import (
    Address,
    Bind,
    OutboundPublication,
    Publisher,
    PublishOutcome,
    Transport,
    TransportFailed,
    UserAgent,
    UserAgentSettings,
    build_options,
)
from tests.ground.sip_peer import LOOPBACK, accept, agent, at, eventually, publish


async def test_one_tcp_connection_carries_many_requests_and_is_made_again_after_a_loss() -> None:
    async with agent() as client:
        async with agent() as server:
            member = at(server, Transport.TCP)
            async with asyncio.TaskGroup() as group:
                for _ in range(20):
                    group.create_task(client.request(build_options(member), member))
            assert client.counters.connections_opened == 1
        async with UserAgent([Bind(LOOPBACK, member.port, frozenset({Transport.TCP}))], accept):
            assert (await client.request(build_options(member), member)).status == 200
            assert client.counters.connections_opened == 2
        await asyncio.sleep(0.02)
        results = await asyncio.gather(
            *(client.request(build_options(member), member) for _ in range(5)), return_exceptions=True
        )
        assert all(isinstance(result, TransportFailed) for result in results)
        publisher = Publisher(client, member, OutboundPublication("asterisk-mwi", member))
        assert (await publisher.publish(b"1")).outcome is PublishOutcome.UNREACHABLE


async def test_a_lost_connection_fails_the_requests_on_it() -> None:
    async def slam(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(slam, LOOPBACK, 0)
    async with server, agent() as client:
        member = Address(LOOPBACK, server.sockets[0].getsockname()[1], Transport.TCP)
        with pytest.raises(TransportFailed, match="lost"):
            await client.request(build_options(member), member)


async def test_a_connection_that_never_finishes_its_message_is_closed() -> None:
    async with agent(settings=UserAgentSettings(message_timeout=0.1)) as server:
        reader, writer = await asyncio.open_connection(*at(server, Transport.TCP)[:2])
        writer.write(publish()[:50])
        async with asyncio.timeout(5):
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
        assert server.counters.connections_timed_out == 1
        writer.close()


async def test_a_message_cut_off_by_the_end_of_its_connection_is_counted() -> None:
    async with agent() as server:
        for size in (1, 50, len(publish()) - 1):
            _, writer = await asyncio.open_connection(*at(server, Transport.TCP)[:2])
            writer.write(publish()[:size])
            writer.close()
            await writer.wait_closed()
        await eventually(lambda: server.counters.malformed == 3)
        _, writer = await asyncio.open_connection(*at(server, Transport.TCP)[:2])
        writer.write(publish())
        writer.close()
        await writer.wait_closed()
        await eventually(lambda: server.counters.connections_accepted == 4 and server.counters.requests == 1)
        assert server.counters.malformed == 3


async def test_an_idle_connection_is_closed_and_a_busy_one_is_not() -> None:
    async with agent(settings=UserAgentSettings(idle_timeout=0.6)) as server:
        reader, writer = await asyncio.open_connection(*at(server, Transport.TCP)[:2])
        for number in range(4):
            writer.write(publish(str(number)))
            async with asyncio.timeout(1):
                assert await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(0.2)
        assert server.counters.connections_timed_out == 0
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        assert server.counters.connections_timed_out == 1
        writer.close()


async def test_noise_on_a_connection_closes_it_and_is_counted() -> None:
    async with agent() as server:
        reader, writer = await asyncio.open_connection(*at(server, Transport.TCP)[:2])
        writer.write(publish() + b"\x00" * 65_536)
        with contextlib.suppress(ConnectionResetError):
            await reader.read()
        await eventually(lambda: server.counters.malformed == 1)
        writer.close()


@pytest.mark.parametrize("caps", [{"max_connections": 2}, {"max_connections_per_source": 2}])
async def test_connections_beyond_the_cap_are_refused(caps: dict[str, int]) -> None:
    async with agent(settings=UserAgentSettings(**caps)) as server:  # type: ignore[arg-type]
        connections = [await asyncio.open_connection(*at(server, Transport.TCP)[:2]) for _ in range(5)]
        await eventually(lambda: server.counters.connections_refused == 3)
        assert server.counters.connections_accepted == 2
        for _, writer in connections:
            writer.close()
        for _, writer in connections:
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
        await asyncio.sleep(0.05)
        _, writer = await asyncio.open_connection(*at(server, Transport.TCP)[:2])
        await eventually(lambda: server.counters.connections_accepted == 3)
        writer.close()


async def test_a_peer_that_reads_no_answers_is_cut_off() -> None:
    settings = UserAgentSettings(max_write_buffer_bytes=10_000)
    async with agent(settings=settings) as server:
        sender = socket.create_connection(at(server, Transport.TCP)[:2])
        sender.setblocking(False)
        loop = asyncio.get_running_loop()
        with contextlib.suppress(ConnectionError):
            for number in range(200_000):
                await loop.sock_sendall(sender, publish(str(number)))
                if server.counters.connections_stalled:
                    break
        assert server.counters.connections_stalled == 1
        sender.close()
