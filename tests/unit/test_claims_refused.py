"""A lease that the bus refuses on its condition, again and again: it is tried once a second at most."""

import pytest

from eventfed.core.claims import ClaimState
from eventfed.core.messages import Refusal
from tests.ground.federation_world import EIDS, Node, World

STEP = 0.01
SECONDS = 10


def attempts(node: Node, seconds: float) -> list[float]:
    """When a lease was sent, to a bus that refuses each at once and names the sequence that was expected."""
    world, sent = node.world, list[float]()
    ticked = world.now
    end = world.now + seconds
    while world.now < end:
        for token, _, message in node.outbox.take(world.now):
            sent.append(world.now)
            assert message.expected is not None
            node.outbox.answer(token, Refusal(10071, "wrong last sequence", message.expected), world.now)
        if world.now - ticked >= 1:
            ticked = world.now
            node.ownership.tick()
        world.now += STEP
    return sent


@pytest.mark.parametrize("held", [False, True])
def test_a_lease_that_is_refused_on_its_condition_is_tried_once_a_second_at_most(held: bool) -> None:
    world = World(1)
    (node,) = world.nodes
    claim = node.claim(EIDS[0])
    if held:
        world.run(2)
        assert claim.state is ClaimState.HELD
        claim.complete()
    sent = attempts(node, SECONDS)
    assert 3 <= len(sent) <= SECONDS


def test_a_lease_that_is_refused_once_is_written_at_once() -> None:
    world = World(1)
    (node,) = world.nodes
    claim = node.claim(EIDS[0])
    ((token, _, message),) = node.outbox.take(world.now)
    node.outbox.answer(token, Refusal(10071, "wrong last sequence", message.expected), world.now)
    world.run(1)
    assert claim.held


def test_a_lease_is_given_back_at_once_whatever_was_refused_before() -> None:
    world = World(1)
    (node,) = world.nodes
    claim = node.claim(EIDS[0])
    world.run(2)
    claim.complete()
    attempts(node, SECONDS)
    claim.release()
    assert any(message.tombstone for _, _, message in node.outbox.take(world.now))
