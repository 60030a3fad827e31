"""How often the API server is asked while it refuses."""

from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

from eventfed.pace import Backoff, Turns

__all__ = ["ApiPace", "wished_pause"]

_FLOOR, _LIMIT = 1.0, 5.0
_LONGEST_WISH = 60.0


class ApiPace:
    """When a question may go to the API server.

    A question is what a watch, a list or a look asks, again and again. What says nothing of the question itself (no
    answer, 401, 429, 5xx) holds all of them back. Another refusal holds back the questions that were refused: they
    take turns, so that all of them together are asked once a second at most.

    Args:
        before: the pace of an event loop that has ended; its pauses go on.
    """

    def __init__(self, before: "ApiPace | None" = None) -> None:
        self._of_all: Backoff = before._of_all if before is not None else Backoff(_FLOOR, _LIMIT)
        self._of_refused: Backoff = before._of_refused if before is not None else Backoff(_FLOOR, _LIMIT)
        self._watches: dict[Hashable, Backoff] = before._watches if before is not None else {}
        self._all = Turns.of(self._of_all)
        self._refused = Turns.of(self._of_refused)

    @asynccontextmanager
    async def turn(self, question: Hashable) -> AsyncIterator[None]:
        """While the context is open, ask; say how it went before it is closed."""
        async with self._refused.turn(question), self._all.turn(self):
            yield

    def accepted(self, question: Hashable) -> None:
        """The API server answered."""
        self._all.succeeded(self)
        self._refused.succeeded(question)

    def refused(self, question: Hashable) -> None:
        """The API server does not want this question."""
        self._all.succeeded(self)
        self._refused.failed(question, only=True)

    def failed(self, at_least: float = 0.0) -> None:
        """The API server answers nobody at the moment.

        Args:
            at_least: for how many seconds it asked not to be asked again.
        """
        self._all.failed(self, at_least=at_least)

    def of_watch(self, watch: Hashable) -> Backoff:
        """The pauses between the beginnings of one watch: a server may accept each, and close it at once."""
        return self._watches.setdefault(watch, Backoff(_FLOOR, _LIMIT))


def wished_pause(retry_after: str | None) -> float:
    """A ``Retry-After`` in seconds, which is what API servers send (RFC 9110, 10.2.3); 0 for anything else."""
    wish = retry_after or ""
    return min(float(wish), _LONGEST_WISH) if wish.isascii() and wish.isdecimal() else 0.0
