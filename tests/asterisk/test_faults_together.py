"""Faults that nobody chose, several at once, again and again: afterwards every server shows the owners' truth."""

import asyncio
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping

import pytest

from eventfed_lab import Pbx, Truth
from tests.ground.fixture_types import Measure
from tests.ground.pbx_faults import (
    agent_hung,
    agent_killed,
    agent_stopped,
    asterisk_hung,
    asterisk_killed,
    asterisk_stopped,
    asterisk_stopped_now,
    nats_hung,
    nats_killed,
    nats_restarted,
    servers_of,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROUNDS = 12
AT_ONCE = (1, 2, 2, 3)
SECONDS = (0.1, 1.0, 2.0, 5.0, 9.0)
"""Shorter and longer than the lab's leases and graces."""
PARTS: Mapping[str, tuple[Callable[..., Awaitable[object]], ...]] = {
    "NATS": (nats_restarted, nats_killed, nats_hung),
    **{f"agent {name}": (agent_stopped, agent_killed, agent_hung) for name in "abc"},
    **{f"server {name}": (asterisk_stopped, asterisk_stopped_now, asterisk_killed, asterisk_hung) for name in "abc"},
}


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_all_servers_show_the_truth_after_any_faults_at_once(pbx: Pbx, measure: Measure) -> None:
    seed = secrets.randbelow(1 << 32)
    chance = random.Random(seed)
    worst = 0.0
    for number in range(ROUNDS):
        plan = [
            (part, chance.choice(PARTS[part]), chance.uniform(0, 2), chance.choice(SECONDS))
            for part in chance.sample(list(PARTS), chance.choice(AT_ONCE))
        ]
        async with Truth(servers_of(pbx)) as truth:
            await asyncio.sleep(1)
            async with asyncio.TaskGroup() as group:
                for part, fault, after, seconds in plan:
                    group.create_task(happen(pbx, part, fault, after, seconds))
            ended = time.monotonic()
            try:
                worst = max(worst, await truth.settle(within=60) - ended)
            except TimeoutError as error:
                told = "; ".join(f"{part} {fault.__name__} after {at:.1f} s for {s} s" for part, fault, at, s in plan)
                error.add_note(f"round {number} of seed {seed}: {told}")
                raise
        await pbx.mend()
    measure(f"{ROUNDS} rounds of one to three faults at once, the slowest until the truth is shown", worst)


async def happen(pbx: Pbx, part: str, fault: Callable[..., Awaitable[object]], after: float, seconds: float) -> None:
    await asyncio.sleep(after)
    await (fault(pbx.nats, seconds) if part == "NATS" else fault(pbx, part[-1], seconds))
