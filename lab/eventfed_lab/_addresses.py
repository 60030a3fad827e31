"""Loopback addresses and ports, allotted so that test runs side by side never meet."""

import fcntl
import ipaddress
import os
import random
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Self

from ._errors import LabError

__all__ = ["Allotment", "allot"]

_POOL = ipaddress.ip_network("127.77.0.0/16")
_ADDRESSES = range(1, 4096)
_PORTS = range(20000, 32000, 8)
"""Blocks of eight ports, below the ephemeral range (ip_local_port_range, 32768 and up)."""


@dataclass(kw_only=True)
class Allotment:
    """A loopback address with ports that nobody else in the lab uses until `release()`.

    The claim is a file lock, so it ends with the process at the latest.
    """

    host: str
    ports: tuple[int, ...]
    """On an address of one's own the usual ports (5060, 5038, 4222, …), else a block of eight."""
    _lock: IO[bytes] = field(repr=False)

    @property
    def sip_port(self) -> int:
        return self.ports[0]

    @property
    def ami_port(self) -> int:
        return self.ports[1]

    @property
    def netloc(self) -> str:
        """The host as it is written in a URI: an IPv6 literal in brackets."""
        return f"[{self.host}]" if ":" in self.host else self.host

    def release(self) -> None:
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def allot(host: str | None = None) -> Allotment:
    """Claim a loopback address of its own (127.77.x.y, SIP on 5060), or a block of ports on `host`.

    Give `host` for ``"::1"`` (Linux has only this one IPv6 loopback address) or ``"127.0.0.1"``.

    Raises:
        LabError: if `host` is no loopback address, or all are taken.
    """
    if host is not None and not ipaddress.ip_address(host).is_loopback:
        raise LabError(f"the lab binds to loopback only, not to {host}")
    for name, address, ports in _candidates(host):
        lock = _lock(name)
        if lock is None:
            continue
        if _free(address, ports[:2]):
            return Allotment(host=address, ports=ports, _lock=lock)
        lock.close()
    raise LabError("all loopback addresses of the lab are taken: stop other test runs")


def _candidates(host: str | None) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    if host is None:
        usual = (5060, 5038, 4222, 8080, 8081, 8082, 8083, 8084)
        for number in random.sample(_ADDRESSES, len(_ADDRESSES)):
            address = str(_POOL[number])
            yield address, address, usual
    else:
        for first in random.sample(_PORTS, len(_PORTS)):
            yield f"{host.replace(':', '_')}-{first}", host, tuple(range(first, first + _PORTS.step))


def _lock(name: str) -> IO[bytes] | None:
    folder = Path(tempfile.gettempdir(), f"eventfed-addresses-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    file = (folder / name).open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def _free(host: str, ports: tuple[int, ...]) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        for port in ports:
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                with socket.socket(family, kind) as trial:
                    trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    trial.bind((host, port))
    except OSError:
        return False
    return True
