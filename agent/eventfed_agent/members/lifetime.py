"""The tasks of one member: from when to when it may be used."""

import asyncio
from collections.abc import Coroutine
from typing import Any

__all__ = ["Lifetime"]


class Lifetime:
    """Runs tasks that end together. What has not begun or is about to end takes nothing in."""

    def __init__(self) -> None:
        self._tasks: asyncio.TaskGroup | None = None
        self._identity: asyncio.Task[None] | None = None

    @property
    def open(self) -> bool:
        """Whether the tasks run, and none of them has failed."""
        return self._tasks is not None

    def start_identity(self, work: Coroutine[Any, Any, None]) -> None:
        """One more task: what the member does under its EID. Only while it is `open`."""
        assert self._tasks is not None
        self._identity = self._tasks.create_task(work)

    def end_identity(self) -> None:
        """Cancel that, if there is one: the member has another EID from now on, or none."""
        if self._identity is not None:
            self._identity.cancel()

    async def run(self, *work: Coroutine[Any, Any, None]) -> None:
        """Run these, and what `start_identity` adds, until cancelled.

        Raises:
            ExceptionGroup: what a task raised, after all others have ended.
        """
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            for one in work:
                tasks.create_task(one)
            try:
                # The first failure cancels this wait in the same turn of the loop in which it is seen, so no datagram
                # is read in between.
                await asyncio.Event().wait()
            finally:
                self._tasks = None
