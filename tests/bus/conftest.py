import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest
from eventfed import EID, Event, Federation, FederationSettings, Storage
from eventfed_lab import NatsServer

A, B, C = (EID.derive(name) for name in "abc")

QUICK = FederationSettings(
    lease_ttl=2.0,
    lease_renewal=0.4,
    grace_period=1.0,
    mailbox_grace_period=1.5,
    deputy_delay=0.5,
    tombstone_ttl=60.0,
    ack_deadline=1.0,
    correction_interval=0.2,
    heartbeat=0.3,
    pull_expires=5.0,
    request_timeout=0.7,
    connect_timeout=0.7,
    reconnect_pause=0.05,
    reconnect_pause_limit=0.2,
)
IN_MEMORY = replace(QUICK, storage=Storage.MEMORY)


@pytest.fixture
async def nats_server() -> AsyncIterator[NatsServer]:
    async with NatsServer() as server:
        yield server


async def until(condition: Callable[[], object], within: float = 10.0) -> float:
    """Wait for `condition`; the result is how long that took, in seconds."""
    started = time.monotonic()
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(0.01)
    return time.monotonic() - started


def values(federation: Federation) -> dict[tuple[EID, str], object]:
    """What a client shows: (EID, name) → device state or counts, tombstones left out."""
    return {
        (key.eid, key.key): _value(state.event)
        for key, state in federation.view.states.items()
        if state.event is not None and not state.tombstone
    }


def _value(event: Event) -> object:
    return event.counts if event.type.token == "mwi" else event.device_state
