"""A task that is cancelled ends, also in the very turn of the event loop in which an answer comes."""

import ast
import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import nats.aio.client
import pytest

from eventfed.jetstream.connection import Client
from eventfed.tasks import heed_cancellation

ROOT = Path(__file__).parents[2]
PRODUCT = ("agent", "events", "operator")


async def cancelled_as_the_answer_comes(ask: Callable[[asyncio.Future[int]], Awaitable[object]]) -> bool:
    """Whether a task ends that asks again and again, if it is cancelled in the turn that brings an answer."""
    answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def serve() -> None:
        await ask(answer)
        await asyncio.sleep(3600)  # what the task would do next, and what nobody would end

    serving = asyncio.create_task(serve())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    answer.set_result(1)
    serving.cancel()
    done, _ = await asyncio.wait([serving], timeout=0.2)
    ended = bool(done) and serving.cancelled()
    serving.cancel()
    await asyncio.wait([serving])
    return ended


async def test_an_answer_in_the_turn_of_the_cancellation_does_not_swallow_it() -> None:
    assert await cancelled_as_the_answer_comes(lambda answer: heed_cancellation(asyncio.wait_for(answer, 60)))


@pytest.mark.parametrize("call", ["connect", "publish", "request", "subscribe"])
async def test_no_call_of_nats_py_swallows_a_cancellation(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # As nats-py 2 does on Python 3.11: by wait_for in connect and request, by an `except` in what writes.
    async def swallow(client: nats.aio.client.Client, answer: asyncio.Future[int]) -> object:
        try:
            return await answer
        except asyncio.CancelledError:
            return None

    monkeypatch.setattr(nats.aio.client.Client, call, swallow)
    assert await cancelled_as_the_answer_comes(getattr(Client(), call))


async def test_a_call_in_the_cleanup_of_a_cancelled_task_still_gives_its_result() -> None:
    answers: list[int] = []

    async def answer() -> int:
        await asyncio.sleep(0)
        return 1

    async def work() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            answers.append(await heed_cancellation(answer()))

    working = asyncio.create_task(work())
    await asyncio.sleep(0)
    working.cancel()
    await asyncio.wait([working])
    assert answers == [1]


def calls_of_wait_for() -> Iterator[str]:
    for part in PRODUCT:
        for path in (ROOT / part).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if (
                    isinstance(node, ast.Attribute)
                    and node.attr == "wait_for"
                    and isinstance(node.value, ast.Name)
                    and node.value.id == "asyncio"
                ):
                    yield f"{path.relative_to(ROOT)}:{node.lineno}"


def test_the_product_does_not_call_wait_for_which_swallows_cancellations() -> None:
    assert list(calls_of_wait_for()) == [], "use `async with asyncio.timeout(…)`"


def test_all_that_awaits_an_answer_of_nats_heeds_cancellations() -> None:
    theirs = nats.aio.client.Client
    asked = {
        name
        for name, function in inspect.getmembers(theirs, inspect.iscoroutinefunction)
        if not name.startswith("_")
        and ("wait_for" in (text := inspect.getsource(function)) or "_flush_pending" in text)
    }
    ours = {name for name in asked if getattr(Client, name) is not getattr(theirs, name)}
    used = {
        node.attr
        for path in (ROOT / "events").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("client", "self._client")
    }
    assert {"connect", "request", "subscribe"} <= used
    assert used & asked - ours == set()
