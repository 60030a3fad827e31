"""What a federation carries: states through agents beside the bare SIP limit, replay, and many members on one agent.

Run it as a program: `python tests/bench/bench_federation.py [--json FILE]`. Real Asterisk is used where one can be had,
else simulated servers; a rate with those is that of the simulation as well.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import resource
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import cast

from rich.console import Console
from rich.table import Table

from eventfed import EID, DeviceState, Event, Federation, View
from eventfed.asterisk_config import pjsip_snippet
from eventfed_lab import (
    AgentProcess,
    AsteriskConfiguration,
    AsteriskRoot,
    AsteriskServer,
    AsteriskUnavailable,
    NatsServer,
    Pbx,
    SimulatedServer,
    allot,
    obtain_asterisk,
)

MEBIBYTE = 1 << 20
FEDERATION = "lab"
Results = dict[str, dict[str, float]]


class BareSink(asyncio.DatagramProtocol):
    """Answers each PUBLISH with 200 and an ETag, and does nothing else: as fast as Python can."""

    def __init__(self) -> None:
        self.heard = 0
        self.first = self.last = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if not data.startswith(b"PUBLISH "):
            return
        self.last = time.monotonic()
        self.first = self.first or self.last
        self.heard += 1
        kept = [
            line + b";tag=sink" if line.startswith(b"To:") else line
            for line in data.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]
            if line.startswith((b"Via:", b"From:", b"To:", b"Call-ID:", b"CSeq:"))
        ]
        answer = [
            b"SIP/2.0 200 OK",
            *kept,
            b"SIP-ETag: %d" % self.heard,
            b"Expires: 60",
            b"Content-Length: 0",
            b"",
            b"",
        ]
        self._transport.sendto(b"\r\n".join(answer), addr)


async def bare_sip_limit(root: AsteriskRoot | None, changes: int) -> dict[str, float]:
    """States a second that one server publishes when nobody does anything with them."""
    with allot() as address:
        transport, sink = await asyncio.get_running_loop().create_datagram_endpoint(
            BareSink, (address.host, address.sip_port)
        )
        server: AsteriskServer | SimulatedServer
        if root is None:
            server = SimulatedServer("bare", agent=(address.host, address.sip_port))
        else:
            snippet = pjsip_snippet(agent_host=address.host, agent_port=address.sip_port, token="token-of-nobody")
            server = AsteriskServer(root, "bare", configuration=AsteriskConfiguration(pjsip_snippet=snippet))
        async with server:
            await _until_still(lambda: sink.heard)
            sink.heard, sink.first = 0, 0.0
            await server.run_changes(changes, changes, "Custom:bench")
            await _until_still(lambda: sink.heard)
            result = {"states": sink.heard, "seconds": sink.last - sink.first}
        transport.close()
    return result | {"per_second": result["states"] / result["seconds"]}


async def through_agents(root: AsteriskRoot | None, changes: int) -> dict[str, float]:
    """States a second from one server through two agents and NATS into another."""
    async with Pbx(root, ("a", "b")) as pbx:
        last = f"Custom:bench{changes - 1}"
        before = await pbx["b"].device_state(last)
        injected = await pbx.agents["b"].metric("eventfed_member_injected_total")
        began = time.monotonic()
        await pbx["a"].run_changes(changes, changes, "Custom:bench")
        while await pbx["b"].device_state(last) is before:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        ended = time.monotonic()
        count = await pbx.agents["b"].metric("eventfed_member_injected_total") - injected
    return {"states": count, "seconds": ended - began, "per_second": count / (ended - began)}


async def _until_still(count: Callable[[], int]) -> None:
    """Wait until a second brings no more."""
    before, now = -1, count()
    while before != now:
        before = now
        await asyncio.sleep(1)
        now = count()


def _state(number: int) -> Event:
    return Event.device(f"PJSIP/{number:06d}", DeviceState.INUSE, EID.derive(f"origin {number % 100}"))


@asynccontextmanager
async def _origin(server: NatsServer) -> AsyncIterator[Federation]:
    async with Federation.connect(server.url, federation=FEDERATION, agent="origin") as federation:
        assert await federation.wait_synced(10)
        for number in range(100):
            federation.claim(EID.derive(f"origin {number}"), uid=f"u{number}", name=f"origin-{number}")
        yield federation


@asynccontextmanager
async def _agent(name: str, server: NatsServer) -> AsyncIterator[tuple[AgentProcess, float]]:
    """An agent with the times of production, and the seconds until it was ready, which is after its first replay."""
    agent = AgentProcess(name, server.url, sections={"timing": {"ready_after": 600}, "departure": {}})
    began = time.monotonic()
    try:
        await agent.start(within=120)
        yield agent, time.monotonic() - began
    finally:
        await agent.close()


async def replay(states: int) -> dict[str, float]:
    """How long a new agent takes to have all states, beside one of an empty federation."""
    async with NatsServer() as server:
        async with _agent("empty", server) as (agent, empty_ready):
            empty_memory = agent.process.rss
        began = time.monotonic()
        async with _origin(server) as federation:
            for number in range(states):
                federation.publish(_state(number))
                if number % 1000 == 0:
                    await asyncio.sleep(0)
            assert await federation.flush(300)
            published = time.monotonic() - began
            async with Federation.connect(server.url, federation=FEDERATION, agent="reader") as reader:
                began = time.monotonic()
                assert await reader.wait_synced(120)
                replayed = time.monotonic() - began
                assert len(reader.view.states) == states
            async with _agent("full", server) as (agent, ready):
                assert await agent.metric("eventfed_states") == states
                began = time.monotonic()
                await agent.get("/metrics")
                scrape = time.monotonic() - began
                memory = agent.process.rss
    return {
        "states": states,
        "publish_seconds": published,
        "published_per_second": states / published,
        "replay_seconds": replayed,
        "replayed_per_second": states / replayed,
        "agent_ready_seconds": ready,
        "agent_ready_seconds_empty": empty_ready,
        "agent_mib": memory / MEBIBYTE,
        "bytes_per_state": (memory - empty_memory) / states,
        "metrics_seconds": scrape,
    }


def cursors(states: int, readers: int) -> dict[str, float]:
    """A view of many states and many readers, without I/O: what each state and each step of a reader costs."""
    view = View()
    view.begin_replay("bench")
    events = [_state(number).stamped(epoch=1, sequence=1) for number in range(states)]
    gc.collect()
    began = time.perf_counter()
    for sequence, event in enumerate(events, 1):
        view.put_state(event.state_key, event, sequence)
    view.end_replay()
    filled = time.perf_counter() - began
    followers = [view.cursor() for _ in range(readers)]
    began = time.perf_counter()
    steps = 0
    for follower in followers:
        while follower.next() is not None:
            steps += 1
    drained = time.perf_counter() - began
    assert steps == states * readers
    began = time.perf_counter()
    changes = 10 * states
    for number in range(changes):
        event = events[number % 1000].stamped(epoch=1, sequence=2 + number)
        view.put_state(event.state_key, _turned(event, number), states + number + 1)
    changed = time.perf_counter() - began
    began = time.perf_counter()
    steps = 0
    for follower in followers:
        while follower.next() is not None:
            steps += 1
    assert steps == 1000 * readers
    caught_up = time.perf_counter() - began
    return {
        "states": states,
        "readers": readers,
        "put_microseconds": 1e6 * filled / states,
        "step_microseconds": 1e6 * drained / (states * readers),
        "change_microseconds": 1e6 * changed / changes,
        "catch_up_milliseconds": 1e3 * caught_up / readers,
    }


def _turned(event: Event, number: int) -> Event:
    state = DeviceState.INUSE if number // 1000 % 2 else DeviceState.NOT_INUSE
    turned = Event.device(event.key, state, event.eid)
    return turned.stamped(epoch=event.epoch, sequence=event.sequence)


async def many_members(members: int, states: int) -> dict[str, float]:
    """How long one agent takes to put all states into all its members, which are simulated."""
    async with NatsServer() as server, AsyncExitStack() as stack:
        agent = AgentProcess("agent", server.url, sections={"timing": {}, "departure": {}})
        stack.push_async_callback(agent.close)
        configuration = AsteriskConfiguration(phones={}, mailboxes=(), watched_mailboxes=())
        servers = [
            SimulatedServer(
                f"s{number}", agent=(agent.host, agent.sip_port), tokens=(agent.token,), configuration=configuration
            )
            for number in range(members)
        ]
        agent.members += servers
        for simulated in servers:
            stack.push_async_callback(simulated.close)
        await agent.start()
        for simulated in servers:
            await simulated.start()
        await agent.wait_members("synced", within=60)
        idle_memory = agent.process.rss
        async with _origin(server) as federation:
            began = time.monotonic()
            for number in range(states):
                federation.publish(_state(number))
            keys = [_state(number).key for number in range(states)]
            for simulated in servers:
                for key in keys:
                    await simulated.wait_device(key, DeviceState.INUSE, 300)
            seconds = time.monotonic() - began
        memory = agent.process.rss
    return {
        "members": members,
        "states": states,
        "seconds": seconds,
        "injected_per_second": members * states / seconds,
        "agent_mib_idle": idle_memory / MEBIBYTE,
        "agent_mib": memory / MEBIBYTE,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--changes", type=int, default=10_000, help="through agents, each of another device")
    parser.add_argument("--states", type=int, default=100_000, help="in the federation, for the replay")
    parser.add_argument("--members", type=int, default=50, help="on one agent")
    parser.add_argument("--injected", type=int, default=1_000, help="states to put into each of them")
    parser.add_argument("--json", type=Path, help="write the results here")
    arguments = parser.parse_args()
    try:
        root: AsteriskRoot | None = obtain_asterisk(lambda text: print(text, file=sys.stderr))
    except AsteriskUnavailable as error:
        print(f"no real Asterisk: {error}", file=sys.stderr)
        root = None
    results: Results = {
        "bare SIP limit": asyncio.run(bare_sip_limit(root, arguments.changes)),
        "through agents": asyncio.run(through_agents(root, arguments.changes)),
    }
    ratio = results["through agents"]["per_second"] / results["bare SIP limit"]["per_second"]
    results["through agents"]["of_bare_sip"] = ratio
    results["replay"] = asyncio.run(replay(arguments.states))
    results["cursors"] = cursors(arguments.states, arguments.members)
    results["many members"] = asyncio.run(many_members(arguments.members, arguments.injected))
    results["this program"] = {"mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MEBIBYTE}
    table = Table("case", "figure", "value", title=f"servers: {'simulated' if root is None else 'Asterisk'}")
    for case, figures in results.items():
        for number, (name, value) in enumerate(figures.items()):
            table.add_row("" if number else case, name, f"{value:,.6g}")
    Console(file=sys.stderr).print(table)
    document = {"servers": "simulated" if root is None else "asterisk", **results}
    print(json.dumps(document, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
