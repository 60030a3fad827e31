"""Reads the files that an administrator wrote, and says in plain words why one cannot be read."""

from pathlib import Path

from eventfed import EventfedError

__all__ = ["Unreadable", "read_text"]


class Unreadable(EventfedError):
    """A file cannot be read; the message names it and says what to change."""


def read_text(path: Path) -> str:
    """The text of a file in UTF-8. A byte order mark, as some editors write it, is left out.

    Raises:
        Unreadable: when there is no such file, or it cannot be read as text.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise Unreadable(f"{path}: there is no such file") from None
    except IsADirectoryError:
        raise Unreadable(f"{path}: this is a directory: name the file in it") from None
    except PermissionError:
        raise Unreadable(f"{path}: this user may not read it: change its owner or its mode") from None
    except OSError as error:
        raise Unreadable(f"{path}: cannot be read: {error.strerror or error}") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Unreadable(f"{path}: line {line} is not UTF-8: save the file in UTF-8") from None
