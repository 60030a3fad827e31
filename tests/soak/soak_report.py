"""What people and machines are shown: a row for each minute, the document, and the record in the documents."""

import dataclasses
import datetime
import os
import re
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table

from soak_figures import MEBIBYTE, Counts, Reading
from soak_verdict import Minute, Phase

__all__ = ["MinuteTable", "Settings", "document", "present_commit", "record", "section"]

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "failure-modes.md"
GROUPS = {"agent": "agents", "Asterisk": "Asterisk", "nats-server": "NATS"}
"""First word of a process's name → what all of them are called together."""

_BEGIN, _END = "<!-- soak:begin -->", "<!-- soak:end -->"


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """What was soaked."""

    asterisk: str
    expiration: int
    shared: bool
    idle_minutes: float
    load_minutes: float
    changes_a_second: float
    devices: int
    mailboxes: int
    commit: str
    """Taken before the run: what is committed meanwhile was not soaked."""

    @property
    def title(self) -> str:
        parts = [
            f"Asterisk {self.asterisk}",
            f"expiration {self.expiration} s",
            "Shared" if self.shared else "Separate",
        ]
        parts += [f"{self.idle_minutes:g} min idle"] if self.idle_minutes else []
        load = f"{self.load_minutes:g} min of {self.changes_a_second:g} changes a second"
        return ", ".join(parts + ([load] if self.load_minutes else []))


class MinuteTable:
    """Rows that come minute by minute: redrawn on a terminal, printed one by one elsewhere."""

    _COLUMNS = (
        "min", "phase", "changes", "dumps", "injected", "states", "renewed", "leases", "other",
        *(f"{name} {figure}" for name in GROUPS.values() for figure in ("CPU %", "MiB", "fds")), "tasks",
    )  # fmt: skip

    def __init__(self, console: Console) -> None:
        self._console = console
        self._table = self._new()
        self._live = Live(self._table, console=console, auto_refresh=False) if console.is_terminal else None
        if self._live is not None:
            self._live.start()
        else:
            self._print(self._COLUMNS)

    def _new(self) -> Table:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for column in self._COLUMNS:
            table.add_column(column, justify="left" if column == "phase" else "right")
        return table

    def add(self, phase: Phase, minute: Minute, *, bad: bool) -> None:
        """One more minute."""
        row = [str(minute.number), phase.name, *_row(minute)]
        if self._live is not None:
            self._table.add_row(*row, style="red" if bad else "")
            self._live.refresh()
        else:
            self._print(row)

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()

    def _print(self, cells: Iterable[str]) -> None:
        self._console.print(" | ".join(cells), markup=False, highlight=False)


def _row(minute: Minute) -> list[str]:
    counts = minute.counts
    known = ("device states", "mailbox states", "renewals", "leases", "requests to NATS", "deliveries and answers")
    cells = [
        f"{counts.device_changes + counts.mailbox_changes}",
        f"{counts.dumps}",
        f"{sum(counts.injected.values())}",
        f"{counts.bus['device states'] + counts.bus['mailbox states']}",
        f"{counts.bus['renewals']}",
        f"{counts.bus['leases']}",
        f"{sum(count for kind, count in counts.bus.items() if kind not in known)}",
    ]
    for kind in GROUPS:
        figures = figures_of(minute.ended, kind)
        cells += [f"{minute.processor(kind):.1f}", f"{figures['resident_mib']:.1f}", f"{figures['descriptors']:.0f}"]
    return [*cells, f"{sum(minute.ended.tasks.values())}"]


def figures_of(reading: Reading, kind: str) -> Mapping[str, float]:
    """The sums over all processes of one kind."""
    processes = [figures for name, figures in reading.processes.items() if name.startswith(kind)]
    return {
        "resident_mib": sum(figures.resident_bytes for figures in processes) / MEBIBYTE,
        "descriptors": sum(figures.descriptors for figures in processes),
        "threads": sum(figures.threads for figures in processes),
    }


def document(settings: Settings, phases: list[Phase], findings: list[str]) -> dict[str, Any]:
    """Everything, as JSON."""
    return {
        "settings": dataclasses.asdict(settings),
        "held": not findings,
        "findings": findings,
        "phases": {
            phase.name: {
                "seconds": phase.seconds,
                "minutes": [_minute(minute) for minute in phase.minutes],
                "growth": [dataclasses.asdict(one) for one in phase.growths()],
                "growth_judged": not phase.too_short,
                "wrong": phase.wrong,
            }
            for phase in phases
        },
    }


def _minute(minute: Minute) -> dict[str, Any]:
    return {
        "seconds": minute.ended.at - minute.began.at,
        "counts": {one.name: getattr(minute.counts, one.name) for one in dataclasses.fields(Counts)},
        "processor_percent": {kind: minute.processor(kind) for kind in minute.ended.processes},
        "processes": {name: dataclasses.asdict(figures) for name, figures in minute.ended.processes.items()},
        "tasks": minute.ended.tasks,
    }


def section(settings: Settings, phases: list[Phase], findings: list[str]) -> str:
    """The Markdown of one run."""
    rows: list[tuple[str, list[str]]] = [
        ("changes", [f"{phase.counts.device_changes + phase.counts.mailbox_changes:,}" for phase in phases]),
        ("dumps", [f"{phase.counts.dumps}" for phase in phases]),
        ("injections", [f"{sum(phase.counts.injected.values()):,}" for phase in phases]),
        ("states on the bus", [f"{_states(phase):,}" for phase in phases]),
        ("states renewed", [f"{phase.counts.bus['renewals']:,}" for phase in phases]),
        ("leases on the bus", [f"{phase.counts.bus['leases']:,}" for phase in phases]),
        ("requests to NATS", [f"{phase.counts.bus['requests to NATS']:,}" for phase in phases]),
    ]
    for kind, name in GROUPS.items():
        last = [figures_of(phase.readings[-1], kind) for phase in phases]
        whole = [Minute(0, phase.readings[0], phase.readings[-1]) for phase in phases]
        rows += [
            (f"{name}: % of a core", [f"{minute.processor(kind):.2f}" for minute in whole]),
            (f"{name}: MiB at the end", [f"{figures['resident_mib']:.1f}" for figures in last]),
            (f"{name}: MiB an hour", [_steepest(phase, kind) for phase in phases]),
            (f"{name}: descriptors", [f"{figures['descriptors']:.0f}" for figures in last]),
        ]
    rows.append(("agents: tasks", [f"{sum(phase.readings[-1].tasks.values())}" for phase in phases]))
    lines = [
        f"#### {settings.title}",
        "",
        f"{settings.devices} devices, {settings.mailboxes} mailboxes; commit {settings.commit}, "
        f"{datetime.date.today().isoformat()}, {os.cpu_count()} cores. "
        + ("It held." if not findings else "It failed:"),
        "",
        *(f"* {line}" for line in findings[:10]),
        *([f"* and {len(findings) - 10} more"] if len(findings) > 10 else []),
        *([""] if findings else []),
        "| | " + " | ".join(phase.name for phase in phases) + " |",
        "| --- |" + " ---: |" * len(phases),
        *(f"| {what} | " + " | ".join(cells) + " |" for what, cells in rows),
    ]
    return "\n".join(lines)


def _states(phase: Phase) -> int:
    return phase.counts.bus["device states"] + phase.counts.bus["mailbox states"]


def _steepest(phase: Phase, kind: str) -> str:
    """The slope of the process of one kind whose memory rises the most."""
    slopes = [one.an_hour for one in phase.growths() if one.process.startswith(kind) and one.figure == "resident_mib"]
    return f"{max(slopes):+.2f}" if slopes else "too short"


def present_commit() -> str:
    """What stands in this clone, in words."""
    changed = _git("status", "--porcelain", "--", ".", f":(exclude){DOCUMENT.relative_to(ROOT)}")
    return (_git("rev-parse", "--short", "HEAD") or "unknown") + (" with uncommitted changes" if changed else "")


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def record(text: str, file: Path = DOCUMENT) -> None:
    """Put one run's section between the markers of the document, in place of the last run of the same title.

    Raises:
        SystemExit: there is no pair of markers.
    """
    before = file.read_text(encoding="utf-8")
    found = re.search(re.escape(_BEGIN) + "(.*?)" + re.escape(_END), before, re.DOTALL)
    if found is None:
        raise SystemExit(f"{file}: there must be one pair of {_BEGIN} and {_END}")
    sections = {one.partition("\n")[0]: one.strip() for one in re.split(r"(?m)^(?=#### )", found[1]) if one.strip()}
    sections[text.partition("\n")[0]] = text.strip()
    body = "\n\n".join(sections[title] for title in sorted(sections))
    file.write_text(f"{before[: found.start()]}{_BEGIN}\n{body}\n{_END}{before[found.end() :]}", encoding="utf-8")
