"""What the federation says, as one member is to have it: which names concern it, and which value each has now."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeAlias

from eventfed import EID, Event, EventType, Merge, StateKey, View, kind_of

from .mailboxes import MailboxSlots, mailbox_event, mailbox_key
from .names import Filters

__all__ = ["ForeignStates", "Item"]

Item: TypeAlias = tuple[EventType, EID | None, str]
"""A state of one server, or a mailbox (of all servers: EID None)."""


class ForeignStates:
    """Values are looked up in the shared view: no copy of the states is kept per member.

    Args:
        eid: the member's own EID; its own states are never given to it.
        federation_eid: stands for "the others" in mailboxes.
        view: what the federation says.
        last_word: what the member itself published last of a state.
    """

    def __init__(
        self,
        *,
        eid: EID,
        federation_eid: EID,
        view: View,
        filters: Filters,
        slots: MailboxSlots,
        last_word: Callable[[StateKey], Event | None],
    ) -> None:
        self.eid = eid
        self.slots = slots
        self.withdrawing = False
        """Whether the member is to lose what it was given."""
        self._federation_eid = federation_eid
        self._view = view
        self._filters = filters
        self._last_word = last_word
        self._passing: dict[Item, Event] = {}

    def item(self, state: StateKey) -> Item | None:
        """The item to which a state belongs; None if it does not concern the member."""
        return self._foreign(state) if self._filters.subscribes(state.type, state.key) else None

    def _foreign(self, state: StateKey) -> Item | None:
        """The item to which a state belongs, whatever the filters say; None for a state of the member itself."""
        # A counted name concerns the server itself too: the sum over all servers stands in its slot.
        if kind_of(state.type).is_counted:
            return (state.type, None, state.key)
        return (state.type, state.eid, state.key) if state.eid != self.eid else None

    def own_mailbox(self, mailbox: str) -> Item:
        """The item of a mailbox of the member."""
        return (mailbox_key(mailbox, self.eid).type, None, mailbox)

    def asks_for(self, event: Event) -> bool:
        """Whether the member is to have an event without a last value."""
        return (
            kind_of(event.type).merge is Merge.PER_SERVER
            and self.item(event.state_key) is not None
            and self._filters.asks_for(event.type, event.key)
        )

    def inject_transient(self, item: Item, event: Event) -> None:
        """Keep such an event until its turn comes. A newer one of the same name replaces it."""
        self._passing[item] = replace(event, cachable=False)

    def drop_passing(self) -> int:
        """Forget the events without a last value that wait. Returns how many there were."""
        dropped = len(self._passing)
        self._passing.clear()
        return dropped

    def take_passing(self, item: Item) -> Event | None:
        """The event without a last value that waits under an item."""
        return self._passing.pop(item, None)

    def refilter(self, filters: Filters) -> Iterator[Item]:
        """Other filters. Gives the items that pass now and did not, or that passed and do no longer."""
        old, self._filters = self._filters, filters
        for state in list(self._view.states):
            before, now = old.subscribes(state.type, state.key), filters.subscribes(state.type, state.key)
            if before != now and (item := self._foreign(state)) is not None:
                yield item

    def lasts(self, item: Item) -> bool:
        """Whether the item of a server has a lasting state."""
        kind, eid, key = item
        return eid is not None and StateKey(kind, eid, key) in self._view.states

    def value(self, item: Item, now: float) -> Event | None:
        """What the member is to be given; None if nothing is due."""
        kind, eid, key = item
        withdraw = self.withdrawing or not self._filters.subscribes(kind, key)
        if eid is None:
            due = self.slots.due(key, self._words(key), now, withdraw=withdraw)
            if due is None:
                return None
            mailbox, counts = due
            own = withdraw and self.slots.gives_back(key)
            return mailbox_event(mailbox, counts, self.eid if own else self._federation_eid)
        state = self._view.states.get(StateKey(kind, eid, key))
        if state is None:
            return None
        if withdraw or state.tombstone or state.event is None:
            neutral = kind_of(kind).neutral
            return Event(kind, eid, neutral(key)) if neutral is not None else None
        return state.event

    def due_again(self, item: Item) -> float | None:
        """When a contended mailbox that is not due yet is to be looked at again; None where nothing is to come."""
        kind, eid, key = item
        if eid is not None or self.withdrawing or not self._filters.subscribes(kind, key):
            return None
        return self.slots.retry_at(key)

    def _words(self, mailbox: str) -> dict[EID, Event]:
        """What each server says of a mailbox; the member's own word counts before the bus has it."""
        key = mailbox_key(mailbox, self.eid)
        words = dict(self._view.by_server(key.type, mailbox))
        own = self._last_word(key)
        if own is not None:
            words[self.eid] = own
        return words
