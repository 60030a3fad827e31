"""The seam between members and the programs that they are: one face outward, one inward.

An adapter speaks to one server. A factory makes the adapters of one technology and owns what they share, such as a
listening socket. It is registered with the agent under a name.
"""

import enum
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, runtime_checkable

from pydantic import SecretStr

from eventfed import EID, Event, EventType, StateKey

from .configuration import AgentConfiguration, MemberConfiguration
from .event_log import EventLog

__all__ = [
    "Adapter",
    "AdapterFactory",
    "AdapterOutcome",
    "Delivery",
    "DumpSource",
    "Host",
    "HostIdentity",
    "OpenFactory",
    "Premises",
    "Tokens",
]


class Delivery(enum.Enum):
    """How one injection ended."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    """The server answered and would not: another answer needs a change of its configuration, or of the event."""
    SILENT = "silent"
    """No answer: whether the server took it is not known."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """The values of the secret header: the current one first, then the one that is being replaced."""

    values: tuple[SecretStr, ...] = ()


@dataclass(frozen=True, slots=True)
class AdapterOutcome:
    """The end of one injection.

    Args:
        label: the server's answer, for counters; empty without one.
        advice: what its configuration lacks, and what to do; empty where that is not known.
        unreadable: the server cannot read this one event. All other refusals are about its configuration.
        intrusion: the server had lost touch with us without a restart.
    """

    delivery: Delivery
    label: str = ""
    advice: str = ""
    unreadable: bool = False
    intrusion: bool = False


class HostIdentity(Protocol):
    """A member under one EID, which brings what it says onto the bus."""

    @property
    def parted(self) -> bool:
        """Whether another agent has to do that now."""
        ...

    def is_on_bus(self, key: StateKey) -> bool:
        """Whether nothing that the member said of a state has yet to reach the bus."""
        ...


class Host(Protocol):
    """The member, as its adapter sees it."""

    @property
    def configuration(self) -> MemberConfiguration: ...

    @property
    def name(self) -> str: ...

    @property
    def eid(self) -> EID | None: ...

    @property
    def open(self) -> bool:
        """Whether it takes in anything. Otherwise the server is to be left without an answer, so that it repeats."""
        ...

    @property
    def identity(self) -> HostIdentity:
        """What the member is under its present EID; another object under another one."""
        ...

    def identified(self, eid: EID) -> bool:
        """The server speaks under an EID. False: it may not, since the EID is another's."""
        ...

    def spoke(self) -> bool:
        """The server published something. False: leave it without an answer; another agent serves it."""
        ...

    def heard(self, event: Event) -> None:
        """A state of its own; only after `identified` and `spoke`."""
        ...

    def missed(self) -> None:
        """Something that the server published was lost."""
        ...

    def lost_touch(self, reason: str, *, restarted: bool = False) -> None:
        """The server lost what it knew of us: ask it for everything and give it everything.

        Args:
            restarted: it started, so that what it says next of shared names is news.
        """
        ...

    def left(self) -> None:
        """The server said goodbye."""
        ...

    def refresh(self, reason: str) -> None:
        """Something that the server said cannot be told from what its neighbours said: ask it for everything."""
        ...

    def trouble(self, why: str) -> None:
        """Something that the server sent was refused by us."""
        ...


class Adapter(Protocol):
    """One server, as the member logic sees it. What the server says reaches the member by `Host`.

    No method raises for what the network or the server does: the outcome tells.
    """

    @property
    def lanes(self) -> int:
        """How many injections may be under way at once; keys are hashed to lanes so that each stays in order."""
        ...

    @property
    def token_taken(self) -> str:
        """The mark of the secret that the server took last; empty if it has taken none."""
        return ""

    def attach(self, host: Host) -> None:
        """What the server says from now on is told to this member, which may be about to begin."""
        ...

    def detach(self) -> None:
        """The member has ended: nothing is told to it."""
        ...

    def lane_of(self, kind: EventType, key: str) -> int:
        """The lane of a name."""
        return 0

    async def inject(self, event: Event, lane: int) -> AdapterOutcome:
        """Put one state into the server under the event's own EID."""
        ...

    async def give_way(self, eid: EID) -> None:
        """Another agent follows this one: make the server publish something, whatever else is under way."""
        return

    async def is_alive(self, within: float) -> bool:
        """Whether the server answers anything at all within `within` seconds."""
        ...


@runtime_checkable
class DumpSource(Protocol):
    """What an `Adapter` has as well whose server tells all its own states again when it is asked.

    One without it tells them by itself each time that it comes to a server: nobody asks it, and nothing that it does
    not tell is taken for gone.
    """

    async def request_dump(self, kind: EventType) -> AdapterOutcome:
        """Ask the server to publish all its own states of that type again."""
        ...

    async def probe(self, event: Event) -> AdapterOutcome:
        """Make the server publish this under its own EID, behind all that it has queued of that event type."""
        ...


class Premises(Protocol):
    """The agent, as the factories see it."""

    event_log: EventLog
    federation_eid: EID
    wall_clock: Callable[[], float]

    @property
    def configuration(self) -> AgentConfiguration: ...

    @property
    def served_at(self) -> float:
        """When the agent began to serve the members that it serves now, by the event loop's clock."""
        ...

    @property
    def tokens(self) -> Tokens: ...

    @property
    def stopping(self) -> bool:
        """Whether nothing is to be taken in any more."""
        ...

    @property
    def waits_for_roster(self) -> bool:
        """Whether it is not known yet which members there are."""
        ...

    def note_stranger(self, host: str, eid: str) -> None:
        """Somebody spoke from an address that no member has; `eid` is empty if it named none."""
        ...


class AdapterFactory(AbstractAsyncContextManager["AdapterFactory"], Protocol):
    """Makes the adapters of one technology, and owns what they share, while its context is open."""

    def serves(self, member: MemberConfiguration) -> bool:
        """Whether the member is of this technology."""
        ...

    def make(self, member: MemberConfiguration) -> Adapter:
        """An adapter for a member."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        """Close what they share."""
        return None

    async def answers(self, address: str) -> bool:
        """Whether something answers at the address of a lease; False for an address of another technology."""
        return False

    def use_tokens(self, tokens: Tokens) -> None:
        """Other secrets than before: try them in this order."""
        return

    def look(self) -> None:
        """The view of the federation has changed."""
        return


OpenFactory = Callable[[Premises], AdapterFactory]
"""How the agent is told of a technology."""
