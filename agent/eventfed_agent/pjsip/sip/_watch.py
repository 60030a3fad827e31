"""How long a connection may be idle, and how long a message in it may be unfinished."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ._alarm import Alarm

__all__ = ["Watch"]


class Watch:
    """Watches over both with one timer, which is moved only when it fires: activity costs no timer.

    Args:
        idle: seconds without activity after which `expired` is called.
        message: seconds from the beginning of a message after which `expired` is called, unless it has ended.
        expired: called once; the watch has ended then.
    """

    def __init__(self, idle: float, message: float, expired: Callable[[], None]) -> None:
        self._idle = idle
        self._message = message
        self._expired = expired
        self._loop = asyncio.get_running_loop()
        self._alarm = Alarm(self._look)
        self._active = 0.0
        self._partial_since: float | None = None

    def active(self) -> None:
        """Something was read or written."""
        self._active = self._loop.time()
        self._alarm.set(self._deadline())

    def message_began(self) -> None:
        """A part of a message has come, now or before."""
        if self._partial_since is None:
            self._partial_since = self._active
            self._alarm.set(self._deadline())

    def message_ended(self) -> None:
        """The message is whole."""
        self._partial_since = None

    def end(self) -> None:
        """Watch no longer."""
        self._alarm.cancel()

    def _deadline(self) -> float:
        deadline = self._active + self._idle
        if self._partial_since is not None:
            deadline = min(deadline, self._partial_since + self._message)
        return deadline

    def _look(self) -> None:
        if self._loop.time() < self._deadline():
            self._alarm.set(self._deadline())
        else:
            self._expired()
