"""The connection to NATS is made again whatever ended it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import nats.errors
import pytest

from eventfed import BusListener, Credentials, FederationSettings
from eventfed.jetstream import link as module
from eventfed.jetstream.connection import Client, ConnectionLost, open_connection
from eventfed.jetstream.link import Link


@pytest.mark.parametrize("error", [nats.errors.ConnectionClosedError(), ConnectionResetError("reset by peer")])
async def test_a_connection_that_is_lost_before_it_was_used_is_made_again(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions: list[str | None] = []
    noted: list[str] = []
    told: list[str] = []
    used = asyncio.Event()

    @asynccontextmanager
    async def open_connection(*_: Any, **__: Any) -> AsyncIterator[tuple[Client, asyncio.Future[str]]]:
        yield cast(Client, None), asyncio.get_running_loop().create_future()

    async def session(client: Client, group: asyncio.TaskGroup) -> None:
        sessions.append(noted[-1] if noted else None)
        if len(sessions) == 1:
            raise error
        used.set()

    monkeypatch.setattr(module, "open_connection", open_connection)
    link = Link(
        ["nats://127.0.0.1:4222"], name="test", settings=FederationSettings(reconnect_pause=0.01), credentials=None
    )
    listener = cast(
        BusListener,
        SimpleNamespace(
            trouble=lambda kind, reason: noted.append(reason),
            session_began=lambda: told.append("began"),
            session_ended=lambda: told.append("ended"),
        ),
    )
    running = asyncio.create_task(link.run(listener, session))
    async with asyncio.timeout(5):
        await asyncio.wait([running, asyncio.create_task(used.wait())], return_when=asyncio.FIRST_COMPLETED)
    assert not running.done()
    running.cancel()
    await asyncio.wait([running])
    assert sessions[0] is None
    assert sessions[1] is not None
    assert sessions[1].startswith("no connection to NATS")
    assert told == ["began", "ended", "began"]


async def test_a_cancellation_that_a_library_swallows_ends_it_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    connecting = asyncio.Event()

    @asynccontextmanager
    async def open_connection(*_: Any, **__: Any) -> AsyncIterator[tuple[Client, asyncio.Future[str]]]:
        connecting.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:  # as nats-py does where it closes a connection
            raise ConnectionLost("no connection to NATS") from None
        yield cast(Client, None), asyncio.get_running_loop().create_future()

    monkeypatch.setattr(module, "open_connection", open_connection)
    link = Link(["nats://127.0.0.1:4222"], name="test", settings=FederationSettings(), credentials=None)
    listener = cast(BusListener, SimpleNamespace(trouble=lambda kind, reason: None))
    running = asyncio.create_task(link.run(listener, lambda client, group: asyncio.sleep(0)))
    await connecting.wait()
    running.cancel()
    done, _ = await asyncio.wait([running], timeout=2)
    assert done
    assert running.cancelled()


def _unheard(problem: str) -> None:
    raise AssertionError(problem)


@pytest.mark.parametrize("url", ["nats://127.0.0.1:99999", "nats://127.0.0.1:port", "nats://:4222", "nats://[::1"])
async def test_a_url_that_no_connection_can_be_made_of_is_a_connection_lost(url: str) -> None:
    with pytest.raises(ConnectionLost, match="no connection to NATS"):
        async with open_connection(
            [url], name="t", settings=FederationSettings(), credentials=None, on_problem=_unheard
        ):
            pass


@pytest.mark.parametrize("seed", [None, "", "half of a seed"])
async def test_a_seed_that_cannot_be_used_is_a_connection_lost(seed: str | None, tmp_path: Path) -> None:
    file = tmp_path / "seed"
    if seed is not None:
        file.write_text(seed)
    credentials, settings = Credentials(nkey_seed_file=file), FederationSettings()
    with pytest.raises(ConnectionLost):
        async with open_connection(
            ["nats://127.0.0.1:1"], name="t", settings=settings, credentials=credentials, on_problem=_unheard
        ):
            pass
