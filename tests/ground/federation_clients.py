"""Clients with short times on any bus, and ways to wait for what they show."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any, Protocol

from eventfed import Event, EventType, Federation, FederationSettings, StateKey
from tests.ground.fixture_types import Clients

__all__ = ["ADMINISTERS", "QUICK", "Connect", "opens", "shown", "until"]

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
ADMINISTERS = replace(
    QUICK, create_stream=False, deputy=False, read_states=False, read_reports=True, report_lifetime=1.0
)
"""Settings of an operator."""


class Connect(Protocol):
    def __call__(self, *, agent: str, settings: FederationSettings) -> AbstractAsyncContextManager[Federation]: ...


def opens(connect: Connect) -> Clients:
    """``async with clients("a", "b") as (a, b)``: synced clients of one federation, one per agent name."""

    @asynccontextmanager
    async def clients(*agents: str, **options: Any) -> AsyncIterator[list[Federation]]:
        options = {"settings": QUICK, **options}
        async with AsyncExitStack() as stack:
            opened = [await stack.enter_async_context(connect(agent=agent, **options)) for agent in agents]
            for client in opened:
                assert await client.wait_synced(20), client.problem
            yield opened

    return clients


async def until(condition: Callable[[], object], within: float = 10.0) -> float:
    """Wait for it; the result is how long that took, in seconds."""
    clock = asyncio.get_running_loop().time
    started = clock()
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 - conditions of many kinds
            await asyncio.sleep(0.01)
    return clock() - started


def shown(client: Federation) -> dict[StateKey, object]:
    """The device states and counts that a client has, tombstones left out."""

    def value(event: Event) -> object:
        return event.counts if event.type is EventType.MWI else event.device_state

    return {key: value(event) for key in client.view.states if (event := client.get(key)) is not None}
