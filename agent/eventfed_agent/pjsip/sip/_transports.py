"""UDP sockets and TCP connections on asyncio: bytes of whole messages in, bytes out."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Any, Protocol

from ._addresses import Address, Transport, family_of
from ._errors import SipSyntaxError, TransportFailed
from ._settings import Counters, UserAgentSettings
from ._stream import StreamFramer
from ._watch import Watch

__all__ = ["Channel", "Connection", "SocketAddress", "UdpSocket"]

_RECEIVE_BUFFER = 4 << 20
_DATAGRAMS_AT_ONCE = 64
_LARGEST_DATAGRAM = 65_536

SocketAddress = tuple[Any, ...]


class Channel(Protocol):
    """Where a message came in or goes out."""

    reliable: bool
    local: Address

    def send(self, data: bytes, address: SocketAddress) -> None:
        """Send now; raises TransportFailed."""


class UdpSocket:
    """One bound UDP socket. Reads many datagrams per wake-up, which asyncio's own transport does not."""

    reliable = False

    def __init__(self, host: str, port: int, receive: Callable[[UdpSocket, bytes, SocketAddress], None]) -> None:
        family = family_of(host)
        self._receive = receive
        self._loop = asyncio.get_running_loop()
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
            if family is socket.AF_INET6:
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            self._socket.bind((host, port))
        except BaseException:
            self._socket.close()
            raise
        self.local = Address(host, self._socket.getsockname()[1], Transport.UDP)

    def start(self) -> None:
        """Begin to read."""
        self._loop.add_reader(self._socket.fileno(), self._readable)

    def send(self, data: bytes, address: SocketAddress) -> None:
        try:
            self._socket.sendto(data, address)
        except OSError as error:
            raise TransportFailed(f"cannot send to {address[0]}:{address[1]}: {error}") from error

    def close(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()

    def _readable(self) -> None:
        for _ in range(_DATAGRAMS_AT_ONCE):
            try:
                data, address = self._socket.recvfrom(_LARGEST_DATAGRAM)
            except OSError:
                return
            self._receive(self, data, address)


class Connection(asyncio.Protocol):
    """One TCP connection, accepted or opened. It ends when it is idle, or a message in it is not finished."""

    reliable = True

    def __init__(
        self,
        settings: UserAgentSettings,
        counters: Counters,
        opened: Callable[[Connection], bool],
        closed: Callable[[Connection], None],
        receive: Callable[[Connection, bytes], None],
        malformed: Callable[[Address, SipSyntaxError], None],
    ) -> None:
        self._settings = settings
        self._counters = counters
        self._opened = opened
        self._closed = closed
        self._receive = receive
        self._malformed = malformed
        self._framer = StreamFramer(settings.max_message_bytes)
        self._watch = Watch(settings.idle_timeout, settings.message_timeout, self._idle)
        self._admitted = False
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def usable(self) -> bool:
        return not self.gone.done() and not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        local = transport.get_extra_info("sockname")
        peer = transport.get_extra_info("peername") or ("", 0)
        self.local = Address(local[0], local[1], Transport.TCP)
        self.peer = Address(peer[0].partition("%")[0], peer[1], Transport.TCP)
        transport.set_write_buffer_limits(high=self._settings.max_write_buffer_bytes)
        self._admitted = self._opened(self)
        if not self._admitted:
            transport.abort()
            return
        self._watch.active()

    def data_received(self, data: bytes) -> None:
        if not self._admitted:
            return
        self._watch.active()
        self._framer.receive(data)
        try:
            while self.usable and (message := self._framer.next_message()) is not None:
                self._watch.message_ended()
                self._receive(self, message)
        except SipSyntaxError as error:
            self._malformed(self.peer, error)
            self._transport.abort()
            return
        if self._framer.partial:
            self._watch.message_began()
        else:
            self._watch.message_ended()

    def pause_writing(self) -> None:
        # The peer does not read what it asked for.
        self._counters.connections_stalled += 1
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._watch.end()
        if self._admitted and self._framer.partial:
            self._malformed(self.peer, SipSyntaxError("the connection ended within a message"))
        if not self.gone.done():
            self.gone.set_result(None)
        if self._admitted:
            self._closed(self)

    def send(self, data: bytes, address: SocketAddress) -> None:
        if not self.usable:
            raise TransportFailed(f"the connection to {self.peer} is closed")
        self._watch.active()
        self._transport.write(data)

    def close(self) -> None:
        self._transport.close()

    def abort(self) -> None:
        self._transport.abort()

    def _idle(self) -> None:
        if self.usable:
            self._counters.connections_timed_out += 1
            self._transport.abort()
