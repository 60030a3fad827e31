"""A member that has not told its EID yet, or whose EID another server has now."""

from eventfed import Event, StateKey

from ..configuration import TimingSection
from .dumps import DumpResult
from .names import Filters

__all__ = ["Nobody"]


class Nobody:
    """What `Identity` is for a member with an EID: nothing is known of this one, and nothing is due to it."""

    eid = None
    injector = None
    duplicate_of: str | None = None
    held = idle = moved = outdated = False
    parted = True

    def __init__(self) -> None:
        self.contended: list[str] = []

    def hears(self) -> bool:
        """The first thing that it publishes tells its EID."""
        return True

    def spoke(self) -> None: ...

    def appear(self) -> None: ...

    def disappear(self) -> None: ...

    def hurry(self) -> None: ...

    def rosters_changed(self) -> None: ...

    def give_everything(self) -> None: ...

    def retime(self, timing: TimingSection) -> None: ...

    def refilter(self, filters: Filters) -> None: ...

    def repeat_mailboxes(self, filters: Filters) -> None: ...

    def inject_transient(self, event: Event) -> None: ...

    def forget(self, mailbox: StateKey) -> None: ...

    def dump_ended(self, result: DumpResult) -> None: ...

    def last_word(self, key: StateKey) -> Event | None:
        """It has said nothing that counts."""
        return None

    def is_on_bus(self, key: StateKey) -> bool:
        """It has said nothing that could wait."""
        return True

    def open_states(self) -> set[StateKey]:
        """Nothing stands on the bus."""
        return set()

    async def withdraw(self, within: float) -> bool:
        """It was given nothing."""
        return False
