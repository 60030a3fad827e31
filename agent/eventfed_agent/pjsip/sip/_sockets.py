"""The addresses that a user agent listens on, and from which of them a host is reached."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Sequence

from ._addresses import Address, Bind, Transport, host_in_uri
from ._connections import Connections
from ._errors import TransportFailed
from ._routes import Route, find_route
from ._transports import SocketAddress, UdpSocket

__all__ = ["Sockets"]

_PORT_ATTEMPTS = 32
_MAX_ROUTES = 4096
_ROUTE_LIFETIME = 10.0
"""For how long the way to a host is remembered, in seconds."""


class Sockets:
    """The UDP sockets of one user agent, the ports that its connections come in at, and the routes from both.

    Args:
        connections: accept on the TCP ports.
        receive: called with each datagram and the socket that it came in at.
    """

    def __init__(
        self,
        binds: Sequence[Bind],
        connections: Connections,
        receive: Callable[[UdpSocket, bytes, SocketAddress], None],
    ) -> None:
        self.bound: list[Address] = []
        """What it listens on, with the ports that the kernel chose."""
        self._binds = binds
        self._connections = connections
        self._receive = receive
        self._udp: list[UdpSocket] = []
        self._routes: dict[str, tuple[Route, float]] = {}

    async def listen(self) -> None:
        """Bind everything.

        Raises:
            TransportFailed: an address cannot be bound; what was bound before it stays so until `close`.
        """
        for bind in self._binds:
            await self._listen(bind)

    async def _listen(self, bind: Bind) -> None:
        for attempt in range(_PORT_ATTEMPTS):
            udp: UdpSocket | None = None
            port = bind.port
            try:
                if Transport.UDP in bind.transports:
                    udp = UdpSocket(bind.host, port, self._receive)
                    port = udp.local.port
                if Transport.TCP in bind.transports:
                    self.bound.append(await self._connections.listen(bind.host, port))
            except OSError as error:
                if udp is not None:
                    udp.close()
                # The kernel chose a port for UDP which is taken for TCP.
                if (
                    udp is not None
                    and not bind.port
                    and error.errno == errno.EADDRINUSE
                    and attempt < _PORT_ATTEMPTS - 1
                ):
                    continue
                raise TransportFailed(f"cannot listen on {host_in_uri(bind.host)}:{port}: {error}") from error
            if udp is not None:
                udp.start()
                self._udp.append(udp)
                self.bound.append(udp.local)
            return

    def close(self) -> None:
        """Close the UDP sockets."""
        for udp in self._udp:
            udp.close()

    def seen_from(self, host: str) -> str:
        """The address that a host sees requests come from.

        Raises:
            TransportFailed: when no address that we listen on reaches it; the message says what to listen on.
        """
        return find_route([bind.host for bind in self._binds], host).source

    def way_to(self, host: str) -> tuple[UdpSocket, str]:
        """The UDP socket from which a host is reached, and its address as the host sees it.

        Routes change, so the kernel is asked again after a while.

        Raises:
            TransportFailed: when no socket reaches it; the message says what to listen on.
        """
        now = asyncio.get_running_loop().time()
        known = self._routes.get(host)
        if known is None or known[1] <= now:
            if len(self._routes) >= _MAX_ROUTES:
                self._routes.clear()
            known = self._routes[host] = find_route([udp.local.host for udp in self._udp], host), now + _ROUTE_LIFETIME
        position, source = known[0]
        return self._udp[position], source

    def forget_way(self, host: str) -> None:
        """Ask the kernel the next time: sending has failed."""
        self._routes.pop(host, None)

    def source_of_connections(self, host: str) -> str | None:
        """The address to open a connection from: one that we listen on, since a server may know us by it."""
        listening = [bind.host for bind in self._binds if Transport.TCP in bind.transports]
        return find_route(listening, host).source if listening else None
