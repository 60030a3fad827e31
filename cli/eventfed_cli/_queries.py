"""Commands that read or ask the federation: members, state, refresh."""

import asyncio
import json
import sys

from rich.live import Live

from eventfed import EID, Change, Event, MemberChanged, StateChanged, StateKey, StateRemoved, kind_of

from ._bus import BusTarget, connect
from ._exits import Failure
from ._signals import run_until_stopped
from ._states import (
    StateFilter,
    aggregate,
    change_document,
    change_text,
    clock_time,
    contended_devices,
    cut_lines,
    member_document,
    state_document,
    states_of_name,
    value_text,
)
from ._tables import print_table, printable, stdout, table

__all__ = ["get_state", "list_members", "list_states", "refresh", "watch_states"]

_HEADINGS = ["TYPE", "NAME", "VALUE", "MEMBER", "EID", "HEARD"]


def print_json(document: object) -> None:
    """One document on standard output."""
    print(json.dumps(document, indent=2, ensure_ascii=False))


def list_members(access: BusTarget, *, as_json: bool) -> None:
    """Print the live leases, and devices that several servers claim."""

    async def run() -> None:
        async with connect(access) as federation:
            members, contended = federation.members(), contended_devices(federation)
        if as_json:
            print_json(
                {
                    "members": [member_document(lease) for lease in members],
                    "contended": [
                        {"name": name, "eids": [str(eid) for eid in eids]} for name, eids in contended.items()
                    ],
                }
            )
            return
        print_table(
            ["NAME", "EID", "AGENT", "ADDRESS", "COMPLETE", "EPOCH SINCE"],
            [
                [m.name, str(m.eid), m.agent, m.address, "yes" if m.complete else "no", clock_time(m.since)]
                for m in members
            ],
            empty=f"no member of federation {access.federation.name} holds a lease",
        )
        for name, eids in contended.items():
            print(
                f"contended: {printable(name)} is announced by {', '.join(map(str, eids))}; give it to one server alone"
            )

    asyncio.run(run())


def list_states(access: BusTarget, selection: StateFilter, *, as_json: bool) -> None:
    """Print the states that are selected."""

    async def run() -> None:
        async with connect(access) as federation:
            events, leases = selection.events(federation), federation.view.leases
            if as_json:
                print_json([state_document(event, leases) for event in events])
                return
            rows = [_row(event, leases[event.eid].name if event.eid in leases else "") for event in events]
        print_table(_HEADINGS, rows, empty="no such state")
        for line in cut_lines(events):
            print(printable(line))

    asyncio.run(run())


def _row(event: Event, member: str) -> list[str]:
    kind, heard = kind_of(event.type).name, clock_time(event.time)
    return [kind, event.key, value_text(event), member, str(event.eid), heard]


def get_state(access: BusTarget, name: str, *, as_json: bool) -> None:
    """Print every server's value of one name, and what all of them together make.

    Raises:
        Failure: when no server says anything of it.
    """

    async def run() -> None:
        async with connect(access) as federation:
            found, leases = states_of_name(federation, name), federation.view.leases
            documents = [
                {
                    "type": kind_of(kind).name,
                    "name": name,
                    "aggregate": aggregate(kind, events)[0],
                    "servers": [state_document(event, leases) for event in events],
                }
                for kind, events in found.items()
            ]
            rows = [
                _row(event, leases[event.eid].name if event.eid in leases else "")
                for events in found.values()
                for event in events
            ]
        if as_json:
            print_json(documents)
        else:
            print_table(_HEADINGS, rows, empty="")
            for kind, events in found.items():
                print(f"all servers together: {aggregate(kind, events)[1]}")
                for line in cut_lines(events):
                    print(printable(line))
        if not found:
            raise Failure(
                f"no server says anything of {name} (devices are written PJSIP/1001 or Custom:lamp, "
                "mailboxes 1001@default)"
            )

    asyncio.run(run())


def watch_states(access: BusTarget, selection: StateFilter, *, as_json: bool) -> None:
    """Print states as they change, until stopped: a live table on a terminal, else a line for each change."""
    live = sys.stdout.isatty() and not as_json
    run_until_stopped(_watch_live(access, selection) if live else _watch_lines(access, selection, as_json))


async def _watch_lines(access: BusTarget, selection: StateFilter, as_json: bool) -> None:
    async with connect(access) as federation:
        async for change in federation.watch(type=selection.type, eid=selection.eid):
            if _passes(change, selection):
                leases = federation.view.leases
                line = (
                    json.dumps(change_document(change, leases), ensure_ascii=False)
                    if as_json
                    else printable(change_text(change, leases))
                )
                print(line, flush=True)


def _passes(change: Change, selection: StateFilter) -> bool:
    match change:
        case StateChanged(event, _):
            return selection.takes(event.state_key)
        case StateRemoved(key, _):
            return selection.takes(key)
        case MemberChanged(eid, _):
            return selection.eid is None or eid == selection.eid
        case _:
            return True


async def _watch_live(access: BusTarget, selection: StateFilter) -> None:
    """The newest changes at the top, as many as fit the terminal."""
    console = stdout()
    rows: dict[StateKey, list[str]] = {}
    async with connect(access) as federation:
        with Live(console=console, auto_refresh=False, screen=True) as display:

            def show() -> None:
                fitting = list(reversed(rows.values()))[: max(1, console.height - 3)]
                result = table(_HEADINGS, fitting)
                result.title = f"{len(rows)} states of {access.federation.name}, newest change first (Ctrl-C ends)"
                display.update(result, refresh=True)

            loop = asyncio.get_running_loop()
            due: asyncio.TimerHandle | None = None
            async for change in federation.watch(type=selection.type, eid=selection.eid):
                if isinstance(change, StateChanged | StateRemoved) and _passes(change, selection):
                    key = change.event.state_key if isinstance(change, StateChanged) else change.key
                    rows.pop(key, None)
                    if isinstance(change, StateChanged):
                        lease = federation.view.leases.get(key.eid)
                        rows[key] = _row(change.event, lease.name if lease else "")
                if due is None or due.when() <= loop.time():
                    due = loop.call_later(0.1, show)


def refresh(access: BusTarget, eid: EID | None) -> None:
    """Ask the owner of one EID, or all owners, to publish everything again."""

    async def run() -> None:
        async with connect(access) as federation:
            known = federation.members()
            if eid is not None and all(lease.eid != eid for lease in known):
                raise Failure(f"no agent holds the lease of {eid}: `eventfed members` lists those that do")
            await federation.request_refresh(eid)
            await asyncio.sleep(_SENT_WITHIN)
        asked = [lease.name for lease in known if eid in (None, lease.eid)]
        print(f"asked {', '.join(asked) or 'nobody: no member holds a lease'}")

    asyncio.run(run())


_SENT_WITHIN = 0.2
"""Nobody confirms a refresh; this is time for it to leave, in seconds."""
