"""``eventfed demo``: a federation of three servers, from nothing to nothing."""

import json
import signal
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.live import Live

from eventfed import EventfedError
from eventfed_cli._exits import Exit
from eventfed_cli._signals import run_until_stopped

from .. import LabError
from .board import Board, Step
from .grounds import Ground
from .story import ROWS, Story

__all__ = ["run"]

_PAUSE = 1.5


class Demo:
    """One run. `steps` and `servers` are what it came to."""

    def __init__(self, *, check: bool, as_json: bool, svg: Path | None) -> None:
        self._check = check
        self._as_json = as_json
        self._svg = svg
        self._live = not check and sys.stdout.isatty()
        self._console = Console()
        self.board = Board("", ROWS, [])
        self.servers: list[dict[str, str]] = []

    @property
    def steps(self) -> list[Step]:
        return self.board.steps

    def tell(self, line: str) -> None:
        """Progress: never on the standard output of a script."""
        print(line, file=sys.stderr if self._check else sys.stdout, flush=True)

    def tell_step(self, step: Step) -> None:
        if not self._live:
            print(step.line(), file=sys.stderr if self._as_json else sys.stdout, flush=True)

    async def play(self, ground: Ground) -> None:
        """Start everything, tell the story, end everything."""
        self.board.columns = ground.names
        self.tell(ground.starts)
        began = time.monotonic()
        async with AsyncExitStack() as stack:
            pbx = await stack.enter_async_context(ground.open())
            self.board.title, self.servers = ground.title, ground.servers
            ms = round((time.monotonic() - began) * 1000, 3)
            self._add(Step("three servers start and are federated", "synced", "synced", ms, True))
            servers = [pbx[name] for name in ground.names]
            pause = 0.0 if self._check else _PAUSE
            story = Story(servers, self.board, kill=ground.kill, pause=pause, tell=self.tell_step)
            async with AsyncExitStack() as display:
                if self._live:
                    self.board.most_steps = max(3, self._console.height - len(ROWS) - 8)
                    display.enter_context(Live(self.board, console=self._console, refresh_per_second=8))
                    await display.enter_async_context(story.looking())
                await story.run()
                await story.look()
                self.board.most_steps = None
            if not self._live and not self._check:
                self._console.print(self.board)

    def _add(self, step: Step) -> None:
        self.board.add(step.name, self.board.columns[-1] if self.board.columns else "", step)
        self.tell_step(step)

    def fail(self, name: str, reason: str) -> None:
        """Something went wrong that no step expected."""
        self._add(Step(name, "nothing of the kind", reason, None, False))

    def finish(self) -> bool:
        """Print the result; whether all is well."""
        held = bool(self.steps) and all(step.ok for step in self.steps)
        if self._svg is not None:
            self.board.save_svg(self._svg)
        if self._as_json:
            document: dict[str, Any] = {"servers": self.servers, "steps": [asdict(step) for step in self.steps]}
            print(json.dumps(document, indent=2, ensure_ascii=False))
        else:
            kind = self.servers[0]["kind"] if self.servers else "no"
            print(f"{sum(step.ok for step in self.steps)} of {len(self.steps)} steps held ({kind} servers)")
        return held


def run(
    make_ground: Callable[[Callable[[str], None]], Ground], *, check: bool, as_json: bool, svg: Path | None
) -> None:
    """Run the demo; exit code 1 if a step fails. Nothing that it started outlives it.

    Args:
        make_ground: given a function that tells of progress.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    demo = Demo(check=check, as_json=as_json, svg=svg)
    try:
        if run_until_stopped(demo.play(make_ground(demo.tell))):
            demo.fail("the demo", "stopped by a signal")
    except KeyboardInterrupt:
        demo.fail("set-up", "stopped by a signal")
    except (LabError, TimeoutError, BaseExceptionGroup) as error:
        demo.fail("set-up", _reason(error))
    if not demo.finish():
        raise typer.Exit(Exit.PROBLEM)


def _reason(error: BaseException) -> str:
    """What went wrong, for people; anything unexpected is raised."""
    if isinstance(error, BaseExceptionGroup):
        expected, unexpected = error.split((EventfedError, TimeoutError, OSError))
        if unexpected is not None:
            raise error
        assert expected is not None
        return "; ".join(_reason(inner) for inner in expected.exceptions)
    return str(error) or type(error).__name__
