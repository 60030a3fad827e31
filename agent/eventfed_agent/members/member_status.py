"""Where a member stands, in words that people and metrics share."""

from dataclasses import dataclass, field
from typing import Protocol

from eventfed import EID, Event
from eventfed.wire.report import MemberState

from ..configuration import MemberConfiguration
from .evidence import Strangers

__all__ = [
    "OVERWRITES",
    "Holder",
    "MemberCounters",
    "Registry",
    "explain",
]

OVERWRITES = "it overwrites what it is given with its own count: set pollmailboxes=no in its voicemail.conf"


class Holder(Protocol):
    """The member that has an EID already."""

    configuration: MemberConfiguration

    @property
    def name(self) -> str: ...

    @property
    def alive(self) -> bool: ...

    def release_identity(self) -> None: ...


class Registry(Protocol):
    """The agent, as its members see it."""

    strangers: Strangers
    federation_eid: EID
    """Stands for "the others" in what a member is given."""

    def holder(self, eid: EID) -> "Holder | None":
        """The member of this agent that has the EID."""
        ...

    def is_gone(self, uid: str) -> bool:
        """Whether it is certain that the server of another lease is no more."""
        ...

    def delivered(self, event: Event) -> None:
        """A member took a state of another server."""
        ...

    async def answers(self, address: str) -> bool:
        """Whether something answers at the address of a lease."""
        ...


@dataclass(slots=True)
class MemberCounters:
    """What a member said and what became of it."""

    heard: int = 0
    published: int = 0
    filtered: int = 0
    not_cachable: int = 0
    foreign: int = 0
    refused: int = 0
    gaps: int = 0
    restarts: int = 0
    failures: dict[str, int] = field(default_factory=dict)


def explain(
    state: MemberState, *, trouble: str | None, duplicate_of: str | None, address: str, bus: str | None = None
) -> str:
    """Why a member is in a state, and what to do; empty where all is well.

    Args:
        bus: what NATS does not do for it.
    """
    match state:
        case MemberState.NOT_CONFIGURED:
            return trouble or ""
        case MemberState.DUPLICATE:
            return f"its EID belongs to {duplicate_of}: give each server its own entityid in asterisk.conf"
        case MemberState.MOVED:
            return "another agent serves it"
        case MemberState.LOST:
            return f"no answer from {address}"
        case MemberState.CONNECTING:
            return f"waiting for the first PUBLISH from {address}"
        case MemberState.SYNCING:
            return bus or "exchanging states"
        case MemberState.SYNCED:
            return bus or ""
