"""What only the operator may ask of JetStream. See `core.bus.BusAdministration`."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import nats.errors

from ..core.bus import StreamInfo
from ..core.messages import Message
from .connection import Client, ConnectionLost
from .stream import JetStream, StreamUnavailable

__all__ = ["JetStreamAdministration"]

_T = TypeVar("_T")


class JetStreamAdministration:
    """Requests of the JetStream API. They raise `ConnectionLost` or `StreamUnavailable`; see `Administration`.

    Args:
        stream: its name.
        timeout: how long an answer may take, in seconds.
        client: the connection that stands, if any.
    """

    def __init__(self, stream: str, *, timeout: float, client: Callable[[], Client | None]) -> None:
        self._stream = stream
        self._timeout = timeout
        self._client = client

    async def stream(self) -> StreamInfo | None:
        jetstream = self._jetstream()
        try:
            answer = await self._ask(jetstream.info(self._stream))
        except StreamUnavailable as error:
            if jetstream.is_missing(error):
                return None
            raise
        state, configuration = answer.get("state", {}), answer.get("config", {})
        return StreamInfo(
            str(answer.get("created", "")), configuration, int(state.get("messages", 0)), int(state.get("bytes", 0))
        )

    async def make_stream(self, configuration: Mapping[str, Any]) -> None:
        await self._ask(self._jetstream().create_stream(dict(configuration)))

    async def update_stream(self, configuration: Mapping[str, Any]) -> None:
        await self._ask(self._jetstream().update_stream(dict(configuration)))

    async def delete_stream(self) -> None:
        jetstream = self._jetstream()
        try:
            await self._ask(jetstream.delete_stream(self._stream))
        except StreamUnavailable as error:
            if not jetstream.is_missing(error):
                raise

    async def store(self, subject: str, message: Message) -> int:
        return await self._ask(self._jetstream().store(subject, message))

    def _jetstream(self) -> JetStream:
        client = self._client()
        if client is None:
            raise ConnectionLost("no connection to NATS")
        return JetStream(client, timeout=self._timeout)

    @staticmethod
    async def _ask(request: Awaitable[_T]) -> _T:
        try:
            return await request
        except nats.errors.NoRespondersError:
            raise ConnectionLost("NATS runs without JetStream, or its JetStream is not ready") from None
        except (nats.errors.Error, TimeoutError, ValueError) as error:
            raise ConnectionLost(f"NATS does not answer: {type(error).__name__} {error}".rstrip()) from None
