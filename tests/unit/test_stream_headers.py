"""What JetStream is told of a message, and what says that a value is gone."""

import pytest

from eventfed.core.messages import Message
from eventfed.jetstream.headers import headers_of, is_marker


@pytest.mark.parametrize(
    ("message", "headers"),
    [
        (Message(b"x"), None),
        (Message(b"x", ttl=0.2), {"Nats-TTL": "1s"}),
        (Message(b"x", ttl=30.5), {"Nats-TTL": "31s"}),
        (Message(b"x", expected=0), {"Nats-Expected-Last-Subject-Sequence": "0"}),
        (Message(b"x", 30.0, 7), {"Nats-TTL": "30s", "Nats-Expected-Last-Subject-Sequence": "7"}),
        (
            Message(b"", 60.0, 7, tombstone=True),
            {
                "Nats-Marker-Reason": "Purge",
                "Nats-Rollup": "sub",
                "Nats-TTL": "60s",
                "Nats-Expected-Last-Subject-Sequence": "7",
            },
        ),
    ],
)
def test_a_message_becomes_headers(message: Message, headers: dict[str, str] | None) -> None:
    assert headers_of(message) == headers


@pytest.mark.parametrize("reason", ["MaxAge", "Purge", "Remove"])
def test_a_marker_says_that_a_value_is_gone(reason: str) -> None:
    assert is_marker(b"", {"Nats-Marker-Reason": reason})


def test_a_message_with_a_body_or_of_another_reason_is_no_marker() -> None:
    assert not is_marker(b"x", {"Nats-Marker-Reason": "Purge"})
    assert not is_marker(b"", {"Nats-Marker-Reason": "Nonsense"})
    assert not is_marker(b"", None)
