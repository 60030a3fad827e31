"""What the servers say of themselves, and whether all of them show it."""

import asyncio
import random
import re
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from eventfed import DeviceState, aggregate_device_state

from ._errors import AmiConnectionLost, LabError
from ._reachable import ReachableAsterisk
from ._server import MailboxCounts

__all__ = ["Truth"]

_STATES = (
    DeviceState.NOT_INUSE,
    DeviceState.INUSE,
    DeviceState.BUSY,
    DeviceState.RINGING,
    DeviceState.ONHOLD,
    DeviceState.UNAVAILABLE,
)
_SHARED = "Custom:truth-shared"
_MOST_NEW, _SPREAD = 3, 4
_HOLDS = 0.3
"""For how long, in seconds, the truth must stay shown to count."""


class Truth:
    """Changes states of its servers all the time, while they run, from ``async with`` on until `settle`.

    Each server has devices of its own and one that all have; now and then a message comes into one of the mailboxes,
    is heard, or goes. VoicemailRefresh is silent where the spool's counts happen to be those that stand in the mailbox,
    no matter who put them there (``app_voicemail.c``): so each server keeps so many old messages that its counts are
    never like a sum with the others'.

    The truth of a device is what its owner keeps in its own database (astdb), that of a mailbox is what lies in the
    spools of all: neither knows of eventfed. A pod that is made again has neither: its devices are then no more, so
    nobody may show them, and its messages are put back before all is compared.

    Args:
        devices: how many each server has.
        mailboxes: in the ``voicemail.conf`` of each.
        pause: between two changes of one server, in seconds.
    """

    def __init__(
        self,
        servers: Sequence[ReachableAsterisk],
        *,
        devices: int = 8,
        mailboxes: Sequence[str] = ("1001@default",),
        pause: float = 0.02,
    ) -> None:
        self.servers = list(servers)
        self.changes = 0
        self._devices = devices
        self._mailboxes = list(mailboxes)
        self._pause = pause
        self._named: set[str] = set()
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        await self._fill()
        self._tasks = [asyncio.create_task(self._change(server)) for server in self.servers]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def settle(self, within: float = 30.0) -> float:
        """Stop the changes and wait until all show the truth; the ``time.monotonic()`` at which they did.

        Raises:
            TimeoutError: some do not after `within` seconds; with what they show instead.
        """
        self._stop.set()
        await asyncio.gather(*self._tasks)
        await self._fill()
        deadline = time.monotonic() + within
        since: float | None = None
        while True:
            wrong = await self.differences()
            now = time.monotonic()
            if wrong:
                since = None
            elif since is None:
                since = now
            elif now - since >= _HOLDS:
                return since
            if wrong and now > deadline:
                raise TimeoutError(f"{len(wrong)} wrong after {within:g} s: {'; '.join(wrong[:12])}")
            await asyncio.sleep(0.05)

    async def differences(self) -> list[str]:
        """What servers show that is not true, in words."""
        devices, mailboxes = await self.truth()
        wrong: list[str] = []
        for server in self.servers:
            shown = await asyncio.gather(*(server.device_state(device) for device in devices))
            for (device, state), seen in zip(devices.items(), shown, strict=True):
                if seen is not state:
                    wrong.append(f"{server.name} shows {device} as {seen.name}, not {state.name}")
            for mailbox, counts in mailboxes.items():
                lamp = await server.mailbox_counts(mailbox)
                if lamp != counts:
                    wrong.append(
                        f"{server.name} shows {mailbox} as {lamp.new}/{lamp.old}, not {counts.new}/{counts.old}"
                    )
        return wrong

    async def truth(self) -> tuple[Mapping[str, DeviceState], Mapping[str, MailboxCounts]]:
        """Device → aggregate over its owners, UNKNOWN if nobody has it any longer; mailbox → sum over the spools."""
        said: dict[str, list[DeviceState]] = {device: [] for device in self._named}
        for server in self.servers:
            for line in (await server.cli("database show CustomDevstate")).splitlines():
                if found := re.match(r"/CustomDevstate/(truth-\S+)\s*: (\S+)", line):
                    said.setdefault(f"Custom:{found[1]}", []).append(DeviceState.parse(found[2]))
        mailboxes = {}
        for mailbox in self._mailboxes:
            counts = [server.spool.counts(mailbox) for server in self.servers]
            mailboxes[mailbox] = MailboxCounts(sum(one.new for one in counts), sum(one.old for one in counts))
        return {
            device: aggregate_device_state(states) if states else DeviceState.UNKNOWN for device, states in said.items()
        }, mailboxes

    async def _change(self, server: ReachableAsterisk) -> None:
        while not self._stop.is_set():
            await asyncio.sleep(self._pause * random.uniform(0.5, 1.5))
            try:
                await self._change_once(server)
                self.changes += 1
            except LabError:
                # It is being stopped, or starts, or its pod is another one. What was not said will be at its start.
                await asyncio.sleep(0.1)

    async def _change_once(self, server: ReachableAsterisk) -> None:
        # Before anything is touched: what goes into the spool of a server that boots, or has ended, may go unnoticed.
        ami = server.ami
        if not ami.connected:
            raise AmiConnectionLost(f"{server.name} has no AMI connection")
        if self._mailboxes and random.random() < 0.02:
            mailbox = random.choice(self._mailboxes)
            counts = server.spool.counts(mailbox)
            # Each is a real change: a server that repeats its counts after injections is taken for one that polls.
            if not counts.new:
                server.spool.add(mailbox, random.randint(1, _MOST_NEW))
            elif sum(counts) <= self._least(server) + _SPREAD and random.random() < 0.5:
                server.spool.hear(mailbox)
            else:
                self._empty(server, mailbox)
            await server.refresh_voicemail(mailbox)
            return
        number = random.randrange(self._devices + 1)
        device = f"Custom:truth-{server.name}-{number}" if number < self._devices else _SHARED
        self._named.add(device)
        await ami.set_variable(f"DEVICE_STATE({device})", random.choice(_STATES).name)

    async def _fill(self) -> None:
        """Give each server the old messages that it never goes below."""
        for server in self.servers:
            for mailbox in self._mailboxes:
                if server.spool.counts(mailbox).old < self._least(server):
                    self._empty(server, mailbox)
                    await server.refresh_voicemail(mailbox)

    def _least(self, server: ReachableAsterisk) -> int:
        """How many old messages the server never goes below."""
        return int(10 * 3 ** self.servers.index(server))

    def _empty(self, server: ReachableAsterisk, mailbox: str) -> None:
        server.spool.clear(mailbox)
        server.spool.add(mailbox, self._least(server))
        server.spool.hear(mailbox)
