"""How the command ends: exit codes, and errors as one plain line each."""

import enum
from collections.abc import Iterator
from typing import Any

import typer
from typer.core import TyperGroup

from eventfed import EventfedError

__all__ = ["EXIT_CODES", "BusUnreachable", "Exit", "Failure", "PlainErrors"]

EXIT_CODES = "Exit codes: 0 ok, 1 found a problem, 2 usage or configuration, 3 NATS or its stream not reachable."


class Exit(enum.IntEnum):
    """What the shell sees."""

    OK = 0
    PROBLEM = 1
    USAGE = 2
    BUS = 3


class Failure(EventfedError):
    """What was asked for was found wrong; exit code 1."""


class BusUnreachable(EventfedError):
    """NATS does not answer, lets us not in, or has no such stream; exit code 3."""


class PlainErrors(TyperGroup):
    """Writes every error that eventfed raises on purpose to standard error, one line each, and exits with its code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (EventfedError, BaseExceptionGroup) as error:
            errors = list(_leaves(error))
            if not all(isinstance(leaf, EventfedError) for leaf in errors):
                raise
        for text in dict.fromkeys(map(str, errors)):
            typer.echo(f"eventfed: {text}", err=True)
        raise typer.Exit(_code(errors[0]))


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _code(error: BaseException) -> Exit:
    match error:
        case BusUnreachable():
            return Exit.BUS
        case Failure():
            return Exit.PROBLEM
        case _:
            return Exit.USAGE
