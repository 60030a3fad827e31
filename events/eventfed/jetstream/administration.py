"""What only the operator may do: make and delete the stream, and write rosters."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import nats.errors

from ..core.messages import Message
from ..core.rosters import Rosters
from ..core.settings import FederationSettings
from ..wire.roster import Roster, encode_roster
from ..wire.subjects import Subjects
from .connection import Client, ConnectionLost
from .stream import JetStream, StreamUnavailable

__all__ = ["Administration", "StreamInfo"]

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """The stream as NATS has it.

    Args:
        created: its incarnation.
        configuration: as ``STREAM.INFO`` gives it.
        messages: how many it holds.
        bytes: how large they are.
    """

    created: str
    configuration: Mapping[str, Any]
    messages: int
    bytes: int


class Administration:
    """Requests that NATS grants to the operator, or to nobody. See `Federation.administration`.

    Nothing is repeated: whoever calls looks at what there is and calls again. Every method raises `ConnectionLost`
    where NATS does not answer (or has no right for us, of which it does not tell whoever waits), and
    `StreamUnavailable` where it refuses.
    """

    def __init__(
        self, subjects: Subjects, rosters: Rosters, settings: FederationSettings, client: Callable[[], Client | None]
    ) -> None:
        self._subjects = subjects
        self._rosters = rosters
        self._settings = settings
        self._client = client
        # Whoever writes twice at once would refuse himself.
        self._writing = asyncio.Lock()

    async def stream(self) -> StreamInfo | None:
        """The stream; None if there is none."""
        jetstream = self._jetstream()
        try:
            answer = await self._ask(jetstream.info(self._subjects.stream))
        except StreamUnavailable as error:
            if jetstream.is_missing(error):
                return None
            raise
        state, configuration = answer.get("state", {}), answer.get("config", {})
        return StreamInfo(
            str(answer.get("created", "")), configuration, int(state.get("messages", 0)), int(state.get("bytes", 0))
        )

    async def make_stream(self, configuration: Mapping[str, Any]) -> None:
        """Make the stream; one that is there with another configuration is left as it is."""
        await self._ask(self._jetstream().create_stream(dict(configuration)))

    async def update_stream(self, configuration: Mapping[str, Any]) -> None:
        """Give the stream another configuration."""
        await self._ask(self._jetstream().update_stream(dict(configuration)))

    async def delete_stream(self) -> None:
        """Delete the stream with all that it holds; one that is missing is as good."""
        jetstream = self._jetstream()
        try:
            await self._ask(jetstream.delete_stream(self._subjects.stream))
        except StreamUnavailable as error:
            if not jetstream.is_missing(error):
                raise

    async def write_roster(self, roster: Roster) -> None:
        """Put a node's roster on the stream, in place of the one that was read last.

        Raises:
            StreamUnavailable: also where somebody has written it meanwhile; what he wrote is read soon.
            MalformedEnvelope: for a roster that no reader would take.
        """
        body = encode_roster(roster)
        async with self._writing:
            sequence = await self._store(roster.node, Message(body, expected=self._rosters.sequence(roster.node)))
            self._rosters.put(roster, sequence)

    async def delete_roster(self, node: str) -> None:
        """Take a node's roster away.

        Raises:
            StreamUnavailable: also where somebody has written it meanwhile.
        """
        async with self._writing:
            tombstone = Message(b"", self._settings.tombstone_ttl, self._rosters.sequence(node), tombstone=True)
            self._rosters.put_marker(node, await self._store(node, tombstone))

    async def _store(self, node: str, message: Message) -> int:
        return await self._ask(self._jetstream().store(self._subjects.roster(node), message))

    def _jetstream(self) -> JetStream:
        client = self._client()
        if client is None:
            raise ConnectionLost("no connection to NATS")
        return JetStream(client, timeout=self._settings.request_timeout)

    @staticmethod
    async def _ask(request: Awaitable[_T]) -> _T:
        try:
            return await request
        except nats.errors.NoRespondersError:
            raise ConnectionLost("NATS runs without JetStream, or its JetStream is not ready") from None
        except (nats.errors.Error, TimeoutError, ValueError) as error:
            raise ConnectionLost(f"NATS does not answer: {type(error).__name__} {error}".rstrip()) from None
