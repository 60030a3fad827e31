"""Two networks on one machine, each with addresses of its own; the machine's other addresses are not in them."""

import ctypes
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["HERE", "HERE6", "THERE", "THERE6", "OtherNetwork", "two_networks"]

HERE, THERE = "198.51.100.1", "198.51.100.2"
HERE6, THERE6 = "fd77::1", "fd77::2"
_NETWORK = "/proc/thread-self/ns/net"
_NEW_NETWORK = 0x40000000
"""CLONE_NEWNET"""
_libc = ctypes.CDLL(None, use_errno=True)


class OtherNetwork:
    """The network in which this process is not: what is started by `start` runs there."""

    def __init__(self, namespace: int) -> None:
        self._namespace = namespace

    def start(self, launch: Callable[[], object]) -> None:
        """Call `launch`, whose processes and sockets then belong to the other network."""
        home = os.open(_NETWORK, os.O_RDONLY)
        try:
            _enter(self._namespace)
            launch()
        finally:
            _enter(home)
            os.close(home)


@contextmanager
def two_networks() -> Iterator[OtherNetwork]:
    """This thread, and what it starts, has loopback and HERE, the other network THERE. Needs root and ``ip``."""
    home = os.open(_NETWORK, os.O_RDONLY)
    namespaces = [home]
    keeper: subprocess.Popen[bytes] | None = None
    try:
        _unshare()
        namespaces.append(os.open(_NETWORK, os.O_RDONLY))
        keeper = subprocess.Popen(["sleep", "infinity"])
        _unshare()
        namespaces.append(os.open(_NETWORK, os.O_RDONLY))
        _ip("link set lo up")
        _ip(f"link add here type veth peer name there netns {keeper.pid}")
        _addresses("here", HERE, HERE6)
        _enter(namespaces[1])
        _ip("link set lo up")
        _addresses("there", THERE, THERE6)
        _enter(namespaces[2])
        yield OtherNetwork(namespaces[1])
    finally:
        _enter(home)
        for namespace in namespaces:
            os.close(namespace)
        if keeper is not None:
            keeper.kill()
            keeper.wait()


def _addresses(device: str, *addresses: str) -> None:
    for address in addresses:
        size = "64 nodad" if ":" in address else "24"
        _ip(f"address add {address}/{size.partition(' ')[0]} dev {device} {size.partition(' ')[2]}")
    _ip(f"link set {device} up")


def _ip(arguments: str) -> None:
    subprocess.run(["ip", *arguments.split()], check=True, capture_output=True)


def _unshare() -> None:
    if _libc.unshare(_NEW_NETWORK):
        raise OSError(ctypes.get_errno(), "unshare: a network of its own needs root")


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, _NEW_NETWORK):
        raise OSError(ctypes.get_errno(), "setns")
