"""What `Federation.watch` yields."""

from dataclasses import dataclass
from typing import TypeAlias

from ..model.eid import EID
from ..model.event import Event, StateKey
from ..wire.leases import Lease

__all__ = ["Change", "MemberChanged", "Reset", "StateChanged", "StateRemoved", "Synced"]


@dataclass(frozen=True, slots=True)
class StateChanged:
    """A state has a value. `previous` is the one that this watcher was given before, if any."""

    event: Event
    previous: Event | None = None


@dataclass(frozen=True, slots=True)
class StateRemoved:
    """A state is gone: taken back by its owner, or its owner has departed. `previous` is its last known value."""

    key: StateKey
    previous: Event | None = None


@dataclass(frozen=True, slots=True)
class MemberChanged:
    """A member's lease is new, says something else than before, or is gone (None)."""

    eid: EID
    lease: Lease | None


@dataclass(frozen=True, slots=True)
class Synced:
    """All that was on the stream when the watch began has been given; what follows is live."""


@dataclass(frozen=True, slots=True)
class Reset:
    """The stream is another one than before: its store was lost, and owners publish everything again."""

    incarnation: str


Change: TypeAlias = StateChanged | StateRemoved | MemberChanged | Synced | Reset
