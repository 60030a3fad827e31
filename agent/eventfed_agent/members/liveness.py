"""Whether a member is there."""

import asyncio
import random
from collections.abc import Awaitable, Callable

from ..configuration import TimingSection

__all__ = ["Liveness"]


class Liveness:
    """A member lives while it answers our own requests, or speaks.

    ``Expires: 0`` says goodbye before it stops answering. That it is silent proves nothing.

    Args:
        ask: whether the member answers a request within so many seconds.
        on_alive: it answers (again).
        on_lost: it does not, and why.
    """

    def __init__(
        self,
        timing: TimingSection,
        ask: Callable[[float], Awaitable[bool]],
        on_alive: Callable[[], None],
        on_lost: Callable[[str], None],
    ) -> None:
        self.timing = timing
        self._ask = ask
        self._on_alive = on_alive
        self._on_lost = on_lost
        self._goodbye_at: float | None = None
        self._misses = 0
        self.alive = False
        self.last_heard = float("-inf")

    def spoke(self) -> None:
        """The member published something."""
        self.last_heard = self._now()
        self._goodbye_at = None
        self._misses = 0
        self._set_alive()

    def said_goodbye(self) -> None:
        """``Expires: 0``: it stops."""
        self.last_heard = self._goodbye_at = self._now()
        self._lose("it said goodbye")

    async def run(self) -> None:
        """Ask at each period, spread a little, until cancelled."""
        while True:
            period = self.timing.keep_alive
            before = self._now()
            if await self._ask(period * 0.8):
                self._misses = 0
                # What stops still answers for a moment.
                if self._goodbye_at is None or before - self._goodbye_at > 2 * period:
                    self._goodbye_at = None
                    self._set_alive()
            elif self.last_heard < before:
                self._misses += 1
                if self._misses >= self.timing.keep_alive_misses:
                    self._lose("no answer")
            await asyncio.sleep(max(0.0, before + period * random.uniform(0.9, 1.1) - self._now()))

    def _set_alive(self) -> None:
        if not self.alive:
            self.alive = True
            self._on_alive()

    def _lose(self, why: str) -> None:
        if self.alive:
            self.alive = False
            self._on_lost(why)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
