"""What an agent is to do: its file, and the roster of its node where an operator writes one."""

from eventfed.wire.roster import Roster

from .configuration import AgentConfiguration, ConfigurationError, MemberConfiguration
from .event_log import EventLog
from .members.names import Filters
from .roster_changes import roster_members, with_rules

__all__ = ["Orders"]


class Orders:
    """File and roster together. Anyone who changes one of the two calls `combine` then.

    Args:
        file: what the agent's file says.
    """

    def __init__(self, file: AgentConfiguration, event_log: EventLog) -> None:
        self.file = file
        self.roster: Roster | None = None
        """The last one that was read; None before the first, and without an operator."""
        self.configuration = file
        """The file's, with the rules of the roster."""
        self.filters = Filters(file.events)
        self._event_log = event_log

    @property
    def waits_for_roster(self) -> bool:
        """Whether it is not known yet which members there are."""
        return self.reads_roster and self.roster is None

    @property
    def reads_roster(self) -> bool:
        """Whether a roster says which members there are."""
        return self.configuration.roster_node is not None

    @property
    def members(self) -> tuple[MemberConfiguration, ...]:
        """Which members to serve."""
        if not self.reads_roster:
            return self.configuration.members
        return roster_members(self.roster) if self.roster is not None else ()

    def combine(self) -> None:
        """Take over what both say now. Rules of the roster that cannot be read leave those in force as they are."""
        old, name = self.configuration, self.file.agent.name
        try:
            configuration = with_rules(self.file, self.roster)
            self._event_log.settled("rules_refused", name)
        except ConfigurationError as error:
            self._event_log.warn("rules_refused", name, error=str(error))
            configuration = self.file.model_copy(update={"events": old.events, "departure": old.departure})
        self.configuration, self.filters = configuration, Filters(configuration.events)
