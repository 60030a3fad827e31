"""What the log says of the bus: that it works again is said of a bus that does, and of no other."""

import logging

import pytest

from eventfed.core.bus_health import BusHealth
from eventfed.core.messages import Refusal
from eventfed.core.troubles import Trouble
from tests.ground.federation_world import EIDS, Node, World

AGAIN = "NATS works again"


@pytest.fixture
def node(caplog: pytest.LogCaptureFixture) -> Node:
    """A client that publishes a lease, whose connection stands."""
    caplog.set_level(logging.INFO, "eventfed.federation")
    (node,) = World(1).nodes
    node.claim(EIDS[0])
    return node


@pytest.fixture
def health(node: Node) -> BusHealth:
    return BusHealth("EVENTFED", node.outbox, node.ownership, clock=lambda: node.world.now)


def lose(node: Node, health: BusHealth, reason: str) -> None:
    """The connection ends: in the order of `Link.run`."""
    health.note(Trouble.CONNECTION, reason)
    node.ownership.session_ended()
    health.look()


def test_a_connection_that_ends_while_publications_wait_for_answers_does_not_work_again(
    node: Node, health: BusHealth, caplog: pytest.LogCaptureFixture
) -> None:
    node.outbox.take(node.world.now)
    node.world.now += 60
    assert node.outbox.expire(node.world.now)
    health.look()
    assert Trouble.UNACKNOWLEDGED in health.troubles
    lose(node, health, "the connection was closed")
    assert Trouble.UNACKNOWLEDGED not in health.troubles
    health.note(Trouble.CONNECTION, "no connection to NATS: refused")
    assert AGAIN not in caplog.text

    health.session_began()
    health.replay_ended()
    told = [text for text in caplog.messages if text.startswith("NATS works")]
    assert told == [f"{AGAIN}: connection, unacknowledged no more"]
    assert health.problem is None


def test_what_is_withdrawn_while_there_is_no_connection_was_not_taken(
    node: Node, health: BusHealth, caplog: pytest.LogCaptureFixture
) -> None:
    ((token, subject, _),) = node.outbox.take(node.world.now)
    node.outbox.answer(token, Refusal(400, "insufficient resources"), node.world.now)
    health.look()
    assert Trouble.REFUSED in health.troubles
    lose(node, health, "the connection was closed")
    node.outbox.withdraw(subject)
    assert Trouble.REFUSED not in health.troubles
    assert AGAIN not in caplog.text


def test_an_answer_that_is_a_refusal_is_no_sign_of_work(
    node: Node, health: BusHealth, caplog: pytest.LogCaptureFixture
) -> None:
    node.outbox.take(node.world.now)
    node.world.now += 60
    node.outbox.expire(node.world.now)
    health.look()
    node.world.now += 60
    ((token, _, _),) = node.outbox.take(node.world.now)
    node.outbox.answer(token, Refusal(400, "insufficient resources"), node.world.now)
    health.look()
    assert list(health.troubles) == [Trouble.REFUSED]
    assert AGAIN not in caplog.text
    assert "NATS: unacknowledged no more; still: refused" in caplog.messages


def test_the_end_of_one_of_two_troubles_is_told_without_saying_that_all_is_well(
    node: Node, health: BusHealth, caplog: pytest.LogCaptureFixture
) -> None:
    health.stream_seen(["it keeps 2 messages per subject"])
    health.note(Trouble.CONNECTION, "no connection to NATS: refused")
    health.replay_ended()
    assert "NATS: connection no more; still: configuration" in caplog.messages
    assert AGAIN not in caplog.text
    health.stream_seen([])
    assert caplog.messages[-1] == f"{AGAIN}: configuration no more"


def test_a_trouble_that_came_back_before_its_end_was_told_is_not_told_as_ended(
    health: BusHealth, caplog: pytest.LogCaptureFixture
) -> None:
    health.stream_seen(["it keeps 2 messages per subject"])
    health.note(Trouble.STREAM, "stream cannot be read")
    health.stream_seen([])
    health.stream_seen(["it keeps 2 messages per subject"])
    health.replay_ended()
    assert "NATS: stream no more; still: configuration" in caplog.messages
