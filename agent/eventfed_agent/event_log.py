"""What the agent tells people: each thing counted, and logged once per source."""

from collections import Counter
from typing import Any

import structlog

__all__ = ["EventLog"]

_MAX_SOURCES = 10_000


class EventLog:
    """Warnings about members and strangers. The same warning about the same source is counted, not repeated.

    A warning may come again once `settled` was told that the cause has gone.
    """

    def __init__(self, log: Any | None = None) -> None:
        self._log = log if log is not None else structlog.get_logger("eventfed")
        self._told: set[tuple[str, str]] = set()
        self.warnings: Counter[str] = Counter()

    def debug(self, what: str, source: str, **details: object) -> None:
        self._log.debug(what, source=source, **details)

    def info(self, what: str, source: str, **details: object) -> None:
        self._log.info(what, source=source, **details)

    def warn(self, what: str, source: str, **details: object) -> None:
        """Count it; log it if it is new for this source."""
        self.warnings[what] += 1
        if (what, source) in self._told or len(self._told) >= _MAX_SOURCES:
            return
        self._told.add((what, source))
        self._log.warning(what, source=source, **details)

    def failed(self, what: str, source: str) -> None:
        """Something that must not happen did, inside an ``except`` block: each time with its traceback."""
        self.warnings[what] += 1
        self._log.exception(what, source=source)

    def settled(self, what: str, source: str) -> None:
        """The cause has gone: the next one is worth a line again."""
        self._told.discard((what, source))
