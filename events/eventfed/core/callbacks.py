"""Callbacks that are called when what happens has been taken in whole, most of them from the event loop."""

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
    """Calls its listeners a little later, once for many changes, and its followers before that.

    Args:
        soon: runs a callback a little later; by default at once.
    """

    def __init__(self, soon: Callable[[Callable[[], None]], object] | None = None) -> None:
        self.listeners: list[Callable[[], None]] = []
        self.followers: list[Callable[[], None]] = []
        self._waits = False
        self._untold = False
        self._soon = soon or (lambda callback: callback())

    def listen(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` after changes; the result ends that."""
        return _add(self.listeners, callback)

    def follow(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` from `tell`, and at the latest before the listeners; the result ends that."""
        return _add(self.followers, callback)

    def notify(self) -> None:
        """Something changed."""
        self._untold = True
        if not self._waits and (self.listeners or self.followers):
            self._waits = True
            self._soon(self._call)

    def tell(self) -> None:
        """Call the followers if something changed since they were called last."""
        if self._untold:
            self._untold = False
            for callback in tuple(self.followers):
                callback()

    def _call(self) -> None:
        # First: what a listener changes is told by another call.
        self._waits = False
        self.tell()
        for callback in tuple(self.listeners):
            callback()


def _add(callbacks: list[Callable[[], None]], callback: Callable[[], None]) -> Callable[[], None]:
    callbacks.append(callback)
    return lambda: callbacks.remove(callback) if callback in callbacks else None
