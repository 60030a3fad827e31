"""Non-INVITE client transactions (RFC 3261 17.1.2), without I/O: time is passed in, bytes to send come out."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

from ._messages import Response

__all__ = ["ClientTimers", "ClientTransactions", "Due"]

# Deadlines of ended transactions that may wait in the heap.
_STALE = 4_096


@dataclass(frozen=True, slots=True)
class ClientTimers:
    """Seconds. Timer E starts at `t1` and doubles up to `t2`; Timer F is `timeout`.

    A retransmission that is due for more than `overdue` is not sent: the process stood still meanwhile, and what
    it wanted to tell is old.
    """

    t1: float = 0.5
    t2: float = 4.0
    timeout: float = 32.0
    overdue: float = 2.0


@dataclass(slots=True)
class _Transaction:
    data: bytes
    method: str
    reliable: bool
    ends: float
    interval: float
    due: float


@dataclass(frozen=True, slots=True)
class Due:
    """What the clock asks for: data to send again by branch, and the branches that timed out."""

    retransmissions: list[tuple[str, bytes]] = field(default_factory=list)
    timeouts: list[str] = field(default_factory=list)


class ClientTransactions:
    """All client transactions of one user agent, found by the branch that each of them has alone."""

    def __init__(self, timers: ClientTimers = ClientTimers()) -> None:
        self._timers = timers
        self._transactions: dict[str, _Transaction] = {}
        self._heap: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._transactions)

    def start(self, branch: str, method: str, data: bytes, *, reliable: bool, now: float) -> None:
        """Begin a transaction whose request was sent at `now`. On a reliable transport nothing is sent again."""
        ends = now + self._timers.timeout
        due = ends if reliable else min(ends, now + self._timers.t1)
        self._transactions[branch] = _Transaction(data, method, reliable, ends, self._timers.t1, due)
        heapq.heappush(self._heap, (due, branch))
        if len(self._heap) > 2 * len(self._transactions) + _STALE:
            self._heap = [(known.due, name) for name, known in self._transactions.items()]
            heapq.heapify(self._heap)

    def receive(self, response: Response, now: float) -> str | None:
        """The branch of the transaction which this final response ends.

        None for provisional responses and for those that fit no transaction (17.1.3: branch and CSeq method).
        """
        branch = response.via.branch
        transaction = self._transactions.get(branch)
        if transaction is None or transaction.method != response.cseq_method:
            return None
        if response.status < 200:
            # Proceeding: from here on Timer E runs at T2.
            transaction.interval = self._timers.t2
            return None
        del self._transactions[branch]
        return branch

    def end(self, branch: str) -> None:
        """Forget a transaction: its request was given up or could not be sent."""
        self._transactions.pop(branch, None)

    def next_deadline(self) -> float | None:
        """When `due` wants to be called next."""
        heap, transactions = self._heap, self._transactions
        while heap:
            deadline, branch = heap[0]
            transaction = transactions.get(branch)
            if transaction is not None and transaction.due == deadline:
                return deadline
            heapq.heappop(heap)
        return None

    def due(self, now: float) -> Due:
        """Everything whose deadline has come."""
        due = Due()
        while (deadline := self.next_deadline()) is not None and deadline <= now:
            _, branch = heapq.heappop(self._heap)
            transaction = self._transactions[branch]
            if now >= transaction.ends or now - deadline > self._timers.overdue:
                del self._transactions[branch]
                due.timeouts.append(branch)
                continue
            due.retransmissions.append((branch, transaction.data))
            transaction.interval = min(2 * transaction.interval, self._timers.t2)
            transaction.due = min(now + transaction.interval, transaction.ends)
            heapq.heappush(self._heap, (transaction.due, branch))
        return due
