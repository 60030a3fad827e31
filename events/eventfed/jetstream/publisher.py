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

__all__ = ["Publisher"]

_MAX_PLAIN = 4096
_TOO_LARGE = Refusal(400, "a message is larger than its max_payload")


class Publisher:
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
        self._watched = False
        """Whether the task waits for no longer than until the next deadline of the outbox."""
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
        """There is something more to send: do so in this very turn, if we are not just about it."""
        if self._client is None or self._sending:
            self._wake.set()
            return
        try:
            self._send_all(self._client)
        except nats.errors.Error:
            self._wake.set()  # the task will find out
        if not self._watched:
            self._wake.set()

    def _send_all(self, client: Client) -> None:
        self._sending = True
        try:
            now = self._clock()
            for token, subject, message in self._outbox.take(now):
                try:
                    client.publish_now(subject, message.body, f"{self._inbox}.{token}", headers_of(message))
                except nats.errors.MaxPayloadError:
                    self._outbox.answer(token, _TOO_LARGE, now)
            while self._plain:
                with contextlib.suppress(nats.errors.MaxPayloadError):
                    client.publish_now(*self._plain.popleft())
        finally:
            self._sending = False

    async def _wait(self) -> None:
        # Give the read loop a turn, and callers the chance to put more: many publications share one wake-up.
        await asyncio.sleep(0)
        wait = self._outbox.next_time(self._clock())
        # What is sent meanwhile has a deadline that is later still.
        self._watched = wait is not None
        try:
            async with asyncio.timeout(wait):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._watched = False
        self._wake.clear()

    def _answer(self, message: Msg) -> None:
        status = (message.headers or {}).get("Status")
        answer = read_acknowledgement(message.data, status)
        self._outbox.answer(message.subject.rpartition(".")[2], answer, self._clock())
        self._put()
        self._on_answer()
