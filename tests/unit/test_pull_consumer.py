"""The reader's core: requests for more, gaps, silence, the end of the replay."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventfed.jetstream.pull import ConsumerLost, PullConsumer, consumer_configuration
from tests.ground.narrowing import present


def consumer(pending: int = 3, batch: int = 10) -> PullConsumer:
    return PullConsumer(pending=pending, batch=batch, expires=30.0, heartbeat=1.0)


def ack(sequence: int, pending: int = 100, stream_sequence: int = 7) -> str:
    return f"$JS.ACK.STREAM.consumer.1.{stream_sequence}.{sequence}.1700000000000000000.{pending}"


def ack_v2(sequence: int, pending: int, stream_sequence: int) -> str:
    return f"$JS.ACK._.ACCOUNT.STREAM.consumer.1.{stream_sequence}.{sequence}.1700000000000000000.{pending}.token"


def test_an_empty_stream_is_replayed_at_once() -> None:
    assert consumer(pending=0).synced


def test_the_replay_ends_with_as_many_messages_as_were_pending() -> None:
    reader = consumer(pending=2)
    assert present(reader.receive(ack(1), None)).stream_sequence == 7
    assert not reader.synced
    reader.receive(ack(2), None)
    assert reader.synced


def test_the_replay_ends_when_nothing_is_pending_any_more() -> None:
    reader = consumer(pending=50)
    reader.receive(ack(1, pending=0), None)
    assert reader.synced


def test_the_replay_ends_with_the_first_heartbeat_when_the_rest_was_purged_meanwhile() -> None:
    reader = consumer(pending=50)
    reader.receive(ack(1, pending=49), None)
    assert reader.receive("", {"Status": "100", "Nats-Last-Consumer": "1"}) is None
    assert reader.synced


def test_both_forms_of_the_acknowledgement_subject_are_read() -> None:
    reader = consumer()
    assert present(reader.receive(ack_v2(1, 5, 41), None)).stream_sequence == 41
    assert present(reader.receive(ack(2, 0, 42), None)).stream_sequence == 42


def test_more_is_asked_for_when_half_has_come() -> None:
    reader = consumer(batch=10)
    request = json.loads(present(reader.request()))
    assert request == {"batch": 10, "expires": 30_000_000_000, "idle_heartbeat": 1_000_000_000}
    for sequence in range(1, 5):
        reader.receive(ack(sequence), None)
        assert reader.request() is None
    reader.receive(ack(5), None)
    assert json.loads(present(reader.request()))["batch"] == 5


def test_a_request_that_has_expired_is_made_again() -> None:
    reader = consumer(batch=10)
    reader.request()
    reader.receive(ack(1), None)
    reader.receive("", {"Status": "408", "Description": "Request Timeout", "Nats-Pending-Messages": "9"})
    assert json.loads(present(reader.request()))["batch"] == 10


def test_a_gap_means_that_the_consumer_is_lost() -> None:
    reader = consumer()
    reader.receive(ack(1), None)
    with pytest.raises(ConsumerLost, match="3 of the consumer came after 1"):
        reader.receive(ack(3), None)


def test_a_heartbeat_that_is_ahead_of_us_means_that_something_was_lost() -> None:
    with pytest.raises(ConsumerLost, match="at 4"):
        consumer().receive("", {"Status": "100", "Nats-Last-Consumer": "4"})


@pytest.mark.parametrize(
    ("code", "text"),
    [("409", "Consumer Deleted"), ("409", "Server Shutdown"), ("409", "Leadership Change"), ("503", ""), ("404", "")],
)
def test_a_status_that_ends_the_consumer(code: str, text: str) -> None:
    with pytest.raises(ConsumerLost, match=code):
        consumer().receive("", {"Status": code, "Description": text})


def test_a_full_batch_is_no_end() -> None:
    consumer().receive("", {"Status": "409", "Description": "Batch Completed"})


def test_three_heartbeats_may_be_missing_and_no_more() -> None:
    reader = consumer()
    for _ in range(3):
        reader.tick()
    reader.receive(ack(1), None)
    for _ in range(3):
        reader.tick()
    with pytest.raises(ConsumerLost, match="silent"):
        reader.tick()


def test_one_subject_is_a_filter_and_several_are_filters() -> None:
    assert consumer_configuration("r", ["a.>"], inactive=30)["filter_subject"] == "a.>"
    assert consumer_configuration("r", ["a.>", "b.>"], inactive=30)["filter_subjects"] == ["a.>", "b.>"]


@pytest.mark.parser
@given(
    st.text(max_size=40)
    | st.lists(st.text("0123456789x", max_size=4), max_size=12).map(lambda t: ".".join(["$JS.ACK", *t])),
    st.none()
    | st.dictionaries(
        st.sampled_from(["Status", "Description", "Nats-Last-Consumer", "Nats-Pending-Messages"]), st.text(max_size=5)
    ),
)
def test_whatever_comes_is_a_delivery_a_status_or_the_loss_of_the_consumer(
    reply: str, headers: dict[str, str] | None
) -> None:
    reader = consumer()
    try:
        reader.receive(reply, headers)
    except ConsumerLost:
        return
    assert reader.request() is None or reader.request() is None
