"""The SIP user agent: a thin asyncio shell around the transactions."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from ._addresses import Address, Bind, Transport, host_in_uri
from ._alarm import Alarm
from ._client_transactions import ClientTransactions
from ._connections import Connections
from ._errors import RequestTimeout, SipError, SipSyntaxError, TransportFailed
from ._messages import Request, Response, parse_message
from ._server_transactions import Arrival, ServerTransactions, TransactionKey
from ._settings import Counters, UserAgentSettings
from ._sockets import Sockets
from ._transports import Channel, Connection, SocketAddress, UdpSocket
from ._via import MAGIC_COOKIE

__all__ = ["Handler", "Later", "MalformedHook", "UserAgent"]

_KEEPALIVE = b"\r\n\x00 "
_LONGEST_KEEPALIVE = 4
_EXPIRY_SLACK = 1.0


class Later:
    """What a handler returns to answer a request later: keep it, and call `answer` or `drop` once.

    A request that is neither answered nor dropped stays remembered for the transaction's lifetime; its
    retransmissions are absorbed meanwhile.
    """

    __slots__ = ("_given", "_respond")

    def __init__(self) -> None:
        self._respond: Callable[[Response | None], None] | None = None
        self._given: Response | None = None

    def answer(self, response: Response) -> None:
        """Send the answer. Without effect on a request that was answered, dropped or has outlived its transaction."""
        if self._respond is None:
            self._given = response
        else:
            self._respond(response)

    def drop(self) -> None:
        """Leave the request unanswered and forget it: its retransmission is handled afresh."""
        if self._respond is not None:
            self._respond(None)

    def _bind(self, respond: Callable[[Response | None], None]) -> None:
        self._respond = respond
        if self._given is not None:
            respond(self._given)


Handler = Callable[[Request, Address], Response | Later | None]
MalformedHook = Callable[[Address, SipSyntaxError], None]


class UserAgent:
    """Receives requests for a handler and sends requests, over UDP and TCP. Use it as an async context manager.

    The handler is called synchronously with each new request of `settings.methods` and its source. It returns the
    response, or a `Later`, or None: silence, and the retransmission will be handled afresh. `on_malformed` is called
    for each message that is dropped as malformed; it comes from the network, so log it once per source.
    """

    def __init__(
        self,
        binds: Sequence[Bind],
        handler: Handler,
        *,
        settings: UserAgentSettings = UserAgentSettings(),  # noqa: B008
        on_malformed: MalformedHook | None = None,
    ) -> None:
        self.counters = Counters()
        self._handler = handler
        self._settings = settings
        self._on_malformed = on_malformed
        self._client = ClientTransactions(settings.timers)
        self._server = ServerTransactions(settings.transaction_lifetime, settings.transaction_capacity)
        self._pending: dict[str, tuple[asyncio.Future[Response | SipError], Channel, SocketAddress]] = {}
        self._connections = Connections(
            settings, self.counters, self._received_on_connection, self._connection_lost, self._malformed
        )
        self._sockets = Sockets(binds, self._connections, self._received_datagram)
        self._alarm = Alarm(self._wake)
        self._open = False
        self._allow = ", ".join(sorted({*settings.methods, "OPTIONS"}))

    @property
    def bound(self) -> tuple[Address, ...]:
        """The addresses it listens on, with the ports that the kernel chose."""
        return tuple(self._sockets.bound)

    async def __aenter__(self) -> Self:
        """Bind everything; raises TransportFailed where an address cannot be bound."""
        self._loop = asyncio.get_running_loop()
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._close)
            await self._sockets.listen()
            stack.pop_all()
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close all sockets. Requests that wait for an answer fail with TransportFailed."""
        await self._close()

    async def request(self, message: Request, destination: Address) -> Response:
        """Send a request and return its final response.

        Raises RequestTimeout after `settings.timers.timeout` seconds, TransportFailed where it cannot be sent or the
        connection is lost.
        """
        if not self._open:
            raise TransportFailed("the user agent is closed")
        address: SocketAddress = (destination.host, destination.port)
        try:
            channel: Channel
            source = ""
            if destination.transport is Transport.UDP:
                channel, source = self._sockets.way_to(destination.host)
            else:
                host = destination.host
                channel = await self._connections.open(destination, lambda: self._sockets.source_of_connections(host))
            branch = MAGIC_COOKIE + secrets.token_hex(12)
            data = message.with_via(_via(channel, source or channel.local.host, branch))
            if len(data) > self._settings.max_message_bytes:
                raise TransportFailed(f"the request has {len(data)} bytes, more than a message may have")
            channel.send(data, address)
        except TransportFailed:
            self.counters.transport_failures += 1
            self._sockets.forget_way(destination.host)
            raise
        future: asyncio.Future[Response | SipError] = self._loop.create_future()
        self._pending[branch] = (future, channel, address)
        now = self._loop.time()
        self._client.start(branch, message.method, data, reliable=channel.reliable, now=now)
        self._alarm.set(now + (self._settings.timers.timeout if channel.reliable else self._settings.timers.t1))
        self.counters.requests_sent += 1
        try:
            answer = await future
        finally:
            del self._pending[branch]
            self._client.end(branch)
        if isinstance(answer, SipError):
            raise answer
        return answer

    def give_up(self, destination: Address) -> None:
        """End all requests to a destination that are under way, as if their time were over.

        For a server that tells that it has restarted: it will not answer them, and their next repetition may be
        seconds away.
        """
        for future, _, address in self._pending.values():
            if address[:2] == (destination.host, destination.port) and not future.done():
                self.counters.given_up += 1
                _fail(future, RequestTimeout("given up: the destination has restarted"))

    # Sockets

    async def _close(self) -> None:
        self._open = False
        self._sockets.close()
        self._alarm.cancel()
        for future, _, _ in self._pending.values():
            _fail(future, TransportFailed("the user agent was closed"))
        await self._connections.close()

    def source_of(self, host: str) -> str:
        """The address that a host sees our requests come from.

        Raises:
            TransportFailed: when no address that we listen on reaches it; the message says what to listen on.
        """
        return self._sockets.seen_from(host)

    # Receiving

    def _received_datagram(self, udp: UdpSocket, data: bytes, address: SocketAddress) -> None:
        if len(data) <= _LONGEST_KEEPALIVE and not data.strip(_KEEPALIVE):
            self.counters.keepalives += 1
        elif len(data) > self._settings.max_message_bytes:
            self.counters.dropped_oversize += 1
        else:
            host = address[0].partition("%")[0]
            self._received(udp, data, Address(host, address[1], Transport.UDP), address)

    def _received_on_connection(self, connection: Connection, data: bytes) -> None:
        self._received(connection, data, connection.peer, ())

    def _received(self, channel: Channel, data: bytes, source: Address, address: SocketAddress) -> None:
        self.counters.received += 1
        try:
            message = parse_message(data, self._settings.max_message_bytes)
        except SipSyntaxError as error:
            self._malformed(source, error)
            return
        self.counters.parsed += 1
        if isinstance(message, Request):
            self.counters.requests += 1
            self._received_request(channel, message, source, address)
            return
        self.counters.responses += 1
        branch = self._client.receive(message, self._loop.time())
        pending = self._pending.get(branch) if branch is not None else None
        if pending is None:
            self.counters.responses_unmatched += message.status >= 200
        elif not pending[0].done():
            pending[0].set_result(message)

    def _received_request(self, channel: Channel, request: Request, source: Address, address: SocketAddress) -> None:
        via = request.via
        if address and not via.has_rport:
            address = (address[0], via.sent_by[1], *address[2:])
        if request.method not in self._settings.methods:
            self._answer_itself(channel, request, source, address)
            return
        key = self._server.key(request, source)
        arrival, answer = self._server.receive(key, self._loop.time())
        if answer is not None:
            self.counters.retransmissions_answered += 1
            self._send(channel, answer, address)
        elif arrival is Arrival.UNANSWERED:
            self.counters.retransmissions_absorbed += 1
        else:
            self.counters.transactions_evicted = self._server.evicted
            request = request.received_from(source.host, source.port)
            answered = self._handle(request, source)
            if isinstance(answered, Later):
                self._alarm.set(self._loop.time() + self._settings.transaction_lifetime + _EXPIRY_SLACK)
                answered._bind(lambda response: self._respond(channel, key, response, address))
            else:
                self._respond(channel, key, answered, address)

    def _handle(self, request: Request, source: Address) -> Response | Later | None:
        try:
            return self._handler(request, source)
        except Exception as error:
            self.counters.handler_failures += 1
            self._loop.call_exception_handler(
                {"message": f"the handler failed on {request!r} from {source}", "exception": error}
            )
            return Response.answer(request, 500)

    def _respond(
        self, channel: Channel, key: TransactionKey, response: Response | None, address: SocketAddress
    ) -> None:
        if response is None:
            self.counters.requests_unanswered += 1
            self._server.forget(key)
            return
        data = bytes(response)
        now = self._loop.time()
        if not self._open or not self._server.answer(key, data, reliable=channel.reliable, now=now):
            self.counters.late_answers += 1
            return
        self._alarm.set(now + self._settings.transaction_lifetime + _EXPIRY_SLACK)
        self._send(channel, data, address)

    def _answer_itself(self, channel: Channel, request: Request, source: Address, address: SocketAddress) -> None:
        """Stateless answers (RFC 3261 8.2.7): these requests change nothing, so handling them twice does no harm."""
        if request.method == "ACK":
            return
        request = request.received_from(source.host, source.port)
        headers = [("Allow", self._allow)]
        if request.method == "OPTIONS":
            response = Response.answer(request, 200, [*headers, ("Accept", "application/json")])
        else:
            self.counters.method_not_allowed += 1
            response = Response.answer(request, 405, headers)
        self._send(channel, bytes(response), address)

    def _send(self, channel: Channel, data: bytes, address: SocketAddress) -> None:
        # Anyone who asked asks again, or has gone.
        try:
            channel.send(data, address)
        except TransportFailed:
            self.counters.send_failures += 1

    def _malformed(self, source: Address, error: SipSyntaxError) -> None:
        self.counters.malformed += 1
        if self._on_malformed is not None:
            self._on_malformed(source, error)

    def _connection_lost(self, connection: Connection) -> None:
        for future, channel, _ in self._pending.values():
            if channel is connection:
                self.counters.transport_failures += 1
                _fail(future, TransportFailed(f"the connection to {connection.peer} was lost"))

    # Time

    def _wake(self) -> None:
        now = self._loop.time()
        due = self._client.due(now)
        for branch, data in due.retransmissions:
            future, channel, address = self._pending[branch]
            self.counters.retransmissions_sent += 1
            try:
                channel.send(data, address)
            except TransportFailed as error:
                self._client.end(branch)
                self.counters.transport_failures += 1
                _fail(future, error)
        for branch in due.timeouts:
            self.counters.timeouts += 1
            _fail(self._pending[branch][0], RequestTimeout("no final answer came in time"))
        self._server.expire(now)
        deadline = self._client.next_deadline()
        if deadline is not None:
            self._alarm.set(deadline)
        deadline = self._server.next_deadline()
        if deadline is not None:
            # Not for each one alone: memory has time.
            self._alarm.set(max(deadline, now) + _EXPIRY_SLACK)


def _via(channel: Channel, source: str, branch: str) -> str:
    transport = channel.local.transport.value
    return f"SIP/2.0/{transport} {host_in_uri(source)}:{channel.local.port};rport;branch={branch}"


def _fail(future: asyncio.Future[Response | SipError], error: SipError) -> None:
    if not future.done():
        future.set_result(error)
