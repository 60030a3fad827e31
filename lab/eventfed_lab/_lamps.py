"""The message lamps of one phone on several servers."""

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from typing import Self

from ._phone import Subscription
from ._reachable import ReachableAsterisk
from ._server import MailboxCounts

__all__ = ["Lamps"]


class Lamps:
    """A phone on each of the servers that watches its own mailboxes from ``async with`` on.

    Args:
        phone: one of the configured endpoints; it subscribes to its AOR.
    """

    def __init__(self, servers: Iterable[ReachableAsterisk], phone: str = "1001") -> None:
        self.subscriptions: Mapping[str, Subscription] = {}
        self._servers = list(servers)
        self._phone = phone
        self._marks: dict[str, int] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            subscriptions = {}
            for server in self._servers:
                phone = await stack.enter_async_context(server.phone(self._phone))
                subscriptions[server.name] = await phone.subscribe("message-summary", self._phone)
                await subscriptions[server.name].wait_for(lambda seen: True)
            self.subscriptions = subscriptions
            self._stack = stack.pop_all()
        self.mark()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def __getitem__(self, name: str) -> Subscription:
        return self.subscriptions[name]

    async def show(self, new: int, old: int, *, on: Iterable[str] | None = None, within: float = 10.0) -> None:
        """Wait until the last word to the phones (of the named servers) is these counts.

        Raises:
            TimeoutError: with what they show instead.
        """
        watched = {name: self.subscriptions[name] for name in on or self.subscriptions}
        try:
            async with asyncio.timeout(within):
                for lamp in watched.values():
                    while lamp.notifications[-1].counts != (new, old):
                        await lamp.wait_for(lambda seen: True, within, after=len(lamp.notifications))
        except TimeoutError:
            shown = {name: "{}/{}".format(*lamp.notifications[-1].counts) for name, lamp in watched.items()}
            raise TimeoutError(f"lamps show {shown}, not {new}/{old}, after {within:g} s") from None

    def mark(self) -> None:
        """From here on `history` tells what the phones were shown."""
        self._marks = {name: len(lamp.notifications) - 1 for name, lamp in self.subscriptions.items()}

    def history(self, name: str) -> list[MailboxCounts]:
        """What the phone on one server was shown since the mark, what it showed then first; repetitions once."""
        shown = [seen.counts for seen in self[name].notifications[self._marks[name] :]]
        return [counts for number, counts in enumerate(shown) if number == 0 or counts != shown[number - 1]]
