"""An event loop whose clock jumps to the next timer, so that an hour of pauses takes a moment."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["in_fake_time"]

_T = TypeVar("_T")


class _JumpingLoop(asyncio.SelectorEventLoop):
    """For what waits for timers alone: sockets and threads get no time here."""

    def __init__(self) -> None:
        self._jumped = 0.0
        super().__init__()

    def time(self) -> float:
        return self._jumped

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            self._jumped = max(self._jumped, self._scheduled[0].when())  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


def in_fake_time(main: Coroutine[Any, Any, _T], *, at_most: float = 86_400.0) -> _T:
    """Run `main` to its end; TimeoutError after `at_most` seconds of its own time."""

    async def limited() -> _T:
        async with asyncio.timeout(at_most):
            return await main

    with asyncio.Runner(loop_factory=_JumpingLoop) as runner:
        return runner.run(limited())
