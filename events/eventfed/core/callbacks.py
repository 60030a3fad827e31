"""Callbacks that are called from the event loop, never from within what happens."""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["Callbacks", "call_soon"]

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
