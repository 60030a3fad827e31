"""Commands that other packages bring, by an entry point of the group ``eventfed.commands``.

They are imported when they are asked for: an agent must stay small.
"""

from importlib.metadata import EntryPoint, entry_points
from typing import Any

import typer
from typer.core import TyperGroup

from eventfed import EventfedError

from ._exits import EXIT_CODES, PlainErrors

__all__ = ["GROUP", "Commands", "NotInstalled"]

GROUP = "eventfed.commands"
_ELSEWHERE = {
    "demo": "the demo comes with eventfed-lab: run `make demo` in the sources, or install the folder lab/ as well"
}


class NotInstalled(EventfedError):
    """A command that another package brings; exit code 2."""


class Commands(PlainErrors):
    """The command's own subcommands, and those of other packages behind them."""

    def list_commands(self, ctx: Any) -> list[str]:
        own = super().list_commands(ctx)
        return [*own, *sorted({point.name for point in _points()} - set(own))]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        for point in _points():
            if point.name == cmd_name:
                return _command(point)
        if cmd_name in _ELSEWHERE:
            raise NotInstalled(_ELSEWHERE[cmd_name])
        return None


def _points() -> list[EntryPoint]:
    return list(entry_points(group=GROUP))


def _command(point: EntryPoint) -> Any:
    alone = typer.Typer(rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False)
    alone.command(name=point.name, epilog=EXIT_CODES)(point.load())
    group = typer.main.get_group(alone)
    assert isinstance(group, TyperGroup)
    return group.commands[point.name]
