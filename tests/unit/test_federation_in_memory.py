"""The federation client on a bus in memory, in the time of a fake clock: the tests of tests/bus that need no NATS."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from types import ModuleType
from typing import Any

import pytest

from eventfed import Federation, FederationSettings, Subjects
from tests.bus import test_federation_administration, test_federation_leases, test_federation_states
from tests.ground.fake_time import in_fake_time
from tests.ground.federation_clients import ADMINISTERS, QUICK, opens, shown, until
from tests.ground.memory_bus import MemoryBus, MemoryStore

Rule = Callable[..., Coroutine[Any, Any, None]]

SUBJECTS = Subjects("pbx")
OFFERED = {"clients", "until", "shown", "quick", "administers", "measure"}


@asynccontextmanager
async def over(store: MemoryStore, *, agent: str, settings: FederationSettings) -> AsyncIterator[Federation]:
    bus, clock = MemoryBus(store, SUBJECTS), asyncio.get_running_loop().time
    async with Federation.over(bus, subjects=SUBJECTS, agent=agent, settings=settings, clock=clock) as client:
        yield client


def rules(*modules: ModuleType) -> dict[str, Rule]:
    """The tests that ask for clients and not for a server."""
    return {
        name: function
        for module in modules
        for name, function in vars(module).items()
        if name.startswith("test_") and set(inspect.signature(function).parameters) <= OFFERED
    }


RULES = rules(test_federation_states, test_federation_leases, test_federation_administration)


@pytest.mark.parametrize("rule", RULES)
def test_a_bus_in_memory_carries_a_federation(rule: str) -> None:
    offered = {
        "clients": opens(partial(over, MemoryStore())),
        "until": until,
        "shown": shown,
        "quick": QUICK,
        "administers": ADMINISTERS,
        "measure": lambda *_, **__: None,
    }
    function = RULES[rule]
    in_fake_time(function(**{name: offered[name] for name in inspect.signature(function).parameters}), at_most=600)


def test_every_rule_of_states_and_of_leases_is_among_them() -> None:
    written = {name for module in (test_federation_states, test_federation_leases) for name in vars(module)}
    assert {name for name in written if name.startswith("test_")} <= set(RULES)
    assert len(RULES) > 25
