"""NATS fails and comes back while states change: nothing goes meanwhile, and then every server shows the truth."""

import asyncio
import time
from contextlib import ExitStack

import pytest

from eventfed_lab import SHORT_TIMES, AmiEvents, AsteriskRoot, Pbx, Truth
from tests.ground.fixture_types import Measure
from tests.ground.pbx_faults import (
    PRODUCTION,
    NatsFault,
    nats_hung,
    nats_killed,
    nats_restarted,
    nats_wiped,
    servers_of,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

LEASE = float(str(SHORT_TIMES["timing"]["lease_ttl"]))


async def truth_after(pbx: Pbx, fault: NatsFault, seconds: float) -> float:
    """Seconds from the end of the fault until all servers show the truth; no state may go meanwhile."""
    servers = servers_of(pbx)
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
        ("NATS restarted with its store", nats_restarted, 0.0),
        ("NATS killed and restarted with its store", nats_killed, 0.0),
        ("NATS killed and restarted without its store", nats_wiped, 0.0),
        ("NATS hung for 1.5 times the lease", nats_hung, 1.5 * LEASE),
        ("NATS away for 3 times the lease", nats_restarted, 3 * LEASE),
        ("NATS away for 3 times the lease, back without its store", nats_wiped, 3 * LEASE),
    ],
)
async def test_nothing_goes_and_all_servers_show_the_truth_again_after(
    name: str, fault: NatsFault, seconds: float, pbx: Pbx, measure: Measure
) -> None:
    measure(name, await truth_after(pbx, fault, seconds))


@pytest.mark.long
@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("name", "fault", "seconds"),
    [
        ("NATS hung for 30 s, with production's times", nats_hung, 30.0),
        ("NATS away for 90 s, with production's times", nats_restarted, 90.0),
    ],
)
async def test_the_same_at_full_length_after(
    name: str, fault: NatsFault, seconds: float, asterisk_root: AsteriskRoot, measure: Measure
) -> None:
    async with Pbx(asterisk_root, sections=PRODUCTION) as pbx:
        measure(name, await truth_after(pbx, fault, seconds))
