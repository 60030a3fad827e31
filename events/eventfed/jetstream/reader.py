"""The reader's shell: one consumer after the other, each with a replay, until the connection ends."""

import asyncio
import contextlib
import secrets
from collections.abc import Sequence
from typing import Any, NoReturn, Protocol

import nats.errors
from nats.aio.msg import Msg

from ..core.messages import Stored
from ..core.settings import FederationSettings
from .connection import Client, ConnectionLost
from .headers import is_marker
from .pull import ConsumerLost, PullConsumer, consumer_configuration
from .stream import JetStream, StreamUnavailable

__all__ = ["Listener", "Reader"]

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 2.0
_YIELD_AFTER = 256


class Listener(Protocol):
    """Who is told what the reader reads."""

    def replay_began(self, incarnation: str) -> None: ...

    def stored(self, message: Stored) -> None: ...

    def replay_ended(self) -> None: ...

    def replay_broke(self, reason: str) -> None: ...

    def stream_problem(self, reason: str) -> None: ...


class Reader:
    """Reads one stream: replays its last values, then follows it; recovers from the loss of consumer and stream.

    Args:
        stream: its name.
        subjects: what to read of it.
        configuration: with what to make the stream when it is missing; None to wait for somebody else to make it.
        prefix: of the JetStream API, ``$JS.<domain>.API`` for the stream of another domain.
    """

    def __init__(
        self,
        stream: str,
        subjects: Sequence[str],
        listener: Listener,
        settings: FederationSettings,
        *,
        configuration: dict[str, Any] | None,
        prefix: str = "$JS.API",
    ) -> None:
        self._stream = stream
        self._subjects = subjects
        self._listener = listener
        self._settings = settings
        self._configuration = configuration
        self._prefix = prefix
        self._broken: asyncio.Future[None] | None = None
        self._pause = _FIRST_PAUSE

    def start_anew(self) -> None:
        """Begin another replay, since what was read before cannot be trusted."""
        self._break(ConsumerLost("another replay is asked for"))

    async def run(self, client: Client) -> None:
        """Read until cancelled.

        Raises:
            ConnectionLost: when NATS does not answer though the connection seems to stand.
        """
        while True:
            try:
                await self._follow(client)
            except ConsumerLost as error:
                self._listener.replay_broke(str(error))
            except StreamUnavailable as error:
                self._listener.stream_problem(f"stream {self._stream}: {error}")
            except nats.errors.NoRespondersError:
                self._listener.stream_problem("NATS runs without JetStream, or its JetStream is not ready")
            except (nats.errors.Error, TimeoutError, ValueError) as error:
                raise ConnectionLost(f"NATS does not answer: {type(error).__name__} {error}".rstrip()) from None
            await asyncio.sleep(self._pause)
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    async def _follow(self, client: Client) -> NoReturn:
        """One consumer, until it is lost."""
        settings = self._settings
        jetstream = JetStream(client, prefix=self._prefix, timeout=settings.request_timeout)
        name = "r" + secrets.token_hex(8)
        place = f"{self._stream}.{name}"
        inbox = client.new_inbox()
        broken = self._broken = asyncio.get_running_loop().create_future()
        configuration = consumer_configuration(name, self._subjects, inactive=settings.pull_inactive)
        try:
            pending = await jetstream.create_consumer(self._stream, configuration)
        except StreamUnavailable as error:
            if self._configuration is None or not jetstream.is_missing(error):
                raise
            await jetstream.create_stream(self._configuration)
            pending = await jetstream.create_consumer(self._stream, configuration)
        # Asked after the consumer was made: had the stream been replaced in between, the consumer would be gone.
        created = await jetstream.created(self._stream)
        consumer = PullConsumer(
            pending=pending, batch=settings.pull_batch, expires=settings.pull_expires, heartbeat=settings.heartbeat
        )
        messages = 0

        async def ask() -> None:
            request = consumer.request()
            if request is not None:
                await client.publish(f"{self._prefix}.CONSUMER.MSG.NEXT.{place}", request, inbox)

        async def receive(message: Msg) -> None:
            nonlocal messages
            if broken.done():
                return
            try:
                was_synced = consumer.synced
                delivery = consumer.receive(message.reply, message.headers)
                if delivery is not None:
                    gone = is_marker(message.data, message.headers)
                    stored = Stored(message.subject, message.data, gone, delivery.stream_sequence)
                    self._listener.stored(stored)
                if consumer.synced and not was_synced:
                    self._synced()
                await ask()
            except Exception as error:
                self._break(error)
            messages += 1
            if messages % _YIELD_AFTER == 0:
                await asyncio.sleep(0)

        subscription = await client.subscribe(inbox, cb=receive, pending_msgs_limit=-1, pending_bytes_limit=-1)
        try:
            self._listener.replay_began(created)
            if consumer.synced:
                self._synced()
            await ask()
            while True:
                await asyncio.wait([broken], timeout=settings.heartbeat)
                if broken.done():
                    broken.result()
                consumer.tick()
        finally:
            broken.cancel()
            with contextlib.suppress(nats.errors.Error, OSError):
                await subscription.unsubscribe()
                await client.publish(f"{self._prefix}.CONSUMER.DELETE.{place}")

    def _synced(self) -> None:
        self._pause = _FIRST_PAUSE
        self._listener.replay_ended()

    def _break(self, error: Exception) -> None:
        if self._broken is not None and not self._broken.done():
            self._broken.set_exception(error)
