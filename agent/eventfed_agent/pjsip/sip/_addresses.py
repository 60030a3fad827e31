"""Where a SIP message comes from, goes to, and where the user agent listens."""

from __future__ import annotations

import enum
import ipaddress
import socket
from collections.abc import Set
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from ._errors import TransportFailed

__all__ = ["Address", "Bind", "Transport", "family_of", "host_in_uri"]


class Transport(enum.Enum):
    """A SIP transport, with the name it has in Via headers."""

    UDP = "UDP"
    TCP = "TCP"


class Address(NamedTuple):
    """One end of a SIP message: the source of a received one, a destination, or a bound socket.

    `host` is always an IP literal without brackets or zone; the user agent never asks DNS.
    """

    host: str
    port: int
    transport: Transport = Transport.UDP

    def __str__(self) -> str:
        return f"{self.transport.value.lower()}:{host_in_uri(self.host)}:{self.port}"


@dataclass(frozen=True, slots=True)
class Bind:
    """A local address to listen on. Port 0 lets the kernel choose one, the same for all transports."""

    host: str
    port: int = 5060
    transports: Set[Transport] = frozenset(Transport)


@lru_cache(maxsize=4096)
def family_of(host: str) -> socket.AddressFamily:
    """The address family of an IP literal; raises TransportFailed for anything else."""
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        raise TransportFailed(f"{host!r} is not an IP address: give the address, not a name") from None
    return socket.AF_INET if version == 4 else socket.AF_INET6


def host_in_uri(host: str) -> str:
    """The host as URIs and Via headers write it: IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host
