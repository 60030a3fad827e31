"""The reader's shell: one consumer after the other, each with a replay, until the connection ends."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import nats.errors
from nats.aio.msg import Msg

from ..core.bus import BusListener
from ..core.messages import Stored
from ..core.settings import FederationSettings
from ..pace import Backoff, until_due
from ..tasks import end_if_cancelled
from .connection import Client, ConnectionLost
from .headers import is_marker
from .pull import ConsumerLost, PullConsumer, consumer_configuration
from .stream import JetStream, StreamUnavailable, stream_faults

__all__ = ["Reader"]

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 2.0
_NO_PERMISSION = "a permission is missing"


class Reader:
    """Reads one stream: replays its last values, then follows it; recovers from the loss of consumer and stream.

    Args:
        stream: its name.
        subjects: what to read of it.
        configuration: what the stream should be like.
        was_of_use: called when all was read that was stored.
        create: whether to make it when it is missing, instead of waiting for somebody else to make it.
        prefix: of the JetStream API, ``$JS.<domain>.API`` for the stream of another domain.
    """

    def __init__(
        self,
        stream: str,
        subjects: Sequence[str],
        listener: BusListener,
        settings: FederationSettings,
        *,
        configuration: dict[str, Any],
        create: bool,
        was_of_use: Callable[[], None],
        prefix: str = "$JS.API",
    ) -> None:
        self._stream = stream
        self._subjects = subjects
        self._listener = listener
        self._settings = settings
        self._configuration = configuration
        self._create = create
        self._was_of_use = was_of_use
        self._prefix = prefix
        self._broken: asyncio.Future[None] | None = None
        self._backoff = Backoff(_FIRST_PAUSE, _LONGEST_PAUSE)
        self._lost = 0

    def start_again(self) -> None:
        """Begin another replay, since what was read before cannot be trusted."""
        self._break(ConsumerLost("another replay is asked for"))

    async def run(self, client: Client) -> None:
        """Read until cancelled.

        Raises:
            ConnectionLost: when NATS does not answer though the connection seems to stand.
        """
        while True:
            try:
                end_if_cancelled()
                await self._follow(client)
            except ConsumerLost as error:
                self._lost += 1
                self._listener.replay_broke(str(error))
                if self._lost > 1:
                    self._listener.stream_problem(
                        f"stream {self._stream} cannot be read: {_NO_PERMISSION if client.lacks else error}"
                    )
            except StreamUnavailable as error:
                self._listener.stream_problem(f"stream {self._stream}: {error}")
            except nats.errors.NoRespondersError:
                self._listener.stream_problem("NATS runs without JetStream, or its JetStream is not ready")
            except (nats.errors.Error, TimeoutError, ValueError) as error:
                # NATS does not answer who may not ask; another connection would change nothing.
                if client.lacks is None:
                    told = f"{type(error).__name__} {error}".rstrip()
                    raise ConnectionLost(f"NATS does not answer (no leader, or it is too slow): {told}") from None
                self._listener.stream_problem(f"stream {self._stream} cannot be read: {_NO_PERMISSION}")
            self._backoff.failed(asyncio.get_running_loop().time())
            await until_due(self._backoff)

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
            if not self._create or not jetstream.is_missing(error):
                raise
            await jetstream.create_stream(self._configuration)
            pending = await jetstream.create_consumer(self._stream, configuration)
        # Asked after the consumer was made: had the stream been replaced in between, the consumer would be gone.
        created, look_at = await self._look(jetstream)
        consumer = PullConsumer(
            pending=pending, batch=settings.pull_batch, expires=settings.pull_expires, heartbeat=settings.heartbeat
        )

        def ask() -> None:
            request = consumer.request()
            if request is not None:
                client.put(f"{self._prefix}.CONSUMER.MSG.NEXT.{place}", request, inbox)
                client.write()

        def receive(message: Msg) -> None:
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
                ask()
            except Exception as error:
                self._break(error)

        subscription = await client.subscribe_directly(inbox, receive)
        try:
            self._listener.replay_began(created)
            if consumer.synced:
                self._synced()
            ask()
            while True:
                await asyncio.wait([broken], timeout=settings.heartbeat)
                if broken.done():
                    broken.result()
                consumer.tick()
                if time.monotonic() >= look_at:
                    # Whether it answers at all, the consumer tells.
                    look_at = time.monotonic() + settings.stream_check
                    with contextlib.suppress(StreamUnavailable, nats.errors.Error, TimeoutError, ValueError):
                        _, look_at = await self._look(jetstream)
        finally:
            broken.cancel()
            with contextlib.suppress(nats.errors.Error, OSError):
                await client.unsubscribe_directly(subscription)
                await client.publish(f"{self._prefix}.CONSUMER.DELETE.{place}")

    async def _look(self, jetstream: JetStream) -> tuple[str, float]:
        """When the stream was made, which tells one of that name from another, and when to look at it again."""
        info = await jetstream.info(self._stream)
        faults = stream_faults(self._configuration, info.get("config") or {})
        self._listener.stream_seen(faults)
        settings = self._settings
        pause = settings.stream_recheck if faults else settings.stream_check
        return str(info.get("created", "")), time.monotonic() + pause

    def _synced(self) -> None:
        self._backoff.succeeded(asyncio.get_running_loop().time())
        self._lost = 0
        self._was_of_use()
        self._listener.replay_ended()

    def _break(self, error: Exception) -> None:
        if self._broken is not None and not self._broken.done():
            self._broken.set_exception(error)
