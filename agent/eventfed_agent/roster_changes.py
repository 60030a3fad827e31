"""From a roster to what crosses and the members that an agent serves, and how to part with those that went. No I/O."""

import enum
from collections.abc import Callable, Iterable
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationError

from eventfed.refusals import Writing, refusals
from eventfed.spec import DepartureSpec, EventSpec, Spec, check_events
from eventfed.wire.roster import Roster

from .configuration import AgentConfiguration, ConfigurationError, MemberConfiguration

__all__ = ["Parting", "part_with", "roster_members", "with_rules"]


class _Rules(Spec):
    events: Annotated[tuple[EventSpec, ...], Field(min_length=1), AfterValidator(check_events)]
    departure: DepartureSpec = DepartureSpec()


def with_rules(configuration: AgentConfiguration, roster: Roster | None) -> AgentConfiguration:
    """The configuration with what a roster says of events and departure, if it does, in place of the file's: a file
    that the kubelet brings is up to a minute old.

    Raises:
        ConfigurationError: the rules cannot be read; a later version may have written them.
    """
    if roster is None or not roster.rules:
        return configuration
    try:
        rules = _Rules.model_validate_json(roster.rules)
    except ValidationError as error:
        lines = [f"{one.where or 'rules'}: {one.message}" for one in refusals(error, _Rules, Writing.MANIFEST)]
        raise ConfigurationError(f"roster of {roster.node}: " + "; ".join(lines)) from None
    return configuration.model_copy(update={"events": rules.events, "departure": rules.departure})


class Parting(enum.Enum):
    """How to end with a member."""

    WITHDRAW = "withdraw"
    """It has left the federation and lives on: take back what it was given."""

    RELEASE = "release"
    """It is gone, or another agent has it: let go of it at once."""


def roster_members(roster: Roster) -> tuple[MemberConfiguration, ...]:
    """The members that a roster lists. Where two have one address, the one that is about to end is left out: the
    address is another's by now."""
    taken = {(one.host, one.port) for one in roster.members if not one.leaving}
    members: dict[str, MemberConfiguration] = {}
    for one in sorted(roster.members, key=lambda one: not one.leaving):
        if not one.leaving or (one.host, one.port) not in taken:
            members[one.name] = MemberConfiguration(
                name=one.name, host=one.host, port=one.port, transport=one.transport, uid=one.uid
            )
    return tuple(members.values())


def part_with(
    member: MemberConfiguration,
    *,
    before: Roster | None,
    wanted: Iterable[MemberConfiguration],
    node_of: Callable[[str], str | None],
) -> Parting:
    """How to end with a member that the roster lists no longer as it was.

    Args:
        before: the roster until now.
        wanted: what is to be served from now on.
        node_of: where any roster lists a uid.
    """
    if before is not None and any(one.leaving and one.uid == member.identity for one in before.members):
        return Parting.RELEASE  # it was told to end, and has
    if any(one.name == member.name for one in wanted):
        return Parting.RELEASE  # of two pods of one name, the first is gone before the second is made
    if node_of(member.identity) is not None:
        return Parting.RELEASE  # its new agent waits for it
    return Parting.WITHDRAW
