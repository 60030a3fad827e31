"""Whether the operator sees what it should see. No I/O."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

__all__ = ["STALLED_AFTER", "Health", "WatchAudit"]

STALLED_AFTER = 120.0
"""A watch that has not told of a change for so many seconds, which a list shows, is dead."""


@dataclass(slots=True)
class _Lag:
    heard: str | None
    since: float


class WatchAudit:
    """Compares what a watch has told with what a list shows: a watch can stand still with its connection open.

    Versions are compared for equality alone. An object that changes all the time lags all the time, but what was heard
    of it changes as well; only one of which nothing new is heard counts.
    """

    def __init__(self) -> None:
        self._heard: dict[str, str] = {}
        self._lags: dict[str, _Lag] = {}

    def heard(self, uid: str, version: str) -> None:
        """The watch told of an object."""
        self._heard[uid] = version

    def gone(self, uid: str) -> None:
        """The watch told that an object is gone."""
        self._heard.pop(uid, None)

    def compare(self, listed: Mapping[str, str], now: float) -> None:
        """A list shows these versions, by UID."""
        lagging = {uid for uid, version in listed.items() if self._heard.get(uid) != version}
        lagging |= self._heard.keys() - listed.keys()
        self._lags = {uid: self._lag(uid, now) for uid in lagging}

    def _lag(self, uid: str, now: float) -> _Lag:
        heard, before = self._heard.get(uid), self._lags.get(uid)
        return before if before is not None and before.heard == heard else _Lag(heard, now)

    def standing(self, now: float) -> float:
        """For how many seconds the watch has lagged; 0 if it does not."""
        return max((now - lag.since for lag in self._lags.values()), default=0.0)


@dataclass(slots=True)
class Health:
    """What the endpoints tell of.

    Args:
        contact: whether the API server has answered once.
        leading: whether this operator acts; one that waits for the Lease is healthy and ready as well.
        watches: of EventFederations.
    """

    contact: bool = False
    leading: bool = False
    watches: WatchAudit = field(default_factory=WatchAudit)

    def problems(self, now: float) -> Iterable[str]:
        """Why the process should be started again; nothing if it is well.

        An API server that is away is no reason: lists fail then as well, so nothing shows that the watch lags.
        """
        standing = self.watches.standing(now)
        if self.leading and standing > STALLED_AFTER:
            yield f"the watch of EventFederations has stood still for {standing:.0f} s"
