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
        self._running = False
        outbox.on_put = self._wake.set

    def send(self, subject: str, body: bytes) -> bool:
        """Send one message that is not stored. Returns False if it is dropped: NATS is away, or too many wait."""
        if not self._running or len(self._plain) >= _MAX_PLAIN:
            return False
        self._plain.append((subject, body))
        self._wake.set()
        return True

    async def run(self, client: Client) -> None:
        """Publish until cancelled.

        Raises:
            ConnectionLost: when nats-py takes no more.
        """
        inbox = client.new_inbox()
        try:
            await client.subscribe(f"{inbox}.*", cb=self._answer, pending_msgs_limit=-1, pending_bytes_limit=-1)
            self._running = True
            while True:
                await self._send_all(client, inbox)
                await self._wait()
        except nats.errors.Error as error:
            raise ConnectionLost(f"publishing failed: {error}") from None
        finally:
            self._running = False
            self._plain.clear()

    async def _send_all(self, client: Client, inbox: str) -> None:
        now = self._clock()
        self._outbox.expire(now)
        for token, subject, message in self._outbox.take(now):
            try:
                await client.publish(subject, message.body, f"{inbox}.{token}", headers_of(message))
            except nats.errors.MaxPayloadError:
                self._outbox.answer(token, _TOO_LARGE, now)
        while self._plain:
            with contextlib.suppress(nats.errors.MaxPayloadError):
                await client.publish(*self._plain.popleft())

    async def _wait(self) -> None:
        # Give the read loop a turn, and callers the chance to put more: many publications share one wake-up.
        await asyncio.sleep(0)
        try:
            async with asyncio.timeout(self._outbox.next_time(self._clock())):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    async def _answer(self, message: Msg) -> None:
        status = (message.headers or {}).get("Status")
        answer = read_acknowledgement(message.data, status)
        self._outbox.answer(message.subject.rpartition(".")[2], answer, self._clock())
        self._wake.set()
        self._on_answer()
