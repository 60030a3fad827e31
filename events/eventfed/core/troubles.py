"""What the bus does not do for us at present, though it may let us in. No I/O."""

import enum
import logging
import re
from collections.abc import Callable, Iterator

__all__ = ["Trouble", "Troubles"]

_log = logging.getLogger("eventfed.federation")
_REMEMBER = 60.0
"""For how long, in seconds, a reason that went away is not worth another line when it comes back."""
_MAX_REASONS = 64
_SUBJECT = re.compile(r'"[^"\s]*"')


def _beginning(subject: re.Match[str]) -> str:
    """The first tokens of a subject in quotes: those behind are names, or chance."""
    tokens = subject[0].split(".")
    return ".".join(tokens[: 1 if tokens[0].upper() == '"_INBOX' else 4])


class Trouble(enum.StrEnum):
    """The kinds, the one that explains the others first.

    PERMISSION: we lack one. CONNECTION: there is none, or it does not answer. STREAM: it cannot be read or made.
    CONFIGURATION: it is made otherwise than we need it. REFUSED: publications are refused. UNACKNOWLEDGED: they are not
    answered.
    """

    PERMISSION = "permission"
    CONNECTION = "connection"
    STREAM = "stream"
    CONFIGURATION = "configuration"
    REFUSED = "refused"
    UNACKNOWLEDGED = "unacknowledged"


_BLIND = (Trouble.CONNECTION, Trouble.STREAM)
"""While there is one of these, nothing is known of the others."""


class Troubles:
    """One reason for each kind that there is. Each reason is logged once, and its end as well.

    Only the end of the last one is told as "NATS works again". While there is no connection, or the stream cannot be
    read, nothing is known of the other kinds: the end of such a reason is told once there is one again.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._reasons: dict[Trouble, str] = {}
        self._logged: dict[tuple[Trouble, str], float] = {}
        self._ended: set[Trouble] = set()
        """Kinds whose end is not logged yet."""

    def __iter__(self) -> Iterator[tuple[Trouble, str]]:
        """(kind, reason) of all that there are, the one that explains the others first."""
        return ((kind, self._reasons[kind]) for kind in Trouble if kind in self._reasons)

    def __contains__(self, kind: Trouble) -> bool:
        return kind in self._reasons

    @property
    def first(self) -> str | None:
        """The reason that explains the others; None if all is well."""
        return next((reason for _, reason in self), None)

    def note(self, kind: Trouble, reason: str, *, alike: str | None = None) -> None:
        """Something is wrong.

        Args:
            reason: for people.
            alike: equal for reasons that differ in a number or a name alone; they are logged once. Absent: the reason
                with the beginnings of its subjects.
        """
        new = kind not in self._reasons
        self._reasons[kind] = reason
        self._ended.discard(kind)
        key, now = (kind, _SUBJECT.sub(_beginning, reason) if alike is None else alike), self._clock()
        if key not in self._logged or (new and now - self._logged[key] > _REMEMBER):
            _log.warning("%s", reason)
        if len(self._logged) >= _MAX_REASONS and key not in self._logged:
            del self._logged[min(self._logged, key=self._logged.__getitem__)]
        self._logged[key] = now

    def mended(self, *kinds: Trouble) -> None:
        """It is well again, or there is nothing left of which it could be said."""
        ended = {kind for kind in kinds if self._reasons.pop(kind, None) is not None}
        if not ended:
            return
        self._ended |= ended
        if any(kind in self._reasons for kind in _BLIND):
            return
        told = ", ".join(kind.value for kind in Trouble if kind in self._ended)
        self._ended.clear()
        if self._reasons:
            _log.info("NATS: %s no more; still: %s", told, ", ".join(kind.value for kind, _ in self))
        else:
            _log.info("NATS works again: %s no more", told)
