"""Tasks that run as long as something is open."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Coroutine
from contextlib import asynccontextmanager
from typing import TypeVar

__all__ = ["end_if_cancelled", "heed_cancellation", "in_background"]

_T = TypeVar("_T")


async def heed_cancellation(call: Awaitable[_T]) -> _T:
    """Await a library's call, and end with it if somebody cancels this task meanwhile.

    `asyncio.wait_for` of Python 3.11 returns the result, and no `CancelledError`, if the result comes in the turn of
    the event loop in which the task is cancelled. nats-py also catches `CancelledError` where it writes. A loop around
    such a call would go on, and the one who cancelled it would wait without end.

    Raises:
        asyncio.CancelledError: this task is to end.
    """
    task = asyncio.current_task()
    before = 0 if task is None else task.cancelling()
    result = await call
    if task is not None and task.cancelling() > before:
        raise asyncio.CancelledError
    return result


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
