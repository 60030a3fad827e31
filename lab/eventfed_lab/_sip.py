"""Just enough SIP over UDP for the lab's phones and simulated servers; independent of the agent's own."""

import asyncio
import re
import secrets
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import Self, cast

from sipmessage import URI, CSeq, Message, Parameters, Request, Response, Via

from ._errors import LabError

__all__ = ["T1", "SipSocket", "answer", "netloc", "tag"]

T1 = 0.5
"""Seconds to the first retransmission (RFC 3261 17.1.1.1)."""
_T2 = 4.0
_BRANCH = re.compile(r";\s*branch\s*=\s*([^\s;,]+)", re.I)
_REMEMBERED = 2048
"""Answers kept for retransmitted requests."""

Address = tuple[str, int]
Handler = Callable[[Request, Address], Response | None]


def netloc(address: Address) -> str:
    """``127.0.0.1:5060`` or ``[::1]:5060``."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def tag() -> str:
    return secrets.token_hex(8)


def answer(request: Request, code: int, phrase: str, *, to_tag: str = "", body: bytes = b"") -> Response:
    """A response to `request` (RFC 3261 8.2.6)."""
    response = Response(code, phrase, body)
    for name in ("Via", "From", "Call-ID", "CSeq"):
        response.headers.setlist(name, list(request.headers.getlist(name)))
    to = request.headers["To"]
    response.headers.set("To", to if ";tag=" in to or code == 100 else f"{to};tag={to_tag or tag()}")
    return response


class SipSocket(asyncio.DatagramProtocol):
    """A UDP socket with non-INVITE and re-INVITE client transactions, and duplicate detection for servers.

    `handler` gets each new request once and returns its answer, or None where the answer comes later through
    `respond`; a retransmitted request gets the last answer again.
    """

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._waiting: dict[tuple[str, str], asyncio.Future[Response]] = {}
        self._proceeding: set[tuple[str, str]] = set()
        self._answered: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._transport: asyncio.DatagramTransport | None = None
        self._closed = asyncio.Event()
        self._hung: list[tuple[bytes, Address]] | None = None
        self.address: Address = ("", 0)
        self.sent = 0
        """Datagrams sent, retransmissions included."""

    @classmethod
    async def open(cls, host: str, port: int, handler: Handler) -> Self:
        loop = asyncio.get_running_loop()
        _, self = await loop.create_datagram_endpoint(lambda: cls(handler), local_addr=(host, port))
        return self

    def request(self, method: str, uri: str, *, caller: str, callee: str, call_id: str, number: int) -> Request:
        """A request with all mandatory headers; `caller` and `callee` are From and To."""
        request = Request(method, URI.parse(uri))
        branch = f"z9hG4bK{secrets.token_hex(8)}"
        host, port = self.address
        literal = f"[{host}]" if ":" in host else host
        request.via = [Via("UDP", literal, port, Parameters(branch=branch, rport=None))]
        request.headers.set("Max-Forwards", "70")
        request.headers.set("From", caller)
        request.headers.set("To", callee)
        request.headers.set("Call-ID", call_id)
        request.cseq = CSeq(number, method)
        return request

    async def send(self, request: Request, to: Address, within: float = 64 * T1) -> Response:
        """Send a request, again and again until it is answered, and return the final answer.

        Raises:
            TimeoutError: none in `within` seconds.
        """
        key = _key(request)
        future = self._waiting.setdefault(key, asyncio.get_running_loop().create_future())
        interval = T1
        try:
            async with asyncio.timeout(within):
                while True:
                    if self._hung is None and key not in self._proceeding:
                        self.send_message(request, to)
                    with suppress(TimeoutError):
                        async with asyncio.timeout(interval):
                            return await asyncio.shield(future)
                    interval = min(2 * interval, _T2)
        finally:
            future.cancel()
            self._waiting.pop(key, None)
            self._proceeding.discard(key)

    def respond(self, request: Request, response: Response, to: Address) -> None:
        """Answer a request for which the handler returned None; a final answer is remembered."""
        self._send_answer(_key(request), response, to)

    def send_message(self, message: Request | Response, to: Address) -> None:
        """Send one datagram."""
        if self._transport is None:
            raise LabError("the SIP socket is closed")
        message.headers.set("Content-Length", str(len(message.body)))
        self.sent += 1
        self._transport.sendto(bytes(message), to)

    def hang(self) -> None:
        """Read and send nothing; what arrives waits."""
        self._hung = []

    def resume(self) -> None:
        """Handle what has arrived meanwhile."""
        waiting, self._hung = self._hung or [], None
        for data, source in waiting:
            self.datagram_received(data, source)

    def abort(self) -> None:
        """Close at once; nothing is sent or handled any more."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    async def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
        await self._closed.wait()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)
        self.address = transport.get_extra_info("sockname")[:2]

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._closed.set()

    def error_received(self, error: Exception) -> None:
        """An ICMP error: the other side is not there; retransmission goes on, as Asterisk's does."""

    def datagram_received(self, data: bytes, source: Address) -> None:
        if self._transport is None:
            return
        if self._hung is not None:
            self._hung.append((data, source))
            return
        try:
            message = Message.parse(data)
            key = _key(message)
        except (ValueError, KeyError, IndexError):
            return
        source = source[:2]
        if isinstance(message, Response):
            if message.code < 200:
                self._proceeding.add(key)
            elif (future := self._waiting.get(key)) is not None and not future.done():
                future.set_result(message)
        elif key in self._answered:
            if self._transport is not None and self._answered[key]:
                self._transport.sendto(self._answered[key], source)
        else:
            self._answered[key] = b""
            while len(self._answered) > _REMEMBERED:
                self._answered.popitem(last=False)
            response = self._handler(message, source)
            if response is not None:
                self._send_answer(key, response, source)

    def _send_answer(self, key: tuple[str, str], response: Response, to: Address) -> None:
        if self._transport is None:
            return
        self.send_message(response, to)
        self._answered[key] = bytes(response)


def _key(message: Request | Response) -> tuple[str, str]:
    """The transaction (RFC 3261 17.1.3, 17.2.3); a CANCEL and an ACK are their own here."""
    # Not Message.via: it refuses the ``received=::1`` that Asterisk writes (RFC 5118 4.5 asks to accept it).
    found = _BRANCH.search(message.headers["Via"])
    return found[1] if found else "", message.cseq.method
