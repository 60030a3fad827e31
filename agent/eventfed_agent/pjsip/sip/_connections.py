"""All TCP connections of a user agent: those it accepted, within caps, and those it opened, one per destination."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from ._addresses import Address, Transport, family_of
from ._errors import SipSyntaxError, TransportFailed
from ._settings import Counters, UserAgentSettings
from ._transports import Connection

__all__ = ["Connections"]


@dataclass(slots=True)
class _Attempt:
    """A connection being made, and those who wait for it; they share its failure too."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0
    failure: str | None = None


class Connections:
    """Accepts, opens, counts and closes."""

    def __init__(
        self,
        settings: UserAgentSettings,
        counters: Counters,
        receive: Callable[[Connection, bytes], None],
        lost: Callable[[Connection], None],
        malformed: Callable[[Address, SipSyntaxError], None],
    ) -> None:
        self._settings = settings
        self._counters = counters
        self._receive = receive
        self._lost = lost
        self._malformed = malformed
        self._servers: list[asyncio.Server] = []
        self._accepted: set[Connection] = set()
        self._per_source: Counter[str] = Counter()
        self._opened: dict[tuple[str, int], Connection] = {}
        self._attempts: dict[tuple[str, int], _Attempt] = {}
        self._closing = False

    def __len__(self) -> int:
        return len(self._accepted) + len(self._opened)

    async def listen(self, host: str, port: int) -> Address:
        """Accept connections; the address bound."""
        server = await asyncio.get_running_loop().create_server(
            lambda: self._new(self._admit, self._accepted_gone), host, port, family=family_of(host)
        )
        self._servers.append(server)
        bound = server.sockets[0].getsockname()
        return Address(bound[0], bound[1], Transport.TCP)

    async def open(self, destination: Address, source: Callable[[], str | None]) -> Connection:
        """The connection to the destination, opened from `source` if there is none; raises TransportFailed."""
        name = (destination.host, destination.port)
        connection = self._opened.get(name)
        if connection is not None and connection.usable:
            return connection
        family_of(destination.host)
        attempt = self._attempts.setdefault(name, _Attempt())
        attempt.waiting += 1
        try:
            async with attempt.lock:
                connection = self._opened.get(name)
                if connection is not None and connection.usable:
                    return connection
                if attempt.failure is None:
                    connection = await self._connect(name, source(), attempt)
                if attempt.failure is not None or connection is None:
                    raise TransportFailed(f"cannot connect to {destination}: {attempt.failure}")
                return connection
        finally:
            attempt.waiting -= 1
            if not attempt.waiting:
                self._attempts.pop(name, None)

    async def close(self) -> None:
        """Close everything; what is not gone in `close_timeout` is aborted."""
        self._closing = True
        for server in self._servers:
            server.close()
        connections = [*self._accepted, *self._opened.values()]
        for connection in connections:
            connection.close()
        if connections:
            gone = [connection.gone for connection in connections]
            await asyncio.wait(gone, timeout=self._settings.close_timeout)
            for connection in connections:
                connection.abort()
            await asyncio.wait(gone)
        for server in self._servers:
            await server.wait_closed()

    async def _connect(self, name: tuple[str, int], source: str | None, attempt: _Attempt) -> Connection | None:
        try:
            async with asyncio.timeout(self._settings.connect_timeout):
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: self._new(lambda _: not self._closing, self._opened_gone),
                    *name,
                    local_addr=None if source is None else (source, 0),
                )
        except TimeoutError:
            attempt.failure = f"no answer in {self._settings.connect_timeout} s"
            return None
        except OSError as error:
            attempt.failure = str(error)
            return None
        if self._closing:
            attempt.failure = "the user agent is closed"
            return None
        self._counters.connections_opened += 1
        self._opened[name] = connection
        return connection

    def _new(self, opened: Callable[[Connection], bool], closed: Callable[[Connection], None]) -> Connection:
        return Connection(self._settings, self._counters, opened, closed, self._receive, self._malformed)

    def _admit(self, connection: Connection) -> bool:
        host = connection.peer.host
        if (
            self._closing
            or len(self._accepted) >= self._settings.max_connections
            or self._per_source[host] >= self._settings.max_connections_per_source
        ):
            self._counters.connections_refused += 1
            return False
        self._counters.connections_accepted += 1
        self._accepted.add(connection)
        self._per_source[host] += 1
        return True

    def _accepted_gone(self, connection: Connection) -> None:
        self._accepted.discard(connection)
        self._per_source[connection.peer.host] -= 1
        if not self._per_source[connection.peer.host]:
            del self._per_source[connection.peer.host]
        self._lost(connection)

    def _opened_gone(self, connection: Connection) -> None:
        name = (connection.peer.host, connection.peer.port)
        if self._opened.get(name) is connection:
            del self._opened[name]
        self._lost(connection)
