"""What commands print for people."""

import sys

from rich.console import Console
from rich.table import Table
from rich.text import Text

__all__ = ["print_table", "printable", "stdout", "table"]

_WIDTH_OF_A_PIPE = 200


def stdout() -> Console:
    """The console of standard output; where that is no terminal, wide enough for all columns."""
    return Console(width=None if sys.stdout.isatty() else _WIDTH_OF_A_PIPE, highlight=False)


def printable(text: str) -> str:
    """The text without what would move a terminal's cursor: names come from the network."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


def table(headings: list[str], rows: list[list[str]]) -> Table:
    """A plain table; names from the network are never read as markup."""
    result = Table(*headings, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        result.add_row(*(Text(printable(cell)) for cell in row))
    return result


def print_table(headings: list[str], rows: list[list[str]], *, empty: str) -> None:
    """A table, or the sentence `empty` where there is nothing to show."""
    if rows:
        stdout().print(table(headings, rows))
    else:
        print(empty)
