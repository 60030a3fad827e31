"""What only the operator may do: make and delete the stream, and write rosters."""

import asyncio
from collections.abc import Mapping
from typing import Any

from ..wire.roster import Roster, encode_roster
from ..wire.subjects import Subjects
from .bus import BusAdministration, StreamInfo
from .messages import Message
from .rosters import Rosters
from .settings import FederationSettings

__all__ = ["Administration"]


class Administration:
    """Requests that the bus grants to the operator, or to nobody. See `Federation.administration`.

    Nothing is repeated: callers look at what there is and call again. On NATS every method raises `ConnectionLost`
    where NATS does not answer (or lacks a permission for us, of which it tells nobody who waits for an answer), and
    `StreamUnavailable` where it refuses.
    """

    def __init__(
        self, subjects: Subjects, rosters: Rosters, settings: FederationSettings, bus: BusAdministration
    ) -> None:
        self._subjects = subjects
        self._rosters = rosters
        self._settings = settings
        self._bus = bus
        # Two writes at once would have the same condition, and the bus would refuse the second.
        self._writing = asyncio.Lock()

    async def stream(self) -> StreamInfo | None:
        """The stream; None if there is none."""
        return await self._bus.stream()

    async def make_stream(self, configuration: Mapping[str, Any]) -> None:
        """Make the stream; one that is there with another configuration is left as it is."""
        await self._bus.make_stream(configuration)

    async def update_stream(self, configuration: Mapping[str, Any]) -> None:
        """Give the stream another configuration."""
        await self._bus.update_stream(configuration)

    async def delete_stream(self) -> None:
        """Delete the stream with all that it holds; one that is missing is as good."""
        await self._bus.delete_stream()

    async def write_roster(self, roster: Roster) -> None:
        """Put a node's roster on the stream, in place of the one that was read last.

        Raises:
            StreamUnavailable: also where somebody has written it meanwhile; what he wrote is read soon.
            MalformedEnvelope: for a roster that no reader would take.
        """
        body = encode_roster(roster)
        async with self._writing:
            message = Message(body, expected=self._rosters.sequence(roster.node))
            self._rosters.put(roster, await self._bus.store(self._subjects.roster(roster.node), message))

    async def delete_roster(self, node: str) -> None:
        """Take a node's roster away.

        Raises:
            StreamUnavailable: also where somebody has written it meanwhile.
        """
        async with self._writing:
            tombstone = Message(b"", self._settings.tombstone_ttl, self._rosters.sequence(node), tombstone=True)
            self._rosters.put_marker(node, await self._bus.store(self._subjects.roster(node), tombstone))
