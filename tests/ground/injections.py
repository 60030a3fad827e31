"""What an injector asks and tells, without a member."""

from collections.abc import Callable
from dataclasses import dataclass, field

from eventfed import Event, StateKey
from eventfed_agent.adapter import AdapterOutcome
from eventfed_agent.members.foreign_states import Item

__all__ = ["Beneficiary"]


@dataclass
class Beneficiary:
    """A member that has said nothing itself and may be given everything."""

    on_dropped: Callable[[Item, str], None] = lambda item, why: None
    troubles: list[AdapterOutcome] = field(default_factory=list)

    def last_word(self, key: StateKey) -> Event | None:
        return None

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
