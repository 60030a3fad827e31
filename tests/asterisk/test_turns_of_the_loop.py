"""How many turns of the event loop a change waits for in each agent: `tests/bench/traced_agent.py` counts them."""

from eventfed_lab import AsteriskRoot
from tests.bench.bench_latency import traced

CHANGES = 20


async def test_a_change_leaves_the_sending_agent_within_one_turn_and_the_receiving_one_within_two(
    asterisk_root: AsteriskRoot,
) -> None:
    turns = await traced(asterisk_root, CHANGES, calls=True)
    sender, receiver = turns["sending agent"], turns["receiving agent"]
    assert sender["turns"] <= 1, "\n".join(sender["calls"])
    assert receiver["turns"] <= 2, "\n".join(receiver["calls"])
