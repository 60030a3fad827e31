"""For how long tombstones are remembered. No I/O."""

from collections import deque
from collections.abc import Callable, Iterator

from ..model.event import StateKey

__all__ = ["TombstoneMemory"]


class TombstoneMemory:
    """Tombstones in the order in which they were made, each with the time until which it is remembered.

    Args:
        ttl: in seconds.
        clock: seconds, monotonic.
    """

    def __init__(self, ttl: float, clock: Callable[[], float]) -> None:
        self.ttl = ttl
        self._clock = clock
        self._expiries: deque[tuple[float, StateKey, int]] = deque()

    def add(self, key: StateKey, revision: int) -> None:
        """A tombstone was made.

        Args:
            revision: of the state at that time; a later one says that it is another tombstone, or none.
        """
        self._expiries.append((self._clock() + self.ttl, key, revision))

    def old(self) -> Iterator[tuple[StateKey, int]]:
        """Those whose time has come, once each. A `ttl` that was shortened counts for later ones."""
        now = self._clock()
        while self._expiries and self._expiries[0][0] <= now:
            _, key, revision = self._expiries.popleft()
            yield key, revision
