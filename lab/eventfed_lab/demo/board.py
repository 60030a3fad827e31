"""What the demo shows: who says what, and how long each step took."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

__all__ = ["Board", "Step"]

_WIDTH_OF_SVG = 104
_LIT = ("INUSE", "BUSY", "RINGING", "RINGINUSE", "ONHOLD", "InUse", "Busy", "Ringing", "Hold")


@dataclass(frozen=True)
class Step:
    """One thing that had to come about; `ms` is how long it took, None where it did not."""

    name: str
    expected: str
    seen: str
    ms: float | None
    ok: bool

    def line(self) -> str:
        took = "" if self.ms is None else f" in {self.ms:.1f} ms"
        return f"{'ok  ' if self.ok else 'FAIL'} {self.name}: {self.seen}{took}" + (
            "" if self.ok else f" (expected {self.expected})"
        )


@dataclass
class Board:
    """The table: a row for each lamp, device and hint, a column for each server; below it what each step took."""

    title: str
    rows: list[str]
    columns: list[str]
    values: dict[tuple[str, str], str] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    doing: str = ""
    most_steps: int | None = None
    """How many lines of steps are shown, the last ones; None: all."""
    _lines: dict[str, dict[str, Step]] = field(default_factory=dict)

    def show(self, column: str, values: Mapping[str, str]) -> None:
        """What one server says now, by row."""
        self.values |= {(row, column): value for row, value in values.items()}

    def add(self, line: str, column: str, step: Step) -> None:
        """A step that ended, shown in the column of the server where it was seen."""
        self.steps.append(step)
        self._lines.setdefault(line, {})[column] = step

    def __rich__(self) -> RenderableType:
        states = Table(title=self.title, title_justify="left", title_style="bold")
        states.add_column("")
        for column in self.columns:
            states.add_column(column, min_width=16)
        for row in self.rows:
            states.add_row(row, *(_cell(self.values.get((row, column), "")) for column in self.columns))
        steps = Table(box=None, header_style="bold")
        steps.add_column("seen after")
        for column in self.columns:
            steps.add_column(column, justify="right")
        lines = list(self._lines.items())
        for line, seen in lines[-self.most_steps :] if self.most_steps else lines:
            steps.add_row(Text(line), *(_took(seen.get(column)) for column in self.columns))
        return Group(states, Text(self.doing, style="italic"), steps)

    def save_svg(self, file: Path) -> None:
        """Write the table as it is."""
        console = Console(record=True, width=_WIDTH_OF_SVG, file=io.StringIO(), force_terminal=True)
        console.print(self)
        file.write_text(console.export_svg(title="eventfed demo", unique_id="eventfed-demo"), encoding="utf-8")


def _cell(value: str) -> Text:
    lit = value in _LIT or (value.endswith("old") and not value.startswith("0 new"))
    style = "bold yellow" if lit else "red" if value == "killed" else "dim"
    return Text(value, style=style)


def _took(step: Step | None) -> Text:
    if step is None:
        return Text("")
    if not step.ok:
        return Text(f"{step.seen}, not {step.expected}", style="bold red")
    return Text("" if step.ms is None else f"{step.ms:,.1f} ms", style="green")
