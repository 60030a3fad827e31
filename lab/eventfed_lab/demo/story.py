"""What happens in the demo, on real and on simulated servers alike."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from eventfed import DeviceState

from .. import FederatedServer, LabError, MailboxCounts
from .board import Board, Step

__all__ = ["ROWS", "Story"]

_LAMP, _OTHER_LAMP, _PHONE, _DEVICE, _CUSTOM = "1001@default", "1002@default", "1001", "PJSIP/1001", "Custom:lamp1"
ROWS = [f"lamp {_LAMP}", f"lamp {_OTHER_LAMP}", f"device {_DEVICE}", f"hint {_PHONE}", f"device {_CUSTOM}"]
_WITHIN = 10.0
_DEPARTURE_WITHIN = 20.0
_READY = 0.15
"""Seconds for those who wait to be listening before something happens."""
_LOOK_EVERY = 0.4
_HINT_EVERY = 0.01


@dataclass(frozen=True)
class Sight:
    """Something to be seen on a server: what it is called, what it should be, how it is waited for and read."""

    what: str
    expected: str
    wait: Callable[[FederatedServer, float], Coroutine[Any, Any, float]]
    read: Callable[[FederatedServer], Awaitable[str]]


def _device(device: str, state: DeviceState) -> Sight:
    async def wait(server: FederatedServer, within: float) -> float:
        return await server.wait_device(device, state, within)

    async def read(server: FederatedServer) -> str:
        return (await server.device_state(device)).name

    return Sight(device, state.name, wait, read)


def _lamp(mailbox: str, counts: MailboxCounts) -> Sight:
    async def wait(server: FederatedServer, within: float) -> float:
        return await server.wait_mailbox(mailbox, counts, within)

    async def read(server: FederatedServer) -> str:
        seen = await server.mailbox_counts(mailbox)
        return f"{seen.new} new, {seen.old} old"

    return Sight(f"lamp {mailbox.partition('@')[0]}", f"{counts.new} new, {counts.old} old", wait, read)


def _hint(extension: str, text: str) -> Sight:
    async def wait(server: FederatedServer, within: float) -> float:
        async with asyncio.timeout(within):
            while await server.hint(extension) != text:  # noqa: ASYNC110  # nobody announces a hint
                await asyncio.sleep(_HINT_EVERY)
        return time.monotonic()

    async def read(server: FederatedServer) -> str:
        return await server.hint(extension)

    return Sight(f"hint {extension}", text, wait, read)


class Story:
    """The steps, each measured from the moment the first server knew (or was killed) to the moment another did.

    Args:
        servers: the first one is killed in the end.
        kill: ends a server for good.
        pause: seconds between the steps, for people.
        tell: given each step as it ends.
    """

    def __init__(
        self,
        servers: Sequence[FederatedServer],
        board: Board,
        *,
        kill: Callable[[FederatedServer], Awaitable[None]],
        pause: float,
        tell: Callable[[Step], None],
    ) -> None:
        self._board = board
        self._kill_server = kill
        self._pause = pause
        self._tell = tell
        self._first, *self._others = servers

    async def run(self) -> None:
        """All of it; a step that fails is told, and the next one is tried."""
        first, others = self._first, self._others
        in_call, hung_up = _device(_DEVICE, DeviceState.INUSE), _device(_DEVICE, DeviceState.UNAVAILABLE)

        self._board.doing = f"somebody leaves a voicemail for 1001 on {first.name} ..."
        lit = _lamp(_LAMP, MailboxCounts(1, 0))
        await self._cross(f"voicemail on {first.name}", [lit], first.leave_voicemail(_LAMP), first, others)

        async with AsyncExitStack() as call:
            self._board.doing = f"phone 1001 is called on {first.name} ..."
            calling = call.enter_async_context(first.phone_in_use(_PHONE))
            await self._cross(f"call on {first.name}", [in_call, _hint(_PHONE, "InUse")], calling, first, others)
            self._board.doing = "it hangs up ..."
            await self._cross(f"hung up on {first.name}", [hung_up], call.aclose(), first, others)

        self._board.doing = f"1001 hears the message on {first.name} ..."
        heard = _lamp(_LAMP, MailboxCounts(0, 1))
        await self._cross(f"heard on {first.name}", [heard], first.hear_voicemail(_LAMP), first, others)

        async with AsyncExitStack() as call:
            self._board.doing = f"{first.name}: phone 1001 is called again, and {_CUSTOM} is set ..."
            calling = call.enter_async_context(first.phone_in_use(_PHONE))
            await self._cross(f"call on {first.name} again", [in_call], calling, first, others)
            setting = first.set_device(_CUSTOM, DeviceState.INUSE)
            busy = _device(_CUSTOM, DeviceState.INUSE)
            await self._cross(f"set on {first.name}", [busy], setting, first, others)
            self._board.doing = f"{first.name} is killed; after the grace its states go ..."
            await self._kill([hung_up, _hint(_PHONE, "Unavailable"), _device(_CUSTOM, DeviceState.UNKNOWN)])

        survivor, *others = others
        self._board.doing = f"somebody leaves a voicemail for 1002 on {survivor.name} ..."
        lit = _lamp(_OTHER_LAMP, MailboxCounts(1, 0))
        leaving = survivor.leave_voicemail(_OTHER_LAMP)
        await self._cross(f"voicemail on {survivor.name} then", [lit], leaving, survivor, others)
        self._board.doing = ""

    async def _cross(
        self,
        name: str,
        sights: Sequence[Sight],
        happens: Awaitable[Any],
        origin: FederatedServer,
        others: Sequence[FederatedServer],
    ) -> None:
        """Let something happen on one server and wait until all others know; measured from when that one knew."""
        here = asyncio.ensure_future(sights[0].wait(origin, _WITHIN + _READY))
        waits = _start(sights, others, _WITHIN)
        try:
            await asyncio.sleep(_READY)
            await happens
            known = await here
        except (LabError, TimeoutError) as error:
            what, reason = f"{name}: {sights[0].what}", str(error) or "nothing"
            self._add(what, origin, Step(f"{what} on {origin.name}", sights[0].expected, reason, None, False))
        else:
            await self._see(name, waits, known)
        finally:
            await _drop([here, *(waiting for _, _, waiting in waits)])
        await asyncio.sleep(self._pause)

    async def _kill(self, sights: Sequence[Sight]) -> None:
        """Kill the first server and wait until the others show what they would without it."""
        waits = _start(sights, self._others, _DEPARTURE_WITHIN)
        try:
            killed = time.monotonic()
            await self._kill_server(self._first)
            await self._see(f"{self._first.name} killed", waits, killed)
        finally:
            await _drop(waiting for _, _, waiting in waits)
        await asyncio.sleep(self._pause)

    async def _see(
        self, name: str, waits: Iterable[tuple[Sight, FederatedServer, asyncio.Future[float]]], since: float
    ) -> None:
        for sight, server, waiting in waits:
            ms = None
            try:
                ms = round(max(0.0, await waiting - since) * 1000, 3)
                seen = await sight.read(server)
            except (LabError, TimeoutError):
                seen = await _read(sight, server)
            held = ms is not None and seen == sight.expected
            what = f"{name}: {sight.what}"
            self._add(what, server, Step(f"{what} on {server.name}", sight.expected, seen, ms, held))

    def _add(self, what: str, server: FederatedServer, step: Step) -> None:
        self._board.add(what, server.name, step)
        self._tell(step)

    # --- the board ---

    @asynccontextmanager
    async def looking(self) -> AsyncIterator[None]:
        """Keep the board up to date within the block."""
        async with asyncio.TaskGroup() as tasks:
            looker = tasks.create_task(self._look_repeatedly())
            try:
                yield
            finally:
                looker.cancel()

    async def look(self) -> None:
        """Bring the board up to date."""
        for server in (self._first, *self._others):
            values = {}
            for row, sight in zip(ROWS, _BOARD, strict=True):
                values[row] = await _read(sight, server) if server.running else "killed"
            self._board.show(server.name, values)

    async def _look_repeatedly(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(_LOOK_EVERY)


_NOTHING = MailboxCounts(0, 0)
_BOARD = (
    _lamp(_LAMP, _NOTHING),
    _lamp(_OTHER_LAMP, _NOTHING),
    _device(_DEVICE, DeviceState.UNKNOWN),
    _hint(_PHONE, ""),
    _device(_CUSTOM, DeviceState.UNKNOWN),
)


def _start(
    sights: Iterable[Sight], servers: Iterable[FederatedServer], within: float
) -> list[tuple[Sight, FederatedServer, asyncio.Future[float]]]:
    servers = list(servers)
    return [(s, server, asyncio.ensure_future(s.wait(server, within))) for s in sights for server in servers]


async def _read(sight: Sight, server: FederatedServer) -> str:
    try:
        return await sight.read(server)
    except (LabError, TimeoutError, OSError):
        return "no answer"


async def _drop(waits: Iterable[asyncio.Future[float]]) -> None:
    futures = list(waits)
    for future in futures:
        future.cancel()
    await asyncio.gather(*futures, return_exceptions=True)
