"""Servers and agents fail and come back while states change: afterwards every server shows the owners' truth."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest
import pytest_asyncio

from eventfed import DeviceState, Event, EventType, Federation, StateChanged, StateKey, StateRemoved
from eventfed_lab import AsteriskRoot, AsteriskServer, Pbx, Truth

pytestmark = pytest.mark.asyncio(loop_scope="module")

Measure = Callable[..., None]
Fault = Callable[[Pbx], Awaitable[float]]
PRODUCTION: dict[str, dict[str, object]] = {"departure": {}, "timing": {}}
"""In place of the lab's short times: the defaults."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(asterisk_root: AsteriskRoot) -> AsyncIterator[Pbx]:
    async with Pbx(asterisk_root) as pbx:
        yield pbx


@pytest_asyncio.fixture(loop_scope="module")
async def pbx(shared: Pbx) -> AsyncIterator[Pbx]:
    """Three servers, mended after each test."""
    yield shared
    await shared.mend()


def servers_of(pbx: Pbx) -> list[AsteriskServer]:
    servers = [pbx[name] for name in pbx.names]
    assert all(isinstance(server, AsteriskServer) for server in servers)
    return servers  # type: ignore[return-value]


async def asterisk_stops_gracefully(pbx: Pbx) -> float:
    await pbx["a"].stop_gracefully()
    return await _back(pbx)


async def asterisk_stops_now(pbx: Pbx) -> float:
    await pbx["a"].stop_now()
    return await _back(pbx)


async def asterisk_is_killed(pbx: Pbx) -> float:
    pbx["a"].kill()
    return await _back(pbx)


async def _back(pbx: Pbx) -> float:
    await asyncio.sleep(1)
    await pbx["a"].start()
    return time.monotonic()


async def agent_stops(pbx: Pbx) -> float:
    await pbx.agents["a"].stop()
    await asyncio.sleep(2)
    return await _agent_back(pbx)


async def agent_is_killed(pbx: Pbx) -> float:
    pbx.agents["a"].kill()
    await asyncio.sleep(2)
    return await _agent_back(pbx)


async def agent_is_killed_for_longer_than_its_lease_and_grace(pbx: Pbx) -> float:
    pbx.agents["a"].kill()
    await asyncio.sleep(9)
    return await _agent_back(pbx)


async def _agent_back(pbx: Pbx) -> float:
    ended = time.monotonic()
    await pbx.agents["a"].start()
    return ended


async def agent_hangs(pbx: Pbx) -> float:
    pbx.agents["a"].hang()
    await asyncio.sleep(10)
    pbx.agents["a"].resume()
    return time.monotonic()


async def agent_is_upgraded(pbx: Pbx) -> float:
    await pbx.agents["a"].stop()
    return await _agent_back(pbx)


FAULTS = {
    "Asterisk stopped gracefully and started": asterisk_stops_gracefully,
    "Asterisk stopped now and started": asterisk_stops_now,
    "Asterisk killed and started": asterisk_is_killed,
    "agent stopped and started": agent_stops,
    "agent killed and started": agent_is_killed,
    "agent killed, away for longer than its lease and the grace": agent_is_killed_for_longer_than_its_lease_and_grace,
    "agent hung for 10 s and resumed": agent_hangs,
    "agent upgraded": agent_is_upgraded,
}


@pytest.mark.parametrize("name", FAULTS)
async def test_all_servers_show_the_truth_again_after(name: str, pbx: Pbx, measure: Measure) -> None:
    async with Truth(servers_of(pbx)) as truth:
        await asyncio.sleep(1)
        ended = await FAULTS[name](pbx)
        await asyncio.sleep(0.5)
        right = await truth.settle()
    assert truth.changes > 100
    measure(name, max(0.0, right - ended))
