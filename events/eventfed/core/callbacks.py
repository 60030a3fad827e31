"""Callbacks that are called from the event loop, never from within what happens."""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["Callbacks", "Notifier", "call_soon"]

_T = TypeVar("_T")


def call_soon(callback: Callable[[_T], None], argument: _T) -> None:
    """Call it from the event loop: what it raises is the loop's affair (its exception handler), not the caller's."""
    asyncio.get_running_loop().call_soon(callback, argument)


class Callbacks(Generic[_T]):
    """Those who want to be called."""

    def __init__(self) -> None:
        self._callbacks: list[Callable[[_T], None]] = []

    def __bool__(self) -> bool:
        return bool(self._callbacks)

    def add(self, callback: Callable[[_T], None]) -> Callable[[], None]:
        """Add one; the result takes it away again."""
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback) if callback in self._callbacks else None

    def call(self, argument: _T) -> None:
        for callback in tuple(self._callbacks):
            call_soon(callback, argument)


class Notifier:
    """Calls its listeners once for many changes.

    Args:
        soon: runs a callback a little later; by default at once.
    """

    def __init__(self, soon: Callable[[Callable[[], None]], object] | None = None) -> None:
        self.listeners: list[Callable[[], None]] = []
        self.waits = False
        """Whether they will be called already."""
        self._soon = soon or (lambda callback: callback())

    def listen(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` after changes; the result ends that."""
        self.listeners.append(callback)
        return lambda: self.listeners.remove(callback) if callback in self.listeners else None

    def notify(self) -> None:
        """Something changed."""
        if self.listeners and not self.waits:
            self.waits = True
            self._soon(self._call)

    def _call(self) -> None:
        # First: what a listener changes is told by another call.
        self.waits = False
        for callback in tuple(self.listeners):
            callback()
