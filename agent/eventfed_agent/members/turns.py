"""Which questions may go to a member while it refuses them, or does not answer."""

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

from eventfed.pace import Backoff, until_due

from ..adapter import AdapterOutcome, Delivery

__all__ = ["Turns"]

_FLOOR = 1.0
_LIMIT = 10.0
_UNREADABLE = 500
"""Asterisk's word for one body that it cannot read (``res_pjsip_pubsub.c``, ``publish_request_initial``)."""


class Turns:
    """One member is asked over several streams: one for each publication in it.

    A stream whose last question was accepted asks as it likes. All others take turns: one question is under way at a
    time, and after a failure none for the pause of one `Backoff`, at least a second. So a member that refuses gets one
    question a second at most, however many streams there are.
    """

    def __init__(self) -> None:
        self._backoff = Backoff(_FLOOR, _LIMIT)
        self._accepted: set[Hashable] = set()
        self._failed: set[Hashable] = set()
        self._proven = False
        self._one = asyncio.Lock()
        self._hurried = asyncio.Event()

    @asynccontextmanager
    async def turn(self, stream: Hashable) -> AsyncIterator[None]:
        """While the context is open, ask one question; tell `ended` how it went before it is closed."""
        if self._is_free(stream):
            yield
            return
        async with self._one:
            if not self._is_free(stream):
                self._hurried.clear()
                await until_due(self._backoff, self._hurried)
            yield

    def ended(self, stream: Hashable, outcome: AdapterOutcome) -> None:
        """The answer to a question, or that there is none."""
        if outcome.delivery is Delivery.ACCEPTED:
            if stream not in self._accepted:
                self._backoff.succeeded(_now())
            self._accepted.add(stream)
            self._failed.discard(stream)
            self._proven = True
            return
        self._accepted.discard(stream)
        self._failed.add(stream)
        # All other refusals are about the member's configuration, and so about streams that were not tried yet.
        self._proven = self._proven and outcome.status == _UNREADABLE
        self._backoff.failed(_now())

    def left(self, stream: Hashable) -> float:
        """How many seconds the stream has to wait."""
        return 0.0 if self._is_free(stream) else self._backoff.left(_now())

    def hurry(self) -> None:
        """The member has changed: it may be asked again as soon as a second has passed since it failed."""
        self._backoff.hurry(_now())
        self._hurried.set()

    def _is_free(self, stream: Hashable) -> bool:
        return stream in self._accepted or (self._proven and stream not in self._failed)


def _now() -> float:
    return asyncio.get_running_loop().time()
