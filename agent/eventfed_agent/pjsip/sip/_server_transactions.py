"""Non-INVITE server transactions (RFC 3261 17.2.2), without I/O: however often a request comes, it is handled once."""

from __future__ import annotations

import enum
from collections import OrderedDict
from dataclasses import dataclass

from ._addresses import Address
from ._messages import Request
from ._via import MAGIC_COOKIE

__all__ = ["Arrival", "ServerTransactions", "TransactionKey"]

TransactionKey = tuple[str, ...]


class Arrival(enum.Enum):
    """What a received request is."""

    NEW = "new"
    UNANSWERED = "unanswered"
    ANSWERED = "answered"


@dataclass(frozen=True, slots=True)
class _Answered:
    data: bytes
    until: float


class ServerTransactions:
    """The transactions of one user agent.

    An answer is kept for `lifetime` seconds (Timer J, 64*T1) after it was given over UDP, and not at all over TCP,
    which sends nothing twice. An unanswered request is remembered equally long: its client has then given up. Of
    `capacity` transactions at most, the oldest goes first, answered ones before unanswered; `evicted` counts them.
    """

    def __init__(self, lifetime: float = 32.0, capacity: int = 20_000) -> None:
        self._lifetime = lifetime
        self._capacity = capacity
        # Both in the order in which they end, since every lifetime is the same. Not dict: looking for the first key of
        # a dict walks over all that were deleted before it.
        self._unanswered: OrderedDict[TransactionKey, float] = OrderedDict()
        self._answered: OrderedDict[TransactionKey, _Answered] = OrderedDict()
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._unanswered) + len(self._answered)

    @staticmethod
    def key(request: Request, source: Address) -> TransactionKey:
        """Branch, sent-by and method (17.2.3), and the host it came from, so that nobody can take up another's branch.

        Without the magic cookie (RFC 2543) Call-ID, CSeq and From take the branch's place.
        """
        via = request.via
        host, port = via.sent_by
        if via.branch.startswith(MAGIC_COOKIE):
            return (via.branch, host, str(port), request.method, source.host)
        return (
            request.call_id,
            str(request.cseq),
            request.header("From") or "",
            host,
            str(port),
            request.method,
            source.host,
        )

    def receive(self, key: TransactionKey, now: float) -> tuple[Arrival, bytes | None]:
        """Take in a request; with ANSWERED comes the answer to send again."""
        answered = self._answered.get(key)
        if answered is not None and answered.until > now:
            return Arrival.ANSWERED, answered.data
        if key in self._unanswered and self._unanswered[key] > now:
            return Arrival.UNANSWERED, None
        self.expire(now)
        if len(self) >= self._capacity:
            self._evict()
        self._unanswered[key] = now + self._lifetime
        return Arrival.NEW, None

    def answer(self, key: TransactionKey, data: bytes, *, reliable: bool, now: float) -> bool:
        """Keep the answer to a request; False if it is no longer waited for."""
        if self._unanswered.pop(key, None) is None:
            return False
        if not reliable:
            self._answered[key] = _Answered(data, now + self._lifetime)
        return True

    def forget(self, key: TransactionKey) -> None:
        """Forget a request that gets no answer: its retransmission will be NEW again."""
        self._unanswered.pop(key, None)

    def expire(self, now: float) -> None:
        """Let go of everything whose lifetime is over."""
        while self._answered:
            key = next(iter(self._answered))
            if self._answered[key].until > now:
                break
            del self._answered[key]
        while self._unanswered:
            key = next(iter(self._unanswered))
            if self._unanswered[key] > now:
                break
            del self._unanswered[key]

    def next_deadline(self) -> float | None:
        """When `expire` has something to do."""
        deadlines: list[float] = []
        if self._answered:
            deadlines.append(next(iter(self._answered.values())).until)
        if self._unanswered:
            deadlines.append(next(iter(self._unanswered.values())))
        return min(deadlines, default=None)

    def _evict(self) -> None:
        if self._answered:
            self._answered.popitem(last=False)
        else:
            self._unanswered.popitem(last=False)
        self.evicted += 1
