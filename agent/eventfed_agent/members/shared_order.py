"""What is news of a mailbox whose spool several servers share.

All of them count the same messages, so the last one to have counted is right. But what a server says again (in a dump,
after an injection) is older than it looks. So only a change against what that server said last is news, or its first
word after a restart, or the same words after another's were put into its mailbox (1/0 here, heard and deleted there,
1/0 here again); and news is numbered, each piece higher than all that its agent knew of that mailbox.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from eventfed import EID, MAX_NUMBER, Event

__all__ = ["SharedMailboxOrder", "latest_count", "next_order"]


def latest_count(states: Mapping[EID, Event]) -> Event | None:
    """What is true of a shared mailbox; the later time, then the higher EID, where two servers spoke at once."""
    return max(states.values(), key=lambda event: (event.order, event.time, event.eid), default=None)


def next_order(states: Iterable[Event]) -> int:
    """The number of a piece of news that comes after all that these say.

    It ends at `MAX_NUMBER`, beyond which no reader takes it; from there on `latest_count` goes by the time.
    """
    return min(1 + max((event.order for event in states), default=0), MAX_NUMBER)


class SharedMailboxOrder:
    """Numbers what one member says of its mailboxes."""

    def __init__(self) -> None:
        self._spoken: set[str] | None = None

    def restarted(self) -> None:
        """The member has started: its next word of each mailbox is news, whatever it is."""
        self._spoken = set()

    def number(self, event: Event, before: Event | None, others: Mapping[EID, Event], *, overwritten: bool) -> Event:
        """The event with its number: a new one if it is news, else that of what the member said `before`.

        `overwritten` says that the slot held others' counts, so that this cannot be an answer to a `refresh`.
        """
        first = self._spoken is not None and event.key not in self._spoken
        if self._spoken is not None:
            self._spoken.add(event.key)
        if before is not None and before.counts == event.counts and not first and not overwritten:
            # The time as well: it decides between servers that spoke at once, and nobody looks again for it alone.
            return replace(event, order=before.order, time=before.time)
        return replace(event, order=next_order([*others.values(), *([before] if before is not None else [])]))
