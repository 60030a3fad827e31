"""Servers of one federation, wherever they run."""

import asyncio
import time
from collections.abc import Iterable
from typing import Generic, TypeVar

from eventfed import DeviceState

from ._server import FederatedServer, MailboxCounts

__all__ = ["Federated"]

AnyServer = TypeVar("AnyServer", bound=FederatedServer)


class Federated(Generic[AnyServer]):
    """What can be asked of all servers at once. Anyone who makes one keeps `servers` up to date."""

    servers: dict[str, AnyServer]

    def __getitem__(self, name: str) -> AnyServer:
        return self.servers[name]

    async def wait_device(
        self, device: str, state: DeviceState, *, on: Iterable[str] | None = None, within: float = 10.0
    ) -> float:
        """Wait until ``DEVICE_STATE(device)`` is `state` on the named servers; seconds it took for the last one."""
        began, names = time.monotonic(), list(on or self.servers)
        async with asyncio.TaskGroup() as tasks:
            waits = [tasks.create_task(self.servers[name].wait_device(device, state, within)) for name in names]
        return max(wait.result() for wait in waits) - began

    async def wait_mailbox(
        self, mailbox: str, counts: MailboxCounts, *, on: Iterable[str] | None = None, within: float = 10.0
    ) -> float:
        """Wait until phones on the named servers are told `counts`; seconds it took for the last one."""
        began, names = time.monotonic(), list(on or self.servers)
        async with asyncio.TaskGroup() as tasks:
            waits = [tasks.create_task(self.servers[name].wait_mailbox(mailbox, counts, within)) for name in names]
        return max(wait.result() for wait in waits) - began
