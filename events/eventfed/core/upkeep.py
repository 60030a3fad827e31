"""When own states are published again though nobody changed them: corrections and renewals. No I/O."""

from collections import deque
from collections.abc import Iterator

from ..model.event import StateKey
from .own_states import OwnState
from .settings import FederationSettings

__all__ = ["Corrections", "Renewals"]


class Corrections:
    """Each state is corrected at most once in `FederationSettings.correction_interval`; what comes sooner waits.

    Two clients that both believe that they own a state would else answer each other without a pause.
    """

    def __init__(self) -> None:
        self._waiting: dict[StateKey, OwnState] = {}

    def take(self, own: OwnState, now: float, interval: float) -> bool:
        """Whether to correct it now; else `due` gives it once it may be."""
        if now - own.corrected_at < interval:
            self._waiting[own.key] = own
            return False
        own.corrected_at = now
        return True

    def due(self, now: float, interval: float) -> list[OwnState]:
        """Those that waited long enough; they wait no longer."""
        due = [own for own in self._waiting.values() if own.corrected_at + interval <= now]
        for own in due:
            del self._waiting[own.key]
        return due

    def forget(self, key: StateKey) -> None:
        self._waiting.pop(key, None)


class Renewals:
    """A walk through all own states, once in a third of their TTL, a few at each tick.

    So two renewals may fail before a state lapses, and the load is even.
    """

    def __init__(self) -> None:
        self._round: deque[OwnState] = deque()
        self._debt = 0.0

    def add(self, own: OwnState) -> None:
        self._round.append(own)

    def turn(self, settings: FederationSettings) -> Iterator[OwnState]:
        """Those whose turn it is at this tick. What is not given back by `add` leaves the round."""
        self._debt += len(self._round) * 3 * settings.tick / settings.state_ttl
        while self._debt >= 1 and self._round:
            self._debt -= 1
            yield self._round.popleft()
