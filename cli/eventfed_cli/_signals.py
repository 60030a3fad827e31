"""Running until somebody says stop."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any

__all__ = ["run_until_stopped"]


def run_until_stopped(work: Coroutine[Any, Any, None]) -> bool:
    """Run to the end, or until SIGINT or SIGTERM, at which `work` is cancelled. Returns whether it was stopped so.

    A second signal while it tidies up changes nothing: it must leave nothing behind.
    """
    return asyncio.run(_run(work))


async def _run(work: Coroutine[Any, Any, None]) -> bool:
    task = asyncio.ensure_future(work)
    stopped = False

    def stop() -> None:
        nonlocal stopped
        if not stopped:
            stopped = True
            task.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    try:
        await task
    except asyncio.CancelledError:
        if not stopped:
            raise
    return stopped
