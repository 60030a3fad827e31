import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from eventfed_lab import (
    AsteriskRoot,
    AsteriskServer,
    AsteriskUnavailable,
    NatsServer,
    NatsUnavailable,
    Pbx,
    obtain_asterisk,
)
from tests.ground.fixture_types import AsteriskFactory, NatsFactory


@pytest.fixture(scope="session")
def asterisk_root() -> AsteriskRoot:
    """A real Asterisk; where there is none, the test is skipped with the plain reason."""
    try:
        return obtain_asterisk(print)
    except AsteriskUnavailable as error:
        pytest.skip(f"no real Asterisk: {error}")


@pytest.fixture
async def asterisk(asterisk_root: AsteriskRoot) -> AsyncIterator[AsteriskFactory]:
    """Makes servers, started unless ``start=False``; all end with the test."""
    async with contextlib.AsyncExitStack() as stack:

        async def make(name: str = "a", *, start: bool = True, **options: Any) -> AsteriskServer:
            server = AsteriskServer(asterisk_root, name, **options)
            stack.push_async_callback(server.close)
            if start:
                await server.start()
            return server

        yield make


@pytest.fixture
async def nats_server() -> AsyncIterator[NatsFactory]:
    """Makes nats-servers, started; all end with the test."""
    async with contextlib.AsyncExitStack() as stack:

        async def make(**options: Any) -> NatsServer:
            try:
                server = NatsServer(**options)
            except NatsUnavailable as error:
                pytest.skip(f"no nats-server: {error}")
            stack.push_async_callback(server.close)
            await server.start()
            return server

        yield make


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(asterisk_root: AsteriskRoot) -> AsyncIterator[Pbx]:
    """Three servers, for all tests of a module."""
    async with Pbx(asterisk_root) as pbx:
        yield pbx


@pytest_asyncio.fixture(loop_scope="module")
async def pbx(shared: Pbx) -> AsyncIterator[Pbx]:
    """Three servers, mended after each test; a module that needs others has a `pbx` of its own."""
    yield shared
    await shared.mend()


def processes_in(folder: Path) -> list[int]:
    """Processes whose command line names the folder's last part."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if folder.name.encode() in path.read_bytes():
                found.append(int(path.parent.name))
    return found


@pytest.fixture
def processes_of() -> Callable[[Path], list[int]]:
    return processes_in
