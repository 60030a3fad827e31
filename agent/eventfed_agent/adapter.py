"""What every adapter offers."""

import enum
from dataclasses import dataclass
from typing import Protocol

from pydantic import SecretStr

from eventfed import EID, Event, EventType

__all__ = ["Adapter", "AdapterOutcome", "Delivery", "Tokens"]


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
    """The end of one injection. `intrusion` tells that the server had lost touch with us without a restart."""

    delivery: Delivery
    status: int | None = None
    detail: str = ""
    intrusion: bool = False


class Adapter(Protocol):
    """One server, as the member logic sees it. What the server says reaches the member by `Member.heard` and the like.

    No method raises for what the network or the server does: the outcome tells.
    """

    @property
    def lanes(self) -> int:
        """How many injections may be under way at once; keys are hashed to lanes so that each stays in order."""
        ...

    def lane_of(self, kind: EventType, key: str) -> int:
        """The lane of a name."""
        ...

    async def inject(self, event: Event, lane: int) -> AdapterOutcome:
        """Put one state into the server under the event's own EID."""
        ...

    async def request_dump(self, kind: EventType) -> AdapterOutcome:
        """Ask the server to publish all its own states of that type again."""
        ...

    async def probe(self, device: str, eid: EID) -> AdapterOutcome:
        """Make the server publish a device that it does not keep, behind all that it has queued."""
        ...

    async def nudge(self, device: str, eid: EID) -> None:
        """Make the server publish a device that it does not keep, whatever else is under way."""
        ...

    async def is_alive(self, within: float) -> bool:
        """Whether the server answers anything at all within `within` seconds."""
        ...

    def use_tokens(self, tokens: Tokens) -> None:
        """Other secrets than before: try them in this order."""
        ...

    @property
    def token_taken(self) -> str:
        """The mark of the secret that the server took last; empty if it has taken none."""
        ...

    def expect_restart(self) -> None:
        """The server has announced that it forgot what it knew."""
        ...
