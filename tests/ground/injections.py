"""What an injector asks and tells, without a member."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from eventfed import EID, Event, View
from eventfed.spec import EventSpec, Injection, VoicemailStorage
from eventfed_agent.adapter import AdapterOutcome
from eventfed_agent.members.foreign_states import ForeignStates, Item
from eventfed_agent.members.injection import Injector
from eventfed_agent.members.mailboxes import MailboxSlots
from eventfed_agent.members.names import Filters
from eventfed_agent.members.turns import MemberTurns

__all__ = ["Beneficiary", "injector_of"]


@dataclass
class Beneficiary:
    """A member that has said nothing itself and may be given everything."""

    on_dropped: Callable[[Item, str], None] = lambda item, why: None
    troubles: list[AdapterOutcome] = field(default_factory=list)

    def may_inject(self) -> bool:
        return True

    def went_wrong(self, outcome: AdapterOutcome) -> None:
        self.troubles.append(outcome)

    def suspect_intrusion(self) -> None:
        pass

    def delivered(self, event: Event) -> None:
        pass

    def dropped(self, item: Item, why: str) -> None:
        self.on_dropped(item, why)

    def look(self) -> None:
        pass


def injector_of(
    view: View,
    adapter: Any,
    events: Iterable[EventSpec],
    *,
    own: EID,
    federation: EID,
    injection: Injection = Injection.IN_PLACE,
    host: Beneficiary | None = None,
) -> Injector:
    """The injector of a member with separate voicemail, open.

    Args:
        adapter: what of an adapter an injector uses: `lanes`, `lane_of` and `inject`.
        events: what crosses.
        own: the member's EID.
        federation: stands for "the others" in mailboxes.
    """
    states = ForeignStates(
        eid=own,
        federation_eid=federation,
        view=view,
        filters=Filters(list(events)),
        slots=MailboxSlots(own, VoicemailStorage.SEPARATE, injection),
        last_word=lambda key: None,
    )
    injector = Injector(states, view, adapter=adapter, turns=MemberTurns(), host=host or Beneficiary())
    injector.open()
    return injector
