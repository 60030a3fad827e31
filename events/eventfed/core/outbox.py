"""The publisher's core: the latest value per subject, one in flight per subject, a window, deadlines. No I/O.

What counts is the acknowledgement alone: without one the *latest* value is sent again, and readers drop what is older.

A value that the bus refuses, or does not answer, is set aside: the others go on, and those that are aside are tried a
few at a time, with growing pauses; once the bus takes one, twice as many each time. So a bus that takes nothing is
asked seldom, and one bad value delays no other.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol

from ..pace import Backoff
from .counters import FederationCounters
from .messages import Message, Refusal

__all__ = ["Outbox", "OutboxEntry"]

_LONGEST_DEADLINE = 4
"""How many times longer a slow bus may take than one that is well, before what was sent is sent again."""


class OutboxEntry(Protocol):
    """Something to be stored under one subject."""

    @property
    def subject(self) -> str: ...

    @property
    def urgent(self) -> bool:
        """Whether it goes before all that is not."""

    def build(self) -> Message | None:
        """The message as it is now, asked for when it is sent; None if there is nothing to send any more."""

    def stored(self, sequence: int) -> None:
        """It is on the stream."""

    def refused(self, refusal: Refusal) -> bool:
        """It is not. Returns whether to send it again after a pause."""


class _Flight(NamedTuple):
    entry: OutboxEntry
    sent: float
    is_trial: bool


class _Unwell:
    """The subjects of which the bus does not take what is published."""

    def __init__(self) -> None:
        self.refusals: dict[str, str] = {}
        self.unanswered: dict[str, None] = {}

    def forget(self, subject: str) -> None:
        """All is well there, or nothing is to be published."""
        self.refusals.pop(subject, None)
        self.unanswered.pop(subject, None)


class Outbox:
    """What is still to be published.

    Args:
        window: how many may be in flight.
        deadline: when one is given up and sent again, in seconds; up to four times that while the bus is slow.
        pause: the first pause before what was refused is tried again, in seconds.
        pause_limit: the longest pause, without what chance adds.
        counters: where everything is counted.
    """

    def __init__(
        self,
        *,
        window: int,
        deadline: float,
        pause: float,
        pause_limit: float | None = None,
        counters: FederationCounters | None = None,
    ) -> None:
        self._window = window
        self._deadline = self._patience = deadline
        self._backoff = Backoff(pause, max(pause, pause_limit or pause))
        self.counters = counters if counters is not None else FederationCounters()
        self._urgent: OrderedDict[str, OutboxEntry] = OrderedDict()
        self._waiting: OrderedDict[str, OutboxEntry] = OrderedDict()
        self._aside: OrderedDict[str, OutboxEntry] = OrderedDict()
        self._flights: OrderedDict[str, _Flight] = OrderedDict()
        self._subjects: dict[str, str] = {}
        self._number = 0
        self._trials = 0
        self._at_once = 1
        self._unwell = _Unwell()
        self.on_put: Callable[[], None] = lambda: None
        """Called whenever there is something more to send."""

    @property
    def refusals(self) -> Mapping[str, str]:
        """Subject → why the bus refuses what stands under it, until it takes it. Read only."""
        return MappingProxyType(self._unwell.refusals)

    @property
    def unanswered(self) -> Mapping[str, None]:
        """Subjects of which the bus let the deadline pass, until it answers. Read only."""
        return MappingProxyType(self._unwell.unanswered)

    def __len__(self) -> int:
        """How many subjects are waiting or in flight."""
        return len(self._urgent) + len(self._waiting) + len(self._aside) + len(self._flights)

    def put(self, entry: OutboxEntry) -> None:
        """Publish soon; what waited under the same subject is dropped."""
        queue = self._urgent if entry.urgent else self._waiting
        queue[entry.subject] = entry
        self._aside.pop(entry.subject, None)
        self.on_put()

    def withdraw(self, subject: str) -> None:
        """Do not publish what waits under this subject. What is in flight stays so until answered."""
        for queue in (self._urgent, self._waiting, self._aside):
            queue.pop(subject, None)
        self._unwell.forget(subject)

    def take(self, now: float) -> list[tuple[str, str, Message]]:
        """(token, subject, message) of all that may be sent now; each is in flight from then on."""
        taken: list[tuple[str, str, Message]] = []
        for queue in (self._urgent, self._waiting):
            self._take_from(queue, taken, now, is_trial=False, most=self._window)
        if self._aside and not self._trials and self._backoff.left(now) <= 0:
            self._take_from(self._aside, taken, now, is_trial=True, most=self._at_once)
        return taken

    def _take_from(
        self,
        queue: OrderedDict[str, OutboxEntry],
        taken: list[tuple[str, str, Message]],
        now: float,
        *,
        is_trial: bool,
        most: int,
    ) -> None:
        held: list[OutboxEntry] = []
        while queue and most > 0 and len(self._flights) < self._window:
            subject, entry = queue.popitem(last=False)
            if subject in self._subjects:
                held.append(entry)
                continue
            message = entry.build()
            if message is None:
                self._unwell.forget(subject)
                continue
            most -= 1
            self._number += 1
            token = str(self._number)
            self._flights[token] = _Flight(entry, now, is_trial)
            self._subjects[subject] = token
            self._trials += is_trial
            self.counters.published += 1
            taken.append((token, subject, message))
        for entry in reversed(held):
            queue[entry.subject] = entry
            queue.move_to_end(entry.subject, last=False)

    def answer(self, token: str, answer: int | Refusal, now: float) -> None:
        """What the bus says of a flight: the sequence under which it was stored, or why it was not."""
        flight = self._flights.get(token)
        if flight is None:
            self.counters.late_answers += 1
            return
        self._land(token)
        subject = flight.entry.subject
        if now - flight.sent <= self._deadline:
            self._patience = self._deadline
        if isinstance(answer, Refusal):
            self.counters.refused += 1
            if flight.entry.refused(answer):
                self._unwell.unanswered.pop(subject, None)
                self._unwell.refusals[subject] = answer.text
                self._backoff.failed(now)
                self._set_aside(flight)
                return
        else:
            self.counters.acknowledged += 1
            flight.entry.stored(answer)
        self._unwell.forget(subject)
        if flight.is_trial:
            self._at_once = min(2 * self._at_once, self._window)
            self._backoff.succeeded(now)

    def expire(self, now: float) -> bool:
        """Give up what has waited too long for its answer. Returns whether there was anything."""
        expired = False
        while self._flights:
            token, flight = next(iter(self._flights.items()))
            if now - flight.sent < self._patience:
                break
            expired = True
            self._land(token)
            self.counters.unanswered += 1
            self._unwell.unanswered[flight.entry.subject] = None
            self._set_aside(flight)
        if expired:
            # A bus that is slow but well has its answers heard: what it answers later than that counts for nothing.
            self._patience = min(2 * self._patience, _LONGEST_DEADLINE * self._deadline)
        return expired

    def give_up_all(self) -> None:
        """The connection is gone: nobody knows what of all in flight was stored, so all is sent again.

        The next one may be to a bus that takes what was refused: one is tried at once.
        """
        for token, flight in list(self._flights.items()):
            self._land(token)
            self.counters.unanswered += 1
            if not flight.is_trial:
                self._again(flight.entry)
            elif flight.entry.subject not in self._urgent and flight.entry.subject not in self._waiting:
                self._aside[flight.entry.subject] = flight.entry
        self._unwell.unanswered.clear()
        self._at_once = 1
        self._backoff = Backoff(self._backoff.floor, self._backoff.limit)

    def next_time(self, now: float) -> float | None:
        """In how many seconds `expire` or `take` has something to do without being told; None for never."""
        times = []
        if self._flights:
            times.append(next(iter(self._flights.values())).sent + self._patience - now)
        if self._aside and not self._trials and len(self._flights) < self._window:
            times.append(self._backoff.left(now))
        return max(0.0, min(times)) if times else None

    def _land(self, token: str) -> None:
        flight = self._flights.pop(token)
        del self._subjects[flight.entry.subject]
        self._trials -= flight.is_trial

    def _set_aside(self, flight: _Flight) -> None:
        entry = flight.entry
        subject = entry.subject
        if flight.is_trial:
            self._at_once = max(1, self._at_once // 2)
        if subject not in self._urgent and subject not in self._waiting:
            self._aside[subject] = entry
        self.on_put()

    def _again(self, entry: OutboxEntry) -> None:
        queue = self._urgent if entry.urgent else self._waiting
        queue.setdefault(entry.subject, entry)
        self.on_put()
