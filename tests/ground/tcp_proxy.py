"""A TCP proxy on loopback whose connections can fall silent, as behind a load balancer that has forgotten them."""

import contextlib
import socket
import threading
from typing import Self

__all__ = ["TcpProxy"]

_POLL = 0.2


class _Connection:
    """Two sockets and two threads that carry bytes between them, until one of the ends is closed."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self._ends = (client, server)
        self.flows = threading.Event()
        self.flows.set()
        self._closed = False
        for one, other in (self._ends, self._ends[::-1]):
            one.settimeout(_POLL)
            threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        while not self._closed:
            if not self.flows.wait(_POLL):
                continue
            try:
                data = source.recv(65_536)
                # What came while it fell silent is never passed on.
                if not self.flows.is_set():
                    continue
                if not data:
                    break
                target.sendall(data)
            except TimeoutError:
                continue
            except OSError:
                break
        if self.flows.is_set() or self._closed:
            self.close()

    def close(self) -> None:
        self._closed = True
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


class TcpProxy:
    """Listens on a port of its own and passes all on to one server.

    Args:
        port: the server's, on loopback.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._connections: list[_Connection] = []
        self._takes = threading.Event()
        self._takes.set()
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def silence(self) -> int:
        """Let every open connection fall silent for good: neither end hears of it. Returns how many."""
        some = list(self._connections)
        for one in some:
            one.flows.clear()
        return len(some)

    def stop(self) -> None:
        """Let new connections fall silent as well, after their handshake."""
        self._takes.clear()
        self.silence()

    def go_on(self) -> None:
        """Take new connections again; those that are silent are closed."""
        self._takes.set()
        self.cut()

    def cut(self) -> None:
        """Close every connection."""
        for one in self._connections:
            one.close()
        self._connections.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                client.close()
                continue
            one = _Connection(client, server)
            if not self._takes.is_set():
                one.flows.clear()
            self._connections.append(one)
