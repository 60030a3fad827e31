"""Both ends of Asterisk's event publications, as ``res_pjsip_outbound_publish`` and ``res_pjsip_pubsub`` do them."""

import asyncio
import hmac
import itertools
import secrets
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress

from sipmessage import Request, Response

from ._errors import LabError
from ._sip import Address, SipSocket, answer, netloc, tag

__all__ = ["EVENTS", "InboundPublications", "OutboundPublication"]

EVENTS = ("asterisk-devicestate", "asterisk-mwi")
_RESOURCE = "eventfed"


class OutboundPublication:
    """One ``type=outbound-publish``: an unbounded queue, one PUBLISH in flight, a message is dropped at any final
    answer or after 32 s without one, and 401 stops it for good. 412 sends it again as initial, with another Call-ID
    and CSeq. A renewal comes when the time that was asked for is over, whatever was granted."""

    def __init__(self, socket: SipSocket, event: str, agent: Address, expiration: int, token: str | None) -> None:
        self._socket = socket
        self._event = event
        self.agent = agent
        self._token = token
        self._expires = expiration
        self._begin()
        self._uri = f"sip:{_RESOURCE}@{netloc(agent)}"
        self._arrived = asyncio.Event()
        self.queue: deque[bytes] = deque()
        self.dropped = 0
        """Messages given up: no answer, or one that Asterisk does not repeat them for."""
        self.wedged = False

    def _begin(self) -> None:
        """As a publish client of pjproject's begins."""
        self._etag: str | None = None
        self._call_id = secrets.token_hex(16)
        self._number = secrets.randbelow(30000)
        self._tag = tag()

    def put(self, body: bytes) -> None:
        self.queue.append(body)
        self._arrived.set()

    async def run(self) -> None:
        """Send what is queued, and a renewal without a body when there is nothing; until cancelled."""
        while not self.wedged:
            if not self.queue:
                self._arrived.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._expires):
                        await self._arrived.wait()
            if self.queue:
                await self._publish(self.queue[0], self._expires)
                self.queue.popleft()
            else:
                await self._publish(b"", self._expires)

    async def leave(self) -> None:
        """``Expires: 0``, once; nobody waits long for its answer."""
        if self._etag is not None and not self.wedged:
            self._number += 1
            with suppress(TimeoutError):
                await self._socket.send(self._request(b"", 0), self.agent, within=1.0)

    async def _publish(self, body: bytes, expires: int) -> None:
        while True:
            self._number += 1
            try:
                response = await self._socket.send(self._request(body, expires), self.agent)
            except TimeoutError:
                self.dropped += 1
                return
            if 200 <= response.code < 300:
                self._etag = response.headers.get("SIP-ETag")
                return
            if response.code == 412 and self._etag is not None:
                self._begin()
            elif response.code == 423 and (response.min_expires or 0) > expires:
                expires = self._expires = response.min_expires or expires
            else:
                self.dropped += 1
                self.wedged = response.code in (401, 407)
                return

    def _request(self, body: bytes, expires: int) -> Request:
        host = netloc(self.agent).rpartition(":")[0]
        me = f"<sip:{_RESOURCE}@{host}>"
        request = self._socket.request(
            "PUBLISH", self._uri, caller=f"{me};tag={self._tag}", callee=me, call_id=self._call_id, number=self._number
        )
        request.headers.set("Event", self._event)
        request.headers.set("Expires", str(expires))
        if self._token is not None:
            request.headers.set("X-Eventfed-Token", self._token)
        if self._etag is not None:
            request.headers.set("SIP-If-Match", self._etag)
        if body:
            request.headers.set("Content-Type", "application/json")
            request.body = body
        return request


class InboundPublications:
    """All ``type=inbound-publication`` of a server.

    `receive` gets an event package and a body and raises LabError for a body that Asterisk refuses. ETags are
    small integers from 0 on, of one counter for all; only they, not the sender, are checked on a modification.
    """

    def __init__(
        self, receive: Callable[[str, bytes], None], tokens: tuple[str, ...], departures: Counter[str]
    ) -> None:
        self._receive = receive
        self.tokens = tokens
        self._departures = departures
        self._etags = itertools.count()
        self._live: dict[str, tuple[str, float]] = {}

    def handle(self, request: Request) -> Response:
        """Answer a PUBLISH or an OPTIONS."""
        if self.tokens and not self._identified(request):
            return answer(request, 401, "Unauthorized")
        if request.method == "OPTIONS":
            # The context of the agent's endpoint does not exist, so there is no such extension.
            return answer(request, 404, "Not Found")
        if request.method != "PUBLISH":
            return answer(request, 405, "Method Not Allowed")
        try:
            expires = 3600 if request.expires is None else request.expires
        except ValueError:
            return answer(request, 400, "Bad Request")
        etag = request.headers.get("SIP-If-Match")
        if etag is None:
            return self._initial(request, expires)
        event, until = self._live.pop(etag, ("", 0.0))
        if until < time.monotonic():
            return answer(request, 412, "Conditional Request Failed")
        keep = expires > 0
        if not keep:
            self._departures[event] += 1
        if request.body:
            try:
                self._receive(event, request.body)
            except LabError:
                keep = False
        return self._accept(request, event, expires, next(self._etags), keep=keep)

    def _identified(self, request: Request) -> bool:
        given = request.headers.get("X-Eventfed-Token") or ""
        return any(hmac.compare_digest(given.encode(), token.encode()) for token in self.tokens)

    def _initial(self, request: Request, expires: int) -> Response:
        event = (request.headers.get("Event") or "").partition(";")[0].strip()
        if event not in EVENTS:
            return answer(request, 489, "Bad Event")
        if request.uri.user != _RESOURCE:
            return answer(request, 404, "Not Found")
        if expires == 0:
            return answer(request, 412, "Conditional Request Failed")
        if not request.body:
            return answer(request, 400, "Bad Request")
        etag = next(self._etags)  # Asterisk numbers a publication before it reads the body.
        try:
            self._receive(event, request.body)
        except LabError:
            return answer(request, 500, "Internal Server Error")
        return self._accept(request, event, expires, etag, keep=True)

    def _accept(self, request: Request, event: str, expires: int, number: int, *, keep: bool) -> Response:
        etag = str(number)
        if keep:
            self._live[etag] = (event, time.monotonic() + expires)
        response = answer(request, 200, "OK")
        response.headers.set("SIP-ETag", etag)
        response.headers.set("Expires", str(expires))
        return response
