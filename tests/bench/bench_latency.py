"""What agents and NATS add between two Asterisk servers, beside the same servers that PUBLISH straight to each other.

Run it as a program: `python tests/bench/bench_latency.py [--json FILE]`. It needs a real Asterisk. Both pairs run at
the same time and are asked in turn, so whatever else the machine does slows down both. Then it counts how many turns
of the event loop a change takes in the sending and in the receiving agent.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from eventfed import DeviceState
from eventfed.asterisk_config import pjsip_snippet
from eventfed_lab import (
    AgentProcess,
    AsteriskConfiguration,
    AsteriskRoot,
    AsteriskServer,
    AsteriskUnavailable,
    NatsServer,
    Pbx,
    allot,
    obtain_asterisk,
)

TRACED = Path(__file__).with_name("traced_agent.py")
BURST_DEVICES = 100
_STATES = (DeviceState.INUSE, DeviceState.NOT_INUSE)


class Pair(NamedTuple):
    """Two servers: a change of the first one shows on the second one."""

    name: str
    a: AsteriskServer
    b: AsteriskServer


@asynccontextmanager
async def straight_pair(root: AsteriskRoot) -> AsyncIterator[Pair]:
    """Two servers that PUBLISH to each other, known by their addresses."""
    with allot() as first, allot() as second:
        servers = []
        for name, own, other in (("a", first, second), ("b", second, first)):
            snippet = pjsip_snippet(agent_host=other.host, agent_port=other.sip_port, token=None)
            configuration = AsteriskConfiguration(pjsip_snippet=snippet)
            servers.append(AsteriskServer(root, name, configuration=configuration, address=own))
        async with servers[0], servers[1]:
            yield Pair("straight", *servers)


@asynccontextmanager
async def federated_pair(root: AsteriskRoot) -> AsyncIterator[Pair]:
    """Two servers with an agent each and a NATS, with the times of production."""
    async with Pbx(root, ("a", "b"), sections={"timing": {}, "departure": {}}) as pbx:
        yield Pair("agents", pbx.asterisk("a"), pbx.asterisk("b"))


async def latency(pair: Pair, device: str, state: DeviceState) -> float:
    """Seconds from the moment in which A is told a state until B's AMI tells of it."""
    with pair.b.ami.events("DeviceStateChange") as events:
        began = time.monotonic()
        await pair.a.set_device(device, state)
        ended, _ = await events.wait_for(lambda event: event["Device"] == device and event["State"] == state.name)
    return ended - began


async def latencies(pairs: list[Pair], changes: int) -> dict[str, dict[str, float]]:
    """Single changes, of each pair in turn."""
    taken: dict[str, list[float]] = {pair.name: [] for pair in pairs}
    for number in range(changes + 20):
        for pair in pairs:
            seconds = await latency(pair, "Custom:bench", _STATES[number % 2])
            if number >= 20:  # the first ones warm up caches
                taken[pair.name].append(1000 * seconds)
            await asyncio.sleep(0.01)
    return {
        name: {
            "p50_ms": statistics.median(values),
            "p99_ms": statistics.quantiles(values, n=100)[98],
            "longest_ms": max(values),
        }
        for name, values in taken.items()
    }


async def burst(pair: Pair, changes: int) -> dict[str, float]:
    """Changes as fast as A's dialplan can make them, until all last states show on B."""
    began = time.monotonic()
    truth = await pair.a.run_changes(changes, BURST_DEVICES, "Custom:burst")
    made = time.monotonic()
    while await _wrong(pair.b, truth):  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    return {"made_seconds": made - began, "right_seconds": time.monotonic() - began}


async def _wrong(server: AsteriskServer, truth: Mapping[str, DeviceState]) -> bool:
    # One question as long as the answer is no; what is right is asked for as a whole at the end.
    for device, state in reversed(list(truth.items())):
        if await server.device_state(device) is not state:
            return True
    return False


async def bursts(pairs: list[Pair], changes: int, rounds: int) -> dict[str, dict[str, float]]:
    """Bursts of each pair in turn; the fastest of each, since what else runs here only adds."""
    taken: dict[str, list[dict[str, float]]] = {pair.name: [] for pair in pairs}
    for _ in range(rounds):
        for pair in pairs:
            # The last round left the same states: what is right must not be right before it begins.
            for number in range(BURST_DEVICES):
                await pair.a.set_device(f"Custom:burst{number}", DeviceState.ONHOLD)
            await pair.b.wait_device(f"Custom:burst{BURST_DEVICES - 1}", DeviceState.ONHOLD, 30)
            taken[pair.name].append(await burst(pair, changes))
    return {name: min(results, key=lambda one: one["right_seconds"]) for name, results in taken.items()}


# --- turns of the event loop ---


async def traced(root: AsteriskRoot, changes: int, calls: bool) -> dict[str, Any]:
    """The way of single changes through two agents that count the turns of their loops."""
    with tempfile.TemporaryDirectory() as folder:
        traces = {name: Path(folder, f"{name}.json") for name in ("a", "b")}
        async with AsyncExitStack() as stack:
            nats = await stack.enter_async_context(NatsServer())
            pbx: dict[str, AsteriskServer] = {}
            agents: dict[str, AgentProcess] = {}
            for name, trace in traces.items():
                program = [sys.executable, str(TRACED), "--trace", str(trace), *(["--calls"] if calls else [])]
                agent = AgentProcess(name, nats.url, program=program, sections={"timing": {}, "departure": {}})
                stack.push_async_callback(agent.close)
                configuration = AsteriskConfiguration(pjsip_snippet=agent.snippet)
                pbx[name] = AsteriskServer(root, name, configuration=configuration)
                agent.members.append(pbx[name])
                await agent.start()
                await stack.enter_async_context(pbx[name])
                agents[name] = agent
            for agent in agents.values():
                await agent.wait_members("synced", within=30)
            pair = Pair("traced", pbx["a"], pbx["b"])
            for number in range(changes):
                await latency(pair, f"Custom:turns{number}", DeviceState.INUSE)
                await asyncio.sleep(0.02)
            for agent in agents.values():
                await agent.stop()
        return turns({name: json.loads(trace.read_text()) for name, trace in traces.items()}, changes)


def turns(traces: Mapping[str, Any], changes: int) -> dict[str, Any]:
    """Turns and milliseconds of each agent: the median over all changes. A way within one turn of the loop is 0."""
    sender, receiver = ([*traces[name]["notes"]] for name in ("a", "b"))
    result: dict[str, Any] = {}
    moments: dict[str, dict[int, tuple[int, float]]] = {}
    for name, notes, where in (
        ("heard", sender, "datagram in"),
        ("to NATS", sender, "stream out"),
        ("from NATS", receiver, "stream in"),
        ("injected", receiver, "datagram out"),
    ):
        moments[name] = {}
        for turn, at, place, numbers in notes:
            for number in numbers if place == where else ():
                moments[name].setdefault(number, (turn, at))
    for name, noted in moments.items():
        if lacking := set(range(changes)) - noted.keys():
            raise SystemExit(
                f"{len(lacking)} of {changes} changes left no trace of {name!r}: traced_agent.py has to learn it"
            )
    for case, begin, end in (("sending agent", "heard", "to NATS"), ("receiving agent", "from NATS", "injected")):
        ways = [(moments[begin][number], moments[end][number]) for number in range(changes)]
        counts = [after[0] - before[0] for before, after in ways]
        result[case] = {
            "turns": statistics.median(counts),
            "most_turns": max(counts),
            "ms": 1000 * statistics.median(after[1] - before[1] for before, after in ways),
        }
    result["NATS between them"] = {
        "ms": 1000
        * statistics.median(
            moments["from NATS"][number][1] - moments["to NATS"][number][1] for number in range(changes)
        )
    }
    if any(trace["calls"] for trace in traces.values()):
        number = changes // 2
        for case, name, begin, end in (
            ("sending agent", "a", "heard", "to NATS"),
            ("receiving agent", "b", "from NATS", "injected"),
        ):
            first, last = moments[begin][number][0], moments[end][number][0]
            called = [(turn - first, _short(what)) for turn, what in traces[name]["calls"] if first <= turn <= last]
            result[case]["calls"] = [f"turn {turn}: {what}" for turn, what in called]
    return result


def _short(handle: str) -> str:
    return re.sub(r" at 0x[0-9a-f]+|created at .*", "", handle)[:200]


# --- the program ---


async def measure(root: AsteriskRoot, arguments: argparse.Namespace) -> dict[str, Any]:
    async with straight_pair(root) as straight, federated_pair(root) as agents:
        pairs = [straight, agents]
        for pair in pairs:
            await pair.a.set_device("Custom:bench", DeviceState.ONHOLD)
            await pair.b.wait_device("Custom:bench", DeviceState.ONHOLD, 30)
        single = await latencies(pairs, arguments.changes)
        many = await bursts(pairs, arguments.burst, arguments.rounds) if arguments.burst else {}
    results: dict[str, Any] = {name: single[name] | many.get(name, {}) for name in single}
    ratio = {figure: results["agents"][figure] / value for figure, value in results["straight"].items() if value > 0}
    results["ratio"] = ratio
    if arguments.traced:
        results["turns"] = await traced(root, arguments.traced, arguments.calls)
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--changes", type=int, default=500, help="single ones, of each pair")
    parser.add_argument("--burst", type=int, default=20_000, help="changes of a burst; 0: none")
    parser.add_argument("--rounds", type=int, default=2, help="bursts of each pair")
    parser.add_argument(
        "--traced", type=int, default=200, help="changes whose turns of the event loop are counted; 0: none"
    )
    parser.add_argument("--calls", action="store_true", help="show what the loops called on one change's way")
    parser.add_argument("--json", type=Path, help="write the results here")
    arguments = parser.parse_args()
    try:
        root = obtain_asterisk(lambda text: print(text, file=sys.stderr))
    except AsteriskUnavailable as error:
        print(
            f"no benchmark of straight and federated servers, since there is no real Asterisk: {error}", file=sys.stderr
        )
        return 3
    results = asyncio.run(measure(root, arguments))
    console = Console(file=sys.stderr)
    table = Table("figure", "straight", "through agents", "ratio", title=f"Asterisk {root.version}")
    for figure, value in results["straight"].items():
        table.add_row(
            figure, f"{value:.3f}", f"{results['agents'][figure]:.3f}", f"{results['ratio'].get(figure, 0):.2f}"
        )
    console.print(table)
    way = Table("on the way of one change", "turns of the loop", "most", "ms")
    for case, figures in results.get("turns", {}).items():
        cells = [f"{figures[name]:.3g}" if name in figures else "" for name in ("turns", "most_turns", "ms")]
        way.add_row(case, *cells)
    console.print(way)
    for case, figures in results.get("turns", {}).items():
        for line in figures.get("calls", []):
            console.print(f"{case}, {line}", markup=False, highlight=False, soft_wrap=True)
    print(json.dumps(results, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
