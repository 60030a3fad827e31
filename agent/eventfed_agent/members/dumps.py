"""When a member is asked to publish everything again, and what is made of the answer.

A dump races with live changes inside Asterisk: a snapshot is queued entry by entry while another thread queues
changes, so NEW may be followed by the snapshot's OLD (``main/stasis_cache.c``). And its end is not marked. So a
probe device follows each request; its echo ends the dump; a device or mailbox heard with two values in that window is
unsure, and another dump is asked for until none is.

Devices and mailboxes are two publications, each with a queue of its own, and only a probe of the same one comes behind
what is queued. A queue of mailboxes is slow: each is answered once it is on the stream. So where it matters whether a
word of a mailbox was made before others' counts came (`SharedMailboxOrder`), a probe mailbox follows as well.
"""

import enum
import secrets
from dataclasses import dataclass, field

from eventfed import MAX_COUNT, Event, StateKey, kind_of
from eventfed.model.device_kinds import PROBE_PREFIX
from eventfed.model.elements import Element
from eventfed.pace import Backoff

__all__ = ["DumpResult", "DumpWindow", "Dumps", "Phase"]

_FLOOR = 0.25
_LIMIT = 4.0


class Phase(enum.Enum):
    IDLE = "idle"
    ASKING = "asking"
    DUMPING = "dumping"


@dataclass(frozen=True, slots=True)
class DumpResult:
    """What one dump showed.

    `missing` are states that were known before and that the dump lacks: the member has them no more. It is empty
    when the dump is not `whole`: a message of it was lost, or may have gone to another agent.
    """

    heard: int
    unsure: frozenset[StateKey]
    missing: frozenset[StateKey]
    whole: bool


@dataclass(slots=True)
class DumpWindow:
    """One dump under way, from before the request to the echo of the probe."""

    probe: str = field(default_factory=lambda: PROBE_PREFIX + secrets.token_hex(6))
    mark: int = field(default_factory=lambda: 1 + secrets.randbelow(MAX_COUNT))
    """The old messages of the probe mailbox."""
    heard: dict[StateKey, tuple[Element, ...]] = field(default_factory=dict)
    unsure: set[StateKey] = field(default_factory=set)
    gap: bool = False


class Dumps:
    """Decides when to ask one member for a dump. Pure: times are seconds of a monotonic clock.

    Args:
        sweep: seconds after which a dump is asked for without any evidence.
        backoff: the pauses after each dump, whatever came of it and whatever asks for another one.
    """

    def __init__(self, *, sweep: float = 3600.0, backoff: Backoff | None = None) -> None:
        self.sweep = sweep
        self._backoff = backoff if backoff is not None else Backoff(_FLOOR, _LIMIT)
        self.phase = Phase.IDLE
        self.window: DumpWindow | None = None
        self.draining = True
        """Whether what is heard may be the answer to a request; also after a request that failed."""
        self.mailbox_words = 0
        """How often the member spoke of mailboxes."""
        self.last_mailbox: StateKey | None = None
        self.completed = 0
        self.reasons: dict[str, int] = {}
        self._due: float | None = None

    def need(self, reason: str, now: float, *, changed: bool = True) -> None:
        """There is evidence that something was missed: ask as soon as no dump is under way and its pause is over.

        Args:
            changed: the member is not what it was when it was asked last, so the pause need not be a long one.
        """
        self.reasons[reason] = self.reasons.get(reason, 0) + 1
        if changed:
            self._backoff.hurry(now)
        self._due = now if self._due is None else min(self._due, now)

    @property
    def due(self) -> float | None:
        """When the next dump is to be asked for; None before the first evidence, or while one is under way."""
        return max(self._due, self._backoff.due) if self.phase is Phase.IDLE and self._due is not None else None

    def begin(self) -> DumpWindow:
        """A request is about to be sent: from here on what is heard belongs to the window."""
        self.phase = Phase.ASKING
        self._due = None
        self.draining = True
        self.window = DumpWindow()
        return self.window

    def asked(self) -> None:
        """The member accepted request and probe."""
        self.phase = Phase.DUMPING

    def failed(self, now: float) -> None:
        """No answer, a refusal, or no echo: ask again, later each time."""
        self.phase, self.window = Phase.IDLE, None
        self._again(now)

    def hear(self, event: Event) -> None:
        """A state was heard, whatever for."""
        if kind_of(event.type).is_counted:
            self.mailbox_words += 1
            self.last_mailbox = event.state_key
        if self.window is None:
            return
        key = event.state_key
        if self.window.heard.setdefault(key, event.elements) != event.elements:
            self.window.unsure.add(key)
            self.window.heard[key] = event.elements

    def gap(self) -> None:
        """A message of the member was lost, or may have gone to another agent."""
        if self.window is not None:
            self.window.gap = True

    def echoed(self, known: set[StateKey], now: float) -> DumpResult:
        """The probe came back: the dump has ended. `known` is what is on the bus under the member's EID and stands in
        each dump."""
        return self._end(now, known)

    def fell_silent(self, now: float) -> DumpResult:
        """No echo comes, and nothing else: the dump has ended as far as one can tell. Nothing is missing then."""
        return self._end(now, set())

    def _end(self, now: float, known: set[StateKey]) -> DumpResult:
        assert self.window is not None
        window, self.window, self.phase = self.window, None, Phase.IDLE
        self.draining = False
        self.completed += 1
        missing = frozenset() if window.gap else frozenset(known - window.heard.keys())
        if window.unsure or window.gap:
            self._again(now)
        else:
            self._backoff.rest(now)
            later = now + self.sweep
            self._due = later if self._due is None else min(self._due, later)
        heard = sum(1 for key in window.heard if not kind_of(key.type).is_counted)
        return DumpResult(heard, frozenset(window.unsure), missing, not window.gap)

    def _again(self, now: float) -> None:
        self._backoff.failed(now)
        self._due = now
