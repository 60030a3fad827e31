"""The pace of retries: when to ask somebody again who refused, or did not answer.

Every retry in eventfed waits for a `Backoff`; `tests/unit/test_retries.py` lists them all and finds those that do not.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager

__all__ = ["Backoff", "Turns", "until_due"]

_SPREAD = 0.5


class Backoff:
    """The pauses between the attempts of one retry. Times are seconds of one monotonic clock.

    The first pause is `floor`; each failure doubles it, up to `limit`. Chance adds up to half of a pause, so that many
    who lost the same server do not come back at the same moment. Nothing makes a pause shorter than the floor. A
    success takes the growth back only if it lasted for `limit` before the next failure: who accepts and fails at once,
    again and again, is not asked more often than who refuses.

    Args:
        floor: the shortest pause.
        limit: the longest pause, without what chance adds.
        draw: a number from 0 to 1 by chance; tests give their own.
    """

    def __init__(self, floor: float, limit: float, *, draw: Callable[[], float] = random.random) -> None:
        if not 0 < floor <= limit:
            raise ValueError(f"a pause must be positive, and {floor:g} s is not from 0 s to {limit:g} s")
        self.floor = floor
        self.limit = limit
        self.due = float("-inf")
        """When the next attempt may be made; in the past where nothing has failed."""
        self._draw = draw
        self._next = floor
        self._failed_at = float("-inf")
        self._well_since: float | None = None

    def failed(self, now: float, *, at_least: float = 0.0) -> float:
        """An attempt failed, or what it began has ended. Returns how long to wait.

        Failures that come while a pause is under way are of attempts from before it: they do not make it longer.

        Args:
            at_least: how long the other side asked us to wait (``Retry-After``).
        """
        if self._well_since is not None and now - self._well_since >= self.limit:
            self._next = self.floor
        self._well_since = None
        if now >= self.due:
            self._failed_at = now
            self.due = now + self._next * (1 + _SPREAD * self._draw())
            self._next = min(2 * self._next, self.limit)
        self.due = max(self.due, now + at_least)
        return self.due - now

    def succeeded(self, now: float) -> None:
        """An attempt succeeded: nothing has to wait now."""
        if self._well_since is None:
            self._well_since = now
        self.due = min(self.due, now)

    def rest(self, now: float) -> float:
        """An attempt succeeded, and is not to be made again at once. Returns how long to wait."""
        pause = self.failed(now)
        self._well_since = now
        return pause

    def hurry(self, now: float) -> None:
        """Something has changed, so the next attempt may succeed: it may be made as soon as the floor allows."""
        self._next = self.floor
        self.due = min(self.due, max(now, self._failed_at + self.floor))

    def left(self, now: float) -> float:
        """How long to wait still; 0 if the next attempt may be made."""
        return max(0.0, self.due - now)


async def until_due(backoff: Backoff, evidence: asyncio.Event | None = None) -> None:
    """Wait until the next attempt may be made. The backoff's times are those of the running event loop.

    Args:
        evidence: set when something has changed, which hurries the attempt (`Backoff.hurry`).
    """
    clock = asyncio.get_running_loop().time
    if evidence is not None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(backoff.left(clock())):
                await evidence.wait()
            backoff.hurry(clock())
    # A timer may fire a moment too early by the clock that counts here.
    while (left := backoff.left(clock())) > 0:  # noqa: ASYNC110
        await asyncio.sleep(left)


class Turns:
    """Which questions may go to one peer while it refuses them, or does not answer.

    A peer is asked over several streams. A stream whose last question was accepted asks as it likes. All others take
    turns: one question is under way at a time, and after a failure none for the pause of one `Backoff`. So a peer that
    refuses gets one question in `floor` seconds at most, however many streams there are.

    Args:
        floor, limit: of the `Backoff`, in seconds.
        backoff: in place of one of these seconds.
    """

    def __init__(self, floor: float, limit: float, *, backoff: Backoff | None = None) -> None:
        self._backoff = backoff if backoff is not None else Backoff(floor, limit)
        self._accepted: set[Hashable] = set()
        self._failed: set[Hashable] = set()
        self._proven = False
        self._one = asyncio.Lock()
        self._hurried = asyncio.Event()

    @classmethod
    def of(cls, backoff: Backoff) -> "Turns":
        """Turns whose pauses are those of a backoff: it may outlive the event loop, which turns cannot."""
        return cls(backoff.floor, backoff.limit, backoff=backoff)

    @asynccontextmanager
    async def turn(self, stream: Hashable) -> AsyncIterator[None]:
        """While the context is open, ask one question; say how it went before it is closed."""
        if self._is_free(stream):
            yield
            return
        async with self._one:
            if not self._is_free(stream):
                self._hurried.clear()
                await until_due(self._backoff, self._hurried)
            yield

    def succeeded(self, stream: Hashable) -> None:
        """A question was accepted."""
        if stream not in self._accepted:
            self._backoff.succeeded(_now())
        self._accepted.add(stream)
        self._failed.discard(stream)
        self._proven = True

    def failed(self, stream: Hashable, *, only: bool = False, at_least: float = 0.0) -> None:
        """A question was refused, or not answered.

        Args:
            only: it says nothing of streams that were not tried yet.
            at_least: how long the peer asked us to wait.
        """
        self._accepted.discard(stream)
        self._failed.add(stream)
        self._proven = self._proven and only
        self._backoff.failed(_now(), at_least=at_least)

    def left(self, stream: Hashable) -> float:
        """How many seconds the stream has to wait."""
        return 0.0 if self._is_free(stream) else self._backoff.left(_now())

    def hurry(self) -> None:
        """The peer has changed: it may be asked again as soon as `floor` has passed since it failed."""
        self._backoff.hurry(_now())
        self._hurried.set()

    def _is_free(self, stream: Hashable) -> bool:
        return stream in self._accepted or (self._proven and stream not in self._failed)


def _now() -> float:
    return asyncio.get_running_loop().time()
