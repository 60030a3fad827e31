"""Changes that are made all the time and must all arrive, and states that must not change meanwhile."""

import asyncio
import itertools
import time
from collections.abc import Iterable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from eventfed import DeviceState
from eventfed_lab import AmiEvents, ClusterPbx, Lamps, MailboxCounts

__all__ = ["Crossings", "Still", "crosses"]

_runs = itertools.count(1)


async def crosses(pbx: ClusterPbx, within: float = 10.0) -> float:
    """A change at each server reaches all others; seconds that the slowest took."""
    run, worst = next(_runs), 0.0
    for name, server in pbx.servers.items():
        device = f"Custom:crosses-{name}"
        for state in (DeviceState.BUSY, DeviceState.INUSE if run % 2 else DeviceState.RINGING):
            await server.set_device(device, state)
            worst = max(worst, await pbx.wait_device(device, state, within=within))
    return worst


class Crossings:
    """From ``async with`` on each server in turn makes a device of its own busy, another one each time.

    Args:
        makers: names of the servers that do; absent: all.
        pause: between two changes, in seconds.
    """

    def __init__(self, pbx: ClusterPbx, *, makers: Iterable[str] | None = None, pause: float = 0.1) -> None:
        self._pbx = pbx
        self._makers = list(makers or pbx.names)
        self._prefix = f"Custom:crossing{next(_runs)}-"
        self._pause = pause
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._stack = AsyncExitStack()
        self._events: dict[str, AmiEvents] = {}
        self.made: dict[str, float] = {}
        """Device → the ``time.monotonic()`` at which its server was told."""

    async def __aenter__(self) -> Self:
        for name, server in self._pbx.servers.items():
            self._events[name] = self._stack.enter_context(server.ami.events("DeviceStateChange"))
        self._task = asyncio.create_task(self._make())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._stack.aclose()

    async def _make(self) -> None:
        for number in itertools.count():
            if self._stop.is_set():
                return
            server = self._pbx[self._makers[number % len(self._makers)]]
            device = f"{self._prefix}{number}"
            self.made[device] = time.monotonic()
            await server.set_device(device, DeviceState.BUSY)
            await asyncio.sleep(self._pause)

    async def all_arrive(self, within: float = 30.0) -> float:
        """End the changes and wait until every server shows every one; the longest that one was on its way, in seconds.

        Of a server that restarted meanwhile only what it shows counts.

        Raises:
            TimeoutError: some are missing after `within` seconds, with their names.
        """
        self._stop.set()
        assert self._task is not None
        await self._task
        worst, deadline = 0.0, time.monotonic() + within
        missing: list[str] = []
        for name, server in self._pbx.servers.items():
            for device in self.made:
                while await server.device_state(device) is not DeviceState.BUSY:
                    if time.monotonic() > deadline:
                        missing.append(f"{name} does not show {device}")
                        break
                    await asyncio.sleep(0.05)
        if missing:
            raise TimeoutError(f"{len(missing)} of {len(self.made)} changes: {'; '.join(missing[:10])}")
        for events in self._events.values():
            for at, event in events.drain():
                if event["Device"] in self.made and event["State"] == "BUSY":
                    worst = max(worst, at - self.made[event["Device"]])
        return worst


class Still:
    """States that nobody changes from ``async with`` on: a device of each server, a message, and a lamp on each.

    Args:
        on: names of the servers concerned; absent: all.
        mailbox: whose message waits on the first server; its phone's lamp is watched on all.
    """

    def __init__(self, pbx: ClusterPbx, *, on: Iterable[str] | None = None, mailbox: str = "1002@default") -> None:
        self._pbx = pbx
        self._servers = {name: pbx[name] for name in on or pbx.names}
        self._mailbox = mailbox
        self._lamps = Lamps(self._servers.values(), mailbox.partition("@")[0])
        self._stack = AsyncExitStack()
        self._events: dict[str, AmiEvents] = {}
        self._counts = MailboxCounts(0, 0)

    @property
    def devices(self) -> list[str]:
        return [f"Custom:still-{name}" for name in self._servers]

    async def __aenter__(self) -> Self:
        for name, server in self._servers.items():
            await server.set_device(f"Custom:still-{name}", DeviceState.ONHOLD)
            await self._pbx.wait_device(f"Custom:still-{name}", DeviceState.ONHOLD)
        first = next(iter(self._servers.values()))
        if not first.spool.counts(self._mailbox).new:
            await first.leave_voicemail(self._mailbox, by="spool")
        self._counts = first.spool.counts(self._mailbox)
        await self._pbx.wait_mailbox(self._mailbox, self._counts)
        await self._stack.enter_async_context(self._lamps)
        await self._lamps.show(*self._counts)
        self._lamps.mark()
        for name, server in self._servers.items():
            self._events[name] = self._stack.enter_context(server.ami.events("DeviceStateChange", "MessageWaiting"))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def blinks(self) -> list[str]:
        """What was told of them since the beginning, on any server, in words; and what lamps were shown."""
        told: list[str] = []
        devices = {device.lower() for device in self.devices}
        for name, events in self._events.items():
            for _, event in events.drain():
                if event["Device"].lower() in devices and event["State"] != "ONHOLD":
                    told.append(f"{name}: {event['Device']} {event['State']}")
                counts = (event["New"], event["Old"])
                if event["Mailbox"] == self._mailbox and counts != tuple(map(str, self._counts)):
                    told.append(f"{name}: {self._mailbox} {'/'.join(counts)}")
        for name in self._servers:
            history = self._lamps.history(name)
            if history != [self._counts]:
                told.append(f"{name}: the lamp showed {history}")
        return told
