"""A federation of three real Asterisk servers, left alone and then under load, each for some minutes.

It prints at each minute what happened and what the processes use. It fails on every dump, injection and message on the
bus that no change asked for, on every value that is wrong at the end, and on growth. Exit codes: 0 it held, 1 it did
not, 2 usage, 3 there is no Asterisk or no nats-server.
"""

import argparse
import asyncio
import json
import math
import sys
from contextlib import AsyncExitStack

from rich.console import Console

from eventfed import Subjects
from eventfed_lab import AsteriskRoot, AsteriskUnavailable, LabError, NatsUnavailable, obtain_asterisk
from soak_bus import count_bus
from soak_federation import LAMP, NAMES, Load, make_federation
from soak_figures import Watched
from soak_report import MinuteTable, Settings, document, present_commit, record, section
from soak_verdict import SWEEP_EARLIEST, Phase, unasked

SETTLED = 30.0
"""Seconds within which every server has to show the last value."""
_MINUTE = 60.0
_WATCHED = 30 * 24 * 3600
"""Seconds for which the lamps are subscribed; a renewal would bring a NOTIFY that nothing asked for."""


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="of each phase (default: 10)")
    parser.add_argument("--idle", type=float, metavar="MINUTES", help="of the idle phase, in place of --minutes")
    parser.add_argument("--load", type=float, metavar="MINUTES", help="of the phase under load, in place of --minutes")
    parser.add_argument("--changes", type=float, default=50.0, help="a second, under load (default: 50)")
    parser.add_argument("--devices", type=int, default=300, help="of all servers together (default: 300)")
    parser.add_argument("--mailboxes", type=int, default=50, help="on each server the same (default: 50)")
    parser.add_argument("--version", type=int, choices=(16, 22), help="of Asterisk (default: any that can be had)")
    parser.add_argument("--expiration", type=int, default=60, help="of the servers' publications, s (default: 60)")
    parser.add_argument("--shared", action="store_true", help="one voicemail spool behind all servers")
    parser.add_argument("--interval", type=float, default=15.0, help="seconds between two readings (default: 15)")
    parser.add_argument("--json", action="store_true", help="print everything as JSON; the table goes to stderr")
    parser.add_argument("--record", action="store_true", help="put the result into docs/failure-modes.md")
    chosen = parser.parse_args(arguments)
    chosen.idle = chosen.minutes if chosen.idle is None else chosen.idle
    chosen.load = chosen.minutes if chosen.load is None else chosen.load
    for name in ("idle", "load"):
        if not 0 <= getattr(chosen, name) <= 10_000:
            parser.error(f"--{name} {getattr(chosen, name):g}: use 0 to 10000 minutes")
    if not 0 < chosen.changes <= 1_000:
        parser.error(f"--changes {chosen.changes:g}: use up to 1000 a second")
    if not 1 <= chosen.devices <= 3_000 or not 0 <= chosen.mailboxes <= 300:
        parser.error("use 1 to 3000 --devices and at most 300 --mailboxes")
    if not 1 <= chosen.interval <= _MINUTE:
        parser.error(f"--interval {chosen.interval:g}: use 1 to 60 seconds")
    if not 10 <= chosen.expiration <= 3_600:
        parser.error(f"--expiration {chosen.expiration}: use 10 to 3600 seconds")
    return chosen


async def soak(root: AsteriskRoot, chosen: argparse.Namespace, console: Console) -> list[Phase]:
    """Run the phases that are wanted, and print a row for each minute."""
    phases = []
    loop = asyncio.get_running_loop()
    pbx = make_federation(
        root,
        devices=chosen.devices,
        mailboxes=chosen.mailboxes,
        expiration=chosen.expiration,
        shared=chosen.shared,
    )
    async with AsyncExitStack() as stack:
        console.print("starting three servers, their agents and a nats-server", highlight=False)
        await stack.enter_async_context(pbx)
        started = loop.time()
        bus = await stack.enter_async_context(count_bus(pbx.nats.url, Subjects(pbx.agents["a"].federation)))
        boxes = pbx.asterisk("a").configuration.mailboxes
        await pbx.wait_quiet(still=3.0, within=60.0)
        load = Load(pbx, devices=chosen.devices, mailboxes=boxes, shared=chosen.shared)
        events = [
            stack.enter_context(server.ami.events("DeviceStateChange", "MessageWaiting")) for server in load.servers
        ]
        lamps = []
        for server in load.servers:
            phone = await stack.enter_async_context(server.phone("watcher"))
            lamps.append(await phone.subscribe("message-summary", LAMP, expires=_WATCHED))
        watched = Watched(pbx, load, bus, events, lamps)
        await load.fill()
        if not load.changes_mailboxes:
            console.print(
                "mailboxes are not changed: there are none, or this Asterisk does not count them when told to"
            )
        if wrong := await load.wrong_after(SETTLED):
            raise LabError(f"{len(wrong)} values were wrong before anything began: {'; '.join(wrong[:5])}")
        table = MinuteTable(console)
        stack.callback(table.close)
        for name, minutes in (("idle", chosen.idle), ("load", chosen.load)):
            if not minutes:
                continue
            await pbx.wait_quiet(still=3.0, within=60.0)
            phase = Phase(name, len(NAMES))
            phases.append(phase)
            # Before the first change: it and all that comes of it belong to the phase.
            phase.readings.append(await watched.read())
            async with asyncio.TaskGroup() as tasks:
                if name == "load":
                    tasks.create_task(load.run(chosen.changes, minutes * _MINUTE))
                await _read(watched, phase, minutes * _MINUTE, chosen.interval, table, started)
            phase.wrong = await load.wrong_after(SETTLED)
    return phases


async def _read(
    watched: Watched, phase: Phase, seconds: float, interval: float, table: MinuteTable, started: float
) -> None:
    loop = asyncio.get_running_loop()
    began = phase.readings[0].at
    minute_ends = _MINUTE
    for number in range(1, math.ceil(seconds / interval) + 1):
        due = min(number * interval, seconds)
        await asyncio.sleep(max(0.0, began + due - loop.time()))
        phase.readings.append(await watched.read())
        if due >= min(minute_ends, seconds):
            minute_ends += _MINUTE
            # Each member is swept once in this time, whatever happens.
            phase.sweeps_allowed = phase.servers * int((loop.time() - started) / SWEEP_EARLIEST)
            minute = phase.end_minute()
            table.add(phase, minute, bad=bool(unasked(phase, minute)))


def main(arguments: list[str]) -> int:
    chosen = parse_arguments(arguments)
    console = Console(stderr=chosen.json, soft_wrap=True)
    commit = present_commit()
    try:
        root = obtain_asterisk(lambda line: console.print(line, markup=False, highlight=False), version=chosen.version)
        phases = asyncio.run(soak(root, chosen, console))
    except (AsteriskUnavailable, NatsUnavailable) as error:
        print(f"no soak: {error}", file=sys.stderr)
        return 3
    except LabError as error:
        print(f"the federation does not stand: {error}", file=sys.stderr)
        return 1
    settings = Settings(
        asterisk=root.version,
        expiration=chosen.expiration,
        shared=chosen.shared,
        idle_minutes=chosen.idle,
        load_minutes=chosen.load,
        changes_a_second=chosen.changes,
        devices=chosen.devices,
        mailboxes=chosen.mailboxes,
        commit=commit,
    )
    findings = [line for phase in phases for line in phase.findings()]
    for line in findings:
        console.print(f"failed: {line}", style="red", markup=False, highlight=False)
    for phase in phases:
        if phase.too_short:
            console.print(f"{phase.name}: too short to say anything of growth", highlight=False)
    if chosen.record and phases:
        record(section(settings, phases, findings))
    if chosen.json:
        print(json.dumps(document(settings, phases, findings), indent=2))
    console.print(f"{settings.title}: " + (f"{len(findings)} findings" if findings else "it held"), highlight=False)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
