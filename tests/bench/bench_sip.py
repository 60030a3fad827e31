"""How many PUBLISH transactions one core carries, beside a bare asyncio UDP echo in the same run.

Run it as a program: `python tests/bench/bench_sip.py [--seconds 2] [--json FILE]`. Both ends of each loopback case run
in this one process, so a rate is that of a client and a server together.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from eventfed_agent.pjsip.sip import (
    Address,
    Bind,
    EventStateCompositor,
    Later,
    OutboundPublication,
    Publisher,
    Request,
    Response,
    Transport,
    UserAgent,
    parse_message,
)

BODY = b'{"type":"devicestate","device":"PJSIP/1001","state":"INUSE","cachable":1,"eid":"02:00:00:00:00:0a"}'
SERVER = Address("127.0.0.1", 5060)


def publish_as_asterisk_sends_it(sequence: int) -> bytes:
    return (
        "PUBLISH sip:A@127.0.0.2:5060 SIP/2.0\r\n"
        f"Via: SIP/2.0/UDP 127.0.0.11:5060;rport;branch=z9hG4bKPjc8182f94-{sequence}\r\n"
        "From: <sip:A@127.0.0.2>;tag=49c9b487-7d1c\r\nTo: <sip:A@127.0.0.2>\r\n"
        f"Call-ID: 44a65e0e-8d9e-40c6-8f55-3b04f1fb377f\r\nCSeq: {sequence} PUBLISH\r\n"
        "Event: asterisk-devicestate\r\nExpires: 60\r\nMax-Forwards: 70\r\nUser-Agent: Asterisk-A\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(BODY):5}\r\n\r\n"
    ).encode() + BODY


def rate(step: Callable[[int], object], seconds: float) -> float:
    """Calls per second of `step`."""
    count, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        for _ in range(100):
            count += 1
            step(count)
    return count / elapsed


def parse_handle_answer(seconds: float) -> float:
    compositor = EventStateCompositor()

    def step(sequence: int) -> bytes:
        request = parse_message(publish_as_asterisk_sends_it(sequence))
        assert isinstance(request, Request)
        return bytes(compositor.receive(request, "127.0.0.11", 0.0)[0])

    return rate(step, seconds)


def build_and_take_the_answer(seconds: float) -> float:
    publication = OutboundPublication("asterisk-devicestate", SERVER)
    via = "SIP/2.0/UDP 127.0.0.2:5066;rport;branch=z9hG4bK0"

    def step(sequence: int) -> None:
        data = publication.start(BODY, 0.0).with_via(via)
        answer = data[data.index(b"\r\n") + 2 : data.index(b"Event:")]
        response = parse_message(b"SIP/2.0 200 OK\r\n" + answer + b"SIP-ETag: 7\r\nExpires: 60\r\n\r\n")
        assert isinstance(response, Response)
        publication.answered(response, 0.0)

    return rate(step, seconds)


async def transactions(transport: Transport, lanes: int, seconds: float) -> float:
    compositor = EventStateCompositor()
    loop = asyncio.get_running_loop()
    done = 0

    def handle(request: Request, source: Address) -> Response | Later | None:
        return compositor.receive(request, source.host, loop.time())[0]

    async def lane(client: UserAgent, server: Address, until: float) -> None:
        nonlocal done
        publisher = Publisher(client, server, OutboundPublication("asterisk-devicestate", server))
        while loop.time() < until:
            assert (await publisher.publish(BODY)).accepted
            done += 1

    bind = Bind("127.0.0.1", 0)
    async with UserAgent([bind], handle) as server, UserAgent([bind], handle) as client:
        address = next(bound for bound in server.bound if bound.transport is transport)
        started = loop.time()
        async with asyncio.TaskGroup() as group:
            for _ in range(lanes):
                group.create_task(lane(client, address, started + seconds))
        return done / (loop.time() - started)


class _Echo(asyncio.DatagramProtocol):
    transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.transport.sendto(data, addr)


class _Asker(_Echo):
    answered: asyncio.Future[bytes]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.answered.set_result(data)


async def bare_echo(lanes: int, seconds: float) -> float:
    loop = asyncio.get_running_loop()
    server, _ = await loop.create_datagram_endpoint(_Echo, ("127.0.0.1", 0))
    done = 0

    async def lane(until: float) -> None:
        nonlocal done
        transport, asker = await loop.create_datagram_endpoint(_Asker, remote_addr=server.get_extra_info("sockname"))
        while loop.time() < until:
            asker.answered = loop.create_future()
            transport.sendto(BODY)
            await asker.answered
            done += 1
        transport.close()

    started = loop.time()
    async with asyncio.TaskGroup() as group:
        for _ in range(lanes):
            group.create_task(lane(started + seconds))
    elapsed = loop.time() - started
    server.close()
    return done / elapsed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="duration of each case")
    parser.add_argument("--json", type=Path, help="write the results here")
    arguments = parser.parse_args()
    seconds: float = arguments.seconds
    results = {
        "parse, handle, answer": parse_handle_answer(seconds),
        "build, take the answer": build_and_take_the_answer(seconds),
        "bare UDP echo, 16 lanes": asyncio.run(bare_echo(16, seconds)),
        "PUBLISH over UDP, 1 lane": asyncio.run(transactions(Transport.UDP, 1, seconds)),
        "PUBLISH over UDP, 16 lanes": asyncio.run(transactions(Transport.UDP, 16, seconds)),
        "PUBLISH over TCP, 16 lanes": asyncio.run(transactions(Transport.TCP, 16, seconds)),
    }
    echo = results["bare UDP echo, 16 lanes"]
    table = Table("case", "per second", "of the bare echo")
    for name, value in results.items():
        table.add_row(name, f"{value:,.0f}", f"{value / echo:.2f}")
    Console(file=sys.stderr).print(table)
    document = {
        name: {"per_second": round(value), "of_echo": round(value / echo, 3)} for name, value in results.items()
    }
    print(json.dumps(document, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
