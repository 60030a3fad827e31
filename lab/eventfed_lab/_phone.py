"""A SIP phone for tests: lamps (SUBSCRIBE), registration, and a call that can be held."""

import asyncio
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Self

from sipmessage import Request, Response

from ._errors import LabError
from ._server import MailboxCounts
from ._sip import Address, SipSocket, answer, netloc, tag

__all__ = ["Call", "Notification", "Phone", "Subscription"]

_ACCEPT = {"message-summary": "application/simple-message-summary", "dialog": "application/dialog-info+xml"}


@dataclass(frozen=True, slots=True)
class Notification:
    """One NOTIFY; `at` is the ``time.monotonic()`` of its arrival."""

    at: float
    body: str

    @property
    def counts(self) -> MailboxCounts:
        """Of ``message-summary`` (RFC 3842), below zero where Asterisk's sum ran over; LabError if the body is none."""
        found = re.search(r"^Voice-Message: *(-?\d+)/(-?\d+)", self.body, re.M)
        if found is None:
            raise LabError(f"a NOTIFY without Voice-Message: {self.body!r:.200}")
        return MailboxCounts(int(found[1]), int(found[2]))

    @property
    def messages_waiting(self) -> bool:
        """The lamp itself: ``Messages-Waiting: yes``."""
        return re.search(r"^Messages-Waiting: *yes", self.body, re.M | re.I) is not None

    @property
    def dialog_state(self) -> str:
        """Of ``dialog`` (RFC 4235): ``terminated`` is idle, ``early`` ringing, ``confirmed`` in use; LabError."""
        found = re.search(r"<state[^>]*>\s*([a-z]+)\s*</state>", self.body)
        if found is None:
            raise LabError(f"a NOTIFY without a dialog's state: {self.body!r:.200}")
        return found[1]

    @property
    def held(self) -> bool:
        """Of ``dialog``: Asterisk writes hold as ``+sip.rendering`` = ``no`` of the confirmed dialog."""
        return re.search(r"\+sip\.rendering\"\s+pvalue=\"no\"", self.body) is not None


class Subscription:
    """A lamp; `notifications` has every NOTIFY so far, in order, retransmissions once."""

    def __init__(self, phone: "Phone", event: str, resource: str) -> None:
        self._phone = phone
        self._event = event
        self._uri = f"sip:{resource}@{netloc(phone.server)}"
        self._caller = f"<sip:{phone.user}@{phone.server_host}>;tag={tag()}"
        self._callee = f"<{self._uri}>"
        self._number = 0
        self._arrived = asyncio.Event()
        self.call_id = secrets.token_hex(12)
        self.notifications: list[Notification] = []

    async def renew(self, expires: int) -> None:
        """Send SUBSCRIBE; LabError if it is refused."""
        self._number += 1
        request = self._phone._socket.request(
            "SUBSCRIBE",
            self._uri,
            caller=self._caller,
            callee=self._callee,
            call_id=self.call_id,
            number=self._number,
        )
        request.headers.set("Event", self._event)
        request.headers.set("Contact", f"<{self._phone.contact}>")
        request.headers.set("Accept", _ACCEPT[self._event])
        request.headers.set("Expires", str(expires))
        response = await self._phone._send(request)
        self._callee = response.headers["To"]
        if contact := response.headers.get("Contact"):
            self._uri = _uri(contact)

    async def end(self) -> None:
        """Unsubscribe."""
        await self.renew(0)

    async def wait_for(
        self, wanted: Callable[[Notification], bool], within: float = 10.0, *, after: int = 0
    ) -> Notification:
        """The first notification from number `after` on that `wanted` accepts, past ones included.

        Raises:
            TimeoutError: none in `within` seconds.
        """
        async with asyncio.timeout(within):
            while True:
                while after < len(self.notifications):
                    notification = self.notifications[after]
                    if wanted(notification):
                        return notification
                    after += 1
                self._arrived.clear()
                await self._arrived.wait()

    def _receive(self, request: Request) -> None:
        if request.body:
            self.notifications.append(Notification(time.monotonic(), request.body.decode("utf-8", "replace")))
            self._arrived.set()


@dataclass
class Call:
    """A call that rings, or has been answered."""

    phone: "Phone"
    invite: Request
    source: Address
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    _tag: str = field(default_factory=tag)
    _number: int = 0

    def ring(self) -> None:
        """180 Ringing."""
        self._answer(180, "Ringing")

    async def answer(self) -> None:
        """200 OK; returns when the server has acknowledged."""
        self._answer(200, "OK", _sdp(self.phone, "sendrecv"))
        async with asyncio.timeout(10):
            await self.phone._acknowledged.wait()

    def reject(self) -> None:
        """486 Busy Here."""
        self._answer(486, "Busy Here")
        self.ended.set()

    async def hold(self) -> None:
        """Re-INVITE with ``a=sendonly``: the device at the other end becomes ONHOLD."""
        await self._reinvite("sendonly")

    async def unhold(self) -> None:
        """Re-INVITE with ``a=sendrecv``."""
        await self._reinvite("sendrecv")

    async def hang_up(self) -> None:
        """BYE."""
        if not self.ended.is_set():
            self.ended.set()
            await self.phone._send(self._request("BYE"))

    def _answer(self, code: int, phrase: str, body: bytes = b"") -> None:
        response = answer(self.invite, code, phrase, to_tag=self._tag, body=body)
        response.headers.set("Contact", f"<{self.phone.contact}>")
        if body:
            response.headers.set("Content-Type", "application/sdp")
        self.phone._acknowledged.clear()
        self.phone._socket.respond(self.invite, response, self.source)

    def _request(self, method: str) -> Request:
        self._number += 1
        return self.phone._socket.request(
            method,
            _uri(self.invite.headers["Contact"]),
            caller=f"{self.invite.headers['To']};tag={self._tag}",
            callee=self.invite.headers["From"],
            call_id=self.invite.call_id,
            number=self._number,
        )

    async def _reinvite(self, direction: str) -> None:
        request = self._request("INVITE")
        request.body = _sdp(self.phone, direction)
        request.headers.set("Contact", f"<{self.phone.contact}>")
        request.headers.set("Content-Type", "application/sdp")
        await self.phone._send(request)
        self._number -= 1  # an ACK has the number of its INVITE (RFC 3261 13.2.2.4)
        acknowledgement = self._request("ACK")
        self.phone._socket.send_message(acknowledgement, self.phone.server)


class Phone:
    """A phone on the server's own loopback address; use it with ``async with``.

    It is known to the server by its user name alone. A call that comes in rings by itself (unless `ringing`
    is False) and waits in `next_call`. Its address is `own_host`; absent, that of the server.
    """

    def __init__(
        self, server_host: str, server_port: int, user: str, *, ringing: bool = True, own_host: str | None = None
    ) -> None:
        self.server: Address = (server_host, server_port)
        self._own_host = own_host or server_host
        self.user = user
        self.ringing = ringing
        self.server_host = f"[{server_host}]" if ":" in server_host else server_host
        self._subscriptions: dict[str, Subscription] = {}
        self._calls: dict[str, Call] = {}
        self._incoming: asyncio.Queue[Call] = asyncio.Queue()
        self._acknowledged = asyncio.Event()
        self._registration = (secrets.token_hex(12), 0)

    async def __aenter__(self) -> Self:
        self._socket = await SipSocket.open(self._own_host, 0, self._handle)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._socket.close()

    @property
    def contact(self) -> str:
        return f"sip:{self.user}@{netloc(self._socket.address)}"

    async def register(self, expires: int = 3600) -> None:
        """REGISTER (0 seconds unregisters); LabError if it is refused."""
        call_id, number = self._registration
        self._registration = (call_id, number + 1)
        me = f"<sip:{self.user}@{self.server_host}>"
        request = self._socket.request(
            "REGISTER",
            f"sip:{netloc(self.server)}",
            caller=f"{me};tag={tag()}",
            callee=me,
            call_id=call_id,
            number=number + 1,
        )
        request.headers.set("Contact", f"<{self.contact}>")
        request.headers.set("Expires", str(expires))
        await self._send(request)

    async def subscribe(
        self, event: Literal["message-summary", "dialog"], resource: str, expires: int = 3600
    ) -> Subscription:
        """Watch an AOR's mailboxes or an extension's hint; LabError if it is refused."""
        subscription = Subscription(self, event, resource)
        self._subscriptions[subscription.call_id] = subscription
        await subscription.renew(expires)
        return subscription

    async def next_call(self, within: float = 10.0) -> Call:
        """The next call that comes in."""
        async with asyncio.timeout(within):
            return await self._incoming.get()

    async def _send(self, request: Request) -> Response:
        try:
            response = await self._socket.send(request, self.server, within=10)
        except TimeoutError as error:
            raise LabError(f"no answer to {request.method} of {self.user}") from error
        if response.code >= 300:
            raise LabError(f"{request.method} of {self.user}: {response.code} {response.phrase}")
        return response

    def _handle(self, request: Request, source: Address) -> Response | None:
        if request.method == "NOTIFY":
            subscription = self._subscriptions.get(request.call_id)
            if subscription is None:
                return answer(request, 481, "Subscription does not exist")
            subscription._receive(request)
        elif request.method == "INVITE":
            if ";tag=" in request.headers["To"]:
                return answer(request, 488, "Not Acceptable Here")
            call = Call(self, request, source)
            self._calls[request.call_id] = call
            if self.ringing:
                call.ring()
            self._incoming.put_nowait(call)
            return None
        elif request.method == "ACK":
            self._acknowledged.set()
            return None
        elif request.method in ("BYE", "CANCEL"):
            gone = self._calls.pop(request.call_id, None)
            if gone is not None:
                gone.ended.set()
                if request.method == "CANCEL":
                    gone._answer(487, "Request Terminated")
        return answer(request, 200, "OK")


def _uri(contact: str) -> str:
    return contact.partition("<")[2].partition(">")[0] or contact.partition(";")[0]


def _sdp(phone: Phone, direction: str) -> bytes:
    host = phone._socket.address[0]
    kind = "IP6" if ":" in host else "IP4"
    lines = ["v=0", f"o=- 1 {time.monotonic_ns()} IN {kind} {host}", "s=-", f"c=IN {kind} {host}", "t=0 0"]
    lines += ["m=audio 9 RTP/AVP 0", "a=rtpmap:0 PCMU/8000", f"a={direction}", ""]
    return "\r\n".join(lines).encode()
