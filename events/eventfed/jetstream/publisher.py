"""The publisher's shell: carries the outbox to NATS and the answers back.

There is no ``Nats-Msg-Id``: after a restart the server forgets the ids of replaced messages, takes an old resend over
a newer value, and then answers the newer one "duplicate" (tried with nats-server 2.15.1).
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable

import nats.errors
from nats.aio.msg import Msg

from ..core.messages import Refusal
from ..core.outbox import Outbox
from .acknowledgements import read_acknowledgement
from .connection import Client, ConnectionLost
from .headers import headers_of

__all__ = ["StreamPublisher"]

_MAX_PLAIN = 4096
_TOO_LARGE = Refusal(400, "a message is larger than its max_payload")


class StreamPublisher:
    """Sends what is in the outbox, and plain messages that nobody acknowledges.

    Args:
        clock: seconds, monotonic; the outbox's times are of it.
        on_answer: called after each answer that was looked at.
    """

    def __init__(
        self,
        outbox: Outbox,
        *,
        clock: Callable[[], float],
        on_answer: Callable[[], None],
    ) -> None:
        self._outbox = outbox
        self._clock = clock
        self._on_answer = on_answer
        self._wake = asyncio.Event()
        self._plain: deque[tuple[str, bytes]] = deque()
        self._client: Client | None = None
        self._inbox = ""
        self._sending = False
        self._gathering = False
        """Whether something was sent in this turn of the event loop: what follows is gathered until the next."""
        outbox.on_put = self._put

    def send(self, subject: str, body: bytes) -> bool:
        """Send one message that is not stored. Returns False if it is dropped: NATS is away, or too many wait."""
        if self._client is None or len(self._plain) >= _MAX_PLAIN:
            return False
        self._plain.append((subject, body))
        self._put()
        return True

    async def run(self, client: Client) -> None:
        """Publish until cancelled.

        Raises:
            ConnectionLost: when nats-py takes no more.
        """
        self._inbox = client.new_inbox()
        try:
            await client.subscribe_directly(f"{self._inbox}.*", self._answer)
            self._client = client
            while True:
                self._outbox.expire(self._clock())
                self._send_all(client)
                await self._wait()
        except nats.errors.Error as error:
            raise ConnectionLost(f"publishing failed: {error}") from None
        finally:
            self._client = None
            self._plain.clear()

    def _put(self) -> None:
        """There is something more to send. The first is sent in this very turn; more share one write in the next."""
        if self._client is not None and not self._sending and not self._gathering:
            # If the connection is gone, the task will find out.
            with contextlib.suppress(nats.errors.Error):
                self._send_all(self._client)
            self._gathering = True
        self._wake.set()

    def _send_all(self, client: Client) -> None:
        self._sending = True
        try:
            now = self._clock()
            for token, subject, message in self._outbox.take(now):
                try:
                    client.put(subject, message.body, f"{self._inbox}.{token}", headers_of(message))
                except nats.errors.MaxPayloadError:
                    self._outbox.answer(token, _TOO_LARGE, now)
            while self._plain:
                with contextlib.suppress(nats.errors.MaxPayloadError):
                    client.put(*self._plain.popleft())
            client.write()
        finally:
            self._sending = False

    async def _wait(self) -> None:
        # Give the read loop a turn, and callers the chance to put more: many publications share one wake-up.
        await asyncio.sleep(0)
        self._gathering = False
        try:
            async with asyncio.timeout(self._outbox.next_time(self._clock())):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    def _answer(self, message: Msg) -> None:
        status = (message.headers or {}).get("Status")
        answer = read_acknowledgement(message.data, status)
        self._outbox.answer(message.subject.rpartition(".")[2], answer, self._clock())
        self._put()
        self._on_answer()
