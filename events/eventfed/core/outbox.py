"""The publisher's core: the latest value per subject, one in flight per subject, a window, deadlines. No I/O.

What counts is the acknowledgement alone: without one the *latest* value is sent again, and readers drop what is older.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple, Protocol

from .counters import FederationCounters
from .messages import Message, Refusal

__all__ = ["Outbox", "Publication"]


class Publication(Protocol):
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
    publication: Publication
    token: str
    sent: float


class Outbox:
    """What is still to be published.

    Args:
        window: how many may be in flight.
        deadline: when one is given up and sent again, in seconds.
        pause: how long nothing is sent after a refusal, in seconds.
        counters: where everything is counted.
    """

    def __init__(
        self, *, window: int, deadline: float, pause: float, counters: FederationCounters | None = None
    ) -> None:
        self._window = window
        self._deadline = deadline
        self._pause = pause
        self.counters = counters if counters is not None else FederationCounters()
        self._urgent: OrderedDict[str, Publication] = OrderedDict()
        self._waiting: OrderedDict[str, Publication] = OrderedDict()
        self._flights: OrderedDict[str, _Flight] = OrderedDict()
        self._subjects: dict[str, str] = {}
        self._number = 0
        self._paused_until = 0.0
        self.on_put: Callable[[], None] = lambda: None
        """Called whenever there is something more to send."""
        self._refusals: dict[str, str] = {}

    def __len__(self) -> int:
        """How many subjects are waiting or in flight."""
        return len(self._urgent) + len(self._waiting) + len(self._flights)

    @property
    def problem(self) -> str | None:
        """What NATS says of a publication that it refuses, until it takes it."""
        return next((f"NATS refuses {subject}: {text}" for subject, text in self._refusals.items()), None)

    def put(self, publication: Publication) -> None:
        """Publish soon; what waited under the same subject is dropped."""
        queue = self._urgent if publication.urgent else self._waiting
        queue[publication.subject] = publication
        self.on_put()

    def withdraw(self, subject: str) -> None:
        """Do not publish what waits under this subject. What is in flight stays so until answered."""
        self._urgent.pop(subject, None)
        self._waiting.pop(subject, None)
        self._refusals.pop(subject, None)

    def take(self, now: float) -> list[tuple[str, str, Message]]:
        """(token, subject, message) of all that may be sent now; each is in flight from then on."""
        taken: list[tuple[str, str, Message]] = []
        if now < self._paused_until:
            return taken
        for queue in (self._urgent, self._waiting):
            held: list[Publication] = []
            while queue and len(self._flights) < self._window:
                subject, publication = queue.popitem(last=False)
                if subject in self._subjects:
                    held.append(publication)
                    continue
                message = publication.build()
                if message is None:
                    self._refusals.pop(subject, None)
                    continue
                self._number += 1
                token = str(self._number)
                self._flights[token] = _Flight(publication, token, now)
                self._subjects[subject] = token
                self.counters.published += 1
                taken.append((token, subject, message))
            for publication in reversed(held):
                queue[publication.subject] = publication
                queue.move_to_end(publication.subject, last=False)
        return taken

    def answer(self, token: str, answer: int | Refusal, now: float) -> None:
        """What the bus says of a flight: the sequence under which it was stored, or why it was not."""
        flight = self._flights.pop(token, None)
        if flight is None:
            self.counters.late_answers += 1
            return
        del self._subjects[flight.publication.subject]
        if isinstance(answer, Refusal):
            self.counters.refused += 1
            if flight.publication.refused(answer):
                self._refusals[flight.publication.subject] = answer.text
                self._paused_until = now + self._pause
                self._again(flight.publication)
                return
        else:
            self.counters.acknowledged += 1
            flight.publication.stored(answer)
        self._refusals.pop(flight.publication.subject, None)

    def expire(self, now: float) -> bool:
        """Give up what has waited too long for its answer. Returns whether there was anything."""
        before = self.counters.unanswered
        while self._flights:
            token, flight = next(iter(self._flights.items()))
            if now - flight.sent < self._deadline:
                break
            self._give_up(token)
        return self.counters.unanswered != before

    def give_up_all(self) -> None:
        """The connection is gone: nobody knows what of all in flight was stored, so all is sent again."""
        for token in list(self._flights):
            self._give_up(token)
        self._paused_until = 0.0

    def next_time(self, now: float) -> float | None:
        """In how many seconds `expire` or `take` has something to do without being told; None for never."""
        times = []
        if self._flights:
            times.append(next(iter(self._flights.values())).sent + self._deadline)
        if self._paused_until > now and (self._urgent or self._waiting):
            times.append(self._paused_until)
        return max(0.0, min(times) - now) if times else None

    def _give_up(self, token: str) -> None:
        flight = self._flights.pop(token)
        del self._subjects[flight.publication.subject]
        self.counters.unanswered += 1
        self._again(flight.publication)

    def _again(self, publication: Publication) -> None:
        queue = self._urgent if publication.urgent else self._waiting
        queue.setdefault(publication.subject, publication)
        self.on_put()
