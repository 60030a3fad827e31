"""The mailboxes of one member.

Asterisk keeps one value per mailbox, no matter who wrote it last (``main/mwi.c``). So a plain relay would let a
restarted replica's 0/0 put out everybody's lamps. Here each server's own counts are kept apart; the slot is what the
member holds now; and something is injected only where the slot is not what it should be.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from eventfed import EID, Event, EventType, Mailbox, StateKey
from eventfed.spec import Injection, VoicemailStorage

from .names import BESIDE_CONTEXT
from .shared_order import latest_count

__all__ = ["MailboxSlots", "beside_mailbox", "mailbox_event", "mailbox_key"]

_EMPTY = Mailbox(0, 0)
_ANSWERS_UNTIL_CONTENDED = 3
_CROSSING = 5.0
"""How long after an injection, in seconds, an announcement may have been made before it: a retransmission or two."""


def mailbox_key(mailbox: str, eid: EID) -> StateKey:
    """What names one server's counts of a mailbox."""
    return StateKey(EventType.MWI, eid, mailbox)


def mailbox_event(mailbox: str, counts: Mailbox, eid: EID) -> Event:
    """One server's counts of a mailbox."""
    return Event.mailbox(mailbox, counts.new, counts.old, eid)


def beside_mailbox(mailbox: str) -> str:
    """The mailbox that takes the others' sum: ``1001@eventfed``; ``1001@eventfed-sales`` for context sales."""
    box, _, context = mailbox.partition("@")
    suffix = f"-{context}" if context not in ("", "default") else ""
    return f"{box}@{BESIDE_CONTEXT}{suffix}"


@dataclass(slots=True)
class _Slot:
    """One mailbox of one member."""

    own: Mailbox | None = None
    """What the member said last of its own messages."""
    held: Mailbox | None = None
    """What the mailbox that is injected into holds now; None: nobody knows."""
    injected: bool = False
    answers: int = 0
    pending: bool = False
    """Something was given to be injected, and nobody knows yet whether or when it arrived."""
    last_injection: float = float("-inf")
    echoes: tuple[Mailbox, ...] = ()
    """What the member was given back as its own, and has not repeated yet."""
    forgotten: Mailbox | None = None
    """What the member said before it was told to forget the mailbox; until others' counts stand in its slot."""
    erase: bool = False
    """The member's own slot is to be emptied, beside the one that is injected into."""
    words: int = 0
    """Grows whenever the member may have changed what the slot holds."""


class MailboxSlots:
    """What one member's mailboxes hold, and what they should.

    Pure: the caller passes the time, in seconds of a monotonic clock, and the last words of all servers that count.
    """

    def __init__(
        self, eid: EID, storage: VoicemailStorage, injection: Injection, *, contended_pause: float = 60.0
    ) -> None:
        self.eid = eid
        self.storage = storage
        self.injection = injection
        self.contended_pause = contended_pause
        self._slots: dict[str, _Slot] = {}
        self._contended: set[str] = set()

    def own(self, mailbox: str) -> Mailbox | None:
        """What the member said last of its own messages there."""
        slot = self._slots.get(mailbox)
        return slot.own if slot else None

    def remember_own(self, mailbox: str, counts: Mailbox) -> None:
        """What the member said before this agent served it, as the bus has it."""
        slot = self._slots.setdefault(mailbox, _Slot())
        if slot.own is None:
            slot.own = counts

    def announced(self, mailbox: str, counts: Mailbox, now: float) -> bool:
        """The member said its own counts: the slot holds them now, whatever was injected before.

        Returns False for the echo of counts that it was given back as its own, and for what it said before it was
        told to forget the mailbox.
        """
        slot = self._slots.setdefault(mailbox, _Slot())
        if counts == slot.forgotten:
            return False
        slot.forgotten, slot.erase = None, False
        crossed = slot.pending or now - slot.last_injection <= _CROSSING
        if crossed and counts in slot.echoes:
            slot.echoes = tuple(echo for echo in slot.echoes if echo != counts)
            return False
        if not crossed:
            slot.echoes = ()
        if self.injection is Injection.BESIDE:
            slot.own = counts
            return True
        slot.words += 1
        # With pollmailboxes=yes a server answers every injection with its own count (app_voicemail.c). An answer
        # that comes long after the injection is somebody's VoicemailRefresh.
        if counts != slot.own:
            slot.answers = 0
        elif slot.injected and counts != slot.held:
            slot.answers = slot.answers + 1 if now - slot.last_injection <= self.contended_pause else 1
        (self._contended.add if slot.answers >= _ANSWERS_UNTIL_CONTENDED else self._contended.discard)(mailbox)
        slot.own, slot.held = counts, None if crossed else counts
        slot.injected = False
        return True

    def forget_mailbox(self, mailbox: str) -> None:
        """The member's own counts count no longer, until it names the mailbox again.

        Its slot has to hold others' counts, if only their zero: a server tells in each dump what it said last itself,
        also of a mailbox that it has no more, and leaves out what another has written (``main/mwi.c``).
        """
        slot = self._slots.setdefault(mailbox, _Slot())
        slot.forgotten = slot.forgotten if slot.own is None else slot.own  # somebody may ask twice
        slot.own, slot.held, slot.echoes = None, None, ()
        slot.erase = self.injection is Injection.BESIDE
        slot.answers = 0
        self._contended.discard(mailbox)

    def forget(self) -> None:
        """The member may have restarted: nobody knows what its slots hold."""
        self._contended.clear()
        for slot in self._slots.values():
            slot.held = None
            slot.injected = False
            slot.forgotten = None
            slot.answers = 0
            slot.words += 1

    @property
    def contended(self) -> list[str]:
        """Mailboxes whose server overwrites each injection with its own unchanged count."""
        return sorted(self._contended)

    def is_contended(self, mailbox: str) -> bool:
        """Whether the server overwrites each injection into this mailbox with its own unchanged count."""
        return mailbox in self._contended

    def known(self) -> list[str]:
        """Every mailbox that was announced or injected."""
        return list(self._slots)

    def wanted(self, mailbox: str, states: Mapping[EID, Event]) -> Mailbox:
        """What the mailbox that is injected into should hold."""
        if self.storage is VoicemailStorage.SHARED:
            latest = latest_count(states)
            return latest.counts if latest else _EMPTY
        total = sum((event.counts for eid, event in states.items() if eid != self.eid), start=_EMPTY)
        own = self.own(mailbox) or _EMPTY
        return total.beside(own) if self.injection is Injection.BESIDE else total + own

    def due(
        self, mailbox: str, states: Mapping[EID, Event], now: float, *, withdraw: bool = False
    ) -> tuple[str, Mailbox] | None:
        """What to inject now on behalf of this mailbox, as (mailbox, counts); None when all is right or must wait.

        With `withdraw`, what gives the server its own counts back. From here on nobody knows what the slot holds,
        until `injected` says so: an injection without an answer may have arrived.
        """
        beside = self.injection is Injection.BESIDE
        own = _EMPTY if beside else (self.own(mailbox) or _EMPTY)
        wanted = own if withdraw else self.wanted(mailbox, states)
        slot = self._slots.setdefault(mailbox, _Slot())
        if slot.erase:
            slot.pending = True
            return mailbox, _EMPTY
        back = withdraw and self.gives_back(mailbox)
        if (slot.held == wanted and not (back and slot.injected)) or self.retry_at(mailbox) > now:
            return None
        slot.held, slot.pending = None, True
        if back and wanted not in slot.echoes:
            slot.echoes += (wanted,)
        return (beside_mailbox(mailbox) if beside else mailbox), wanted

    def retry_at(self, mailbox: str) -> float:
        """When a contended mailbox may be injected again; long ago for all others."""
        return (
            self._slots[mailbox].last_injection + self.contended_pause if self.is_contended(mailbox) else float("-inf")
        )

    def announcements(self, mailbox: str) -> int:
        """How often the member may have changed the slot; to be noted before an injection."""
        slot = self._slots.get(mailbox)
        return slot.words if slot else 0

    def overwritten(self, mailbox: str) -> bool:
        """Whether something was injected after the member's last word.

        What it says next is then news in a shared mailbox even if it is the same again: a server leaves a slot that
        was overwritten out of its dumps.
        """
        slot = self._slots.get(mailbox)
        return slot is not None and slot.injected

    def gives_back(self, mailbox: str) -> bool:
        """Whether a withdrawal injects the member's own counts, so that it goes under the member's own EID.

        The server takes them for its own then and tells them in its dumps again, which leave out a mailbox that was
        written by another.
        """
        return self.injection is Injection.IN_PLACE and self.own(mailbox) is not None

    def injected(
        self, mailbox: str, counts: Mailbox, now: float, announcements: int, *, given_back: bool = False
    ) -> None:
        """The member accepted an injection on behalf of this mailbox.

        `announcements` was noted before. If the member spoke of the mailbox or restarted meanwhile, nobody knows
        which of the two came last. With `given_back` it was injected as the member's own.
        """
        slot = self._slots.setdefault(mailbox, _Slot())
        slot.forgotten = None
        if slot.erase:
            slot.erase = slot.pending = False
            return
        slot.held = counts if announcements == slot.words else None
        slot.pending = False
        slot.injected = not given_back
        slot.last_injection = now
