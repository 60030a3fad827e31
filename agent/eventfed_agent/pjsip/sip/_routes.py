"""Which of the addresses that a user agent listens on reaches a host. Nothing is sent to find out."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from typing import NamedTuple

from ._addresses import family_of
from ._errors import TransportFailed

__all__ = ["Route", "find_route"]

_ANY_PORT = 9
"""Where a probe is connected to; it makes no difference to the route."""


class Route(NamedTuple):
    """The way to a host: the position of the address to send from, and that address as the host sees it."""

    position: int
    source: str


def find_route(listening: Sequence[str], host: str) -> Route:
    """Choose the address to send from: the one from which the kernel sends to `host`, if we listen on it.

    Else an address that stands for all of its family; else, of those from which the host can be reached at all, the
    one that shares the longest prefix with the kernel's choice. So answers, and the requests of a host that was told
    the address, find their way back.

    Args:
        listening: IP addresses of this machine, without ports.
        host: an IP address.

    Raises:
        TransportFailed: when none of them reaches the host; the message says what to listen on.
    """
    family = family_of(host)
    fitting = [(number, address) for number, address in enumerate(listening) if family_of(address) is family]
    if not fitting:
        version = 4 if family is socket.AF_INET else 6
        raise TransportFailed(f"no listen address reaches {host}: listen on an IPv{version} address too")
    try:
        source = _source(host)
    except OSError as error:
        raise TransportFailed(f"no route to {host}: {error}") from error
    for wanted in (source, "0.0.0.0", "::"):
        for number, address in fitting:
            if address == wanted:
                return Route(number, source)
    reaching = [(number, address) for number, address in fitting if _reaches(address, host, local=source == host)]
    if not reaching:
        listened = ", ".join(address for _, address in fitting)
        raise TransportFailed(
            f"no listen address reaches {host}: this machine sends to it from {source}, and the agent listens on "
            f"{listened}; listen on {source} too"
        )
    number, address = max(reaching, key=lambda one: _shared_bits(one[1], source))
    return Route(number, address)


def _source(host: str, bind: str | None = None) -> str:
    """The address that a socket sends to the host from. Raises OSError."""
    with socket.socket(family_of(host), socket.SOCK_DGRAM) as probe:
        if bind is not None:
            probe.bind((bind, 0))
        probe.connect((host, _ANY_PORT))
        return str(probe.getsockname()[0]).partition("%")[0]


def _reaches(address: str, host: str, *, local: bool) -> bool:
    """Whether a socket that is bound to the address can send to the host; `local` says that the host is this machine.

    Over IPv4 Linux refuses to connect a socket on loopback to another machine, over IPv6 it does not.
    """
    if ipaddress.ip_address(address).is_loopback and not (local or ipaddress.ip_address(host).is_loopback):
        return False
    try:
        _source(host, address)
    except OSError:
        return False
    return True


def _shared_bits(one: str, other: str) -> int:
    first, second = ipaddress.ip_address(one), ipaddress.ip_address(other)
    return first.max_prefixlen - (int(first) ^ int(second)).bit_length()
