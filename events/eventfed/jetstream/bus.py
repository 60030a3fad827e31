"""NATS with JetStream as the bus of a federation."""

import asyncio
import time
from collections.abc import Sequence

from nats.aio.msg import Msg

from ..core.bus import BusListener
from ..core.settings import Credentials, CredentialsSource, FederationSettings
from ..wire.subjects import Subjects
from .administration import JetStreamAdministration
from .connection import Client
from .link import Link
from .publisher import StreamPublisher
from .reader import Reader
from .stream import stream_configuration

__all__ = ["JetStreamBus"]


class JetStreamBus:
    """See `core.bus.Bus`: a connection, and on it a publisher, a reader, and subscriptions for plain messages.

    The stream keeps the last value per subject; conditions, TTLs and tombstones are headers (``docs/wire.md``).

    Args:
        servers: NATS URLs.
        name: how NATS shows us.
        settings: how to connect, read and publish; and how the stream is made, if we may make it.
        credentials: what proves who we are, or a function that reads it before each attempt to connect.
    """

    def __init__(
        self,
        servers: Sequence[str],
        *,
        subjects: Subjects,
        name: str,
        settings: FederationSettings,
        credentials: Credentials | CredentialsSource | None = None,
    ) -> None:
        self._subjects = subjects
        self._settings = settings
        self._link = Link(servers, name=name, settings=settings, credentials=credentials)
        self._publisher: StreamPublisher | None = None
        self._reader: Reader | None = None
        self.administration = JetStreamAdministration(
            subjects.stream, timeout=settings.request_timeout, client=lambda: self._link.client
        )

    async def run(self, listener: BusListener) -> None:
        publisher = self._publisher = StreamPublisher(
            listener.outbox, clock=time.monotonic, on_answer=listener.answered
        )
        reader = self._reader = Reader(
            self._subjects.stream,
            self._subjects.read(states=listener.interest.states),
            listener,
            self._settings,
            configuration=stream_configuration(self._subjects, self._settings),
            create=self._settings.create_stream,
            was_of_use=self._link.was_of_use,
        )

        async def heard(message: Msg) -> None:
            listener.heard(message.subject, message.data)

        async def session(client: Client, group: asyncio.TaskGroup) -> None:
            for subject in self._subjects.heard(*listener.interest):
                await client.subscribe(subject, cb=heard)
            group.create_task(publisher.run(client))
            group.create_task(reader.run(client))

        await self._link.run(listener, session)

    def send(self, subject: str, body: bytes) -> bool:
        return self._publisher is not None and self._publisher.send(subject, body)

    def replay_again(self) -> None:
        if self._reader is not None:
            self._reader.start_again()
