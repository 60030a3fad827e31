"""NATS fails and comes back while states change: nothing goes meanwhile, and then every server shows the truth."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import ExitStack

import pytest
import pytest_asyncio

from eventfed_lab import SHORT_TIMES, AmiEvents, AsteriskRoot, AsteriskServer, NatsServer, Pbx, Truth
from fixture_types import Measure

pytestmark = pytest.mark.asyncio(loop_scope="module")

Fault = Callable[[NatsServer, float], Awaitable[None]]
LEASE = float(str(SHORT_TIMES["timing"]["lease_ttl"]))
PRODUCTION: Mapping[str, Mapping[str, object]] = {"departure": {}, "timing": {}}
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


async def restarted(nats: NatsServer, seconds: float) -> None:
    await nats.stop()
    await asyncio.sleep(seconds)
    await nats.start()


async def killed(nats: NatsServer, seconds: float) -> None:
    nats.kill()
    await asyncio.sleep(seconds)
    await nats.start()


async def wiped(nats: NatsServer, seconds: float) -> None:
    nats.kill()
    nats.wipe()
    await asyncio.sleep(seconds)
    await nats.start()


async def hung(nats: NatsServer, seconds: float) -> None:
    nats.hang()
    await asyncio.sleep(seconds)
    nats.resume()


async def truth_after(pbx: Pbx, fault: Fault, seconds: float) -> float:
    """Seconds from the end of the fault until all servers show the truth; no state may go meanwhile."""
    servers = [server for server in pbx.servers.values() if isinstance(server, AsteriskServer)]
    assert len(servers) == 3
    with ExitStack() as stack:
        told = {server.name: stack.enter_context(server.ami.events("DeviceStateChange")) for server in servers}
        async with Truth(servers) as truth:
            await asyncio.sleep(1)
            before = truth.changes
            await fault(pbx.nats, seconds)
            ended = time.monotonic()
            assert truth.changes > before
            right = await truth.settle()
        gone = [f"{name}: {device}" for name, events in told.items() for device in _gone(events)]
    assert not gone, f"{len(gone)} states went: {gone[:5]}"
    return max(0.0, right - ended)


def _gone(events: AmiEvents) -> list[str]:
    """Devices that lost their value: `Truth` never sets UNKNOWN, a tombstone does."""
    return [
        event["Device"]
        for _, event in events.drain()
        if event["Device"].startswith("Custom:truth-") and event["State"] in ("UNKNOWN", "INVALID")
    ]


@pytest.mark.parametrize(
    ("name", "fault", "seconds"),
    [
        ("NATS restarted with its store", restarted, 0.0),
        ("NATS killed and restarted with its store", killed, 0.0),
        ("NATS killed and restarted without its store", wiped, 0.0),
        ("NATS hung for 1.5 times the lease", hung, 1.5 * LEASE),
        ("NATS away for 3 times the lease", restarted, 3 * LEASE),
        ("NATS away for 3 times the lease, back without its store", wiped, 3 * LEASE),
    ],
)
async def test_nothing_goes_and_all_servers_show_the_truth_again_after(
    name: str, fault: Fault, seconds: float, pbx: Pbx, measure: Measure
) -> None:
    measure(name, await truth_after(pbx, fault, seconds))


@pytest.mark.long
@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("name", "fault", "seconds"),
    [
        ("NATS hung for 30 s, with production's times", hung, 30.0),
        ("NATS away for 90 s, with production's times", restarted, 90.0),
    ],
)
async def test_the_same_at_full_length_after(
    name: str, fault: Fault, seconds: float, asterisk_root: AsteriskRoot, measure: Measure
) -> None:
    async with Pbx(asterisk_root, sections=PRODUCTION) as pbx:
        measure(name, await truth_after(pbx, fault, seconds))
