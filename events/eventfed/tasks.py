"""Tasks that run as long as something is open."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager

__all__ = ["end_if_cancelled", "in_background"]


def end_if_cancelled() -> None:
    """End this task if somebody has cancelled it and a library has swallowed that.

    nats-py catches `CancelledError` where it closes a connection. A loop around it would go on for good, and the one
    who cancelled it would wait for good.

    Raises:
        asyncio.CancelledError: this task is to end.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


@asynccontextmanager
async def in_background(*work: Coroutine[None, None, None]) -> AsyncGenerator[None, None]:
    """Run them while the context is open. What the context raises comes out as it is, not in a group."""
    failure: BaseException | None = None
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
            try:
                yield
            except BaseException as error:
                failure = error
                raise
            finally:
                for task in tasks:
                    task.cancel()
    except BaseExceptionGroup as several:
        if failure is not None and several.exceptions == (failure,):
            raise failure from None
        raise
