from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventfed_agent.pjsip.sip import MAX_HEAD_BYTES, SipSyntaxError, StreamFramer


def message(body: bytes, name: bytes = b"Content-Length") -> bytes:
    return b"PUBLISH sip:a@b SIP/2.0\r\nX: y\r\n" + name + b":   " + str(len(body)).encode() + b"\r\n\r\n" + body


def drain(framer: StreamFramer) -> list[bytes]:
    messages = []
    while (found := framer.next_message()) is not None:
        messages.append(found)
    return messages


@pytest.mark.parser
@given(
    st.lists(st.tuples(st.binary(max_size=50), st.sampled_from([b"", b"\r\n\r\n", b"\r\n"])), max_size=5),
    st.lists(st.integers(1, 40), min_size=1, max_size=60),
)
def test_messages_come_out_whole_however_the_stream_was_cut(parts: list[tuple[bytes, bytes]], sizes: list[int]) -> None:
    messages = [message(body) for body, _ in parts]
    stream = b"".join(keepalive + whole for whole, (_, keepalive) in zip(messages, parts, strict=True))
    framer = StreamFramer()
    found = []
    at = 0
    while at < len(stream):
        size = sizes[at % len(sizes)]
        framer.receive(stream[at : at + size])
        found += drain(framer)
        at += size
    assert found == messages
    assert not framer.partial


def test_the_compact_name_of_content_length_counts() -> None:
    framer = StreamFramer()
    framer.receive(message(b"abc", b"l") + message(b""))
    assert drain(framer) == [message(b"abc", b"l"), message(b"")]


def test_keep_alives_alone_leave_nothing_behind() -> None:
    framer = StreamFramer()
    framer.receive(b"\r\n\r\n\r\n")
    assert drain(framer) == []
    assert not framer.partial


def test_a_partial_message_is_told() -> None:
    framer = StreamFramer()
    framer.receive(message(b"abc")[:-1])
    assert drain(framer) == []
    assert framer.partial


@pytest.mark.parametrize(
    "data",
    [
        b"PUBLISH sip:a@b SIP/2.0\r\nX: y\r\n\r\n",
        message(b"").replace(b"  0", b" -1"),
        message(b"").replace(b"  0", b" 0x"),
        message(b"").replace(b"  0", b" 65536"),
        message(b"").replace(b"  0", b" 99999999999"),
        message(b"").replace(b"X: y", b"l: 0"),
        b"x" * (MAX_HEAD_BYTES + 1),
        b"x" * (MAX_HEAD_BYTES + 1) + message(b""),
        bytes(range(1, 256)) * 257,
    ],
)
def test_a_stream_that_cannot_be_framed_fails_and_stays_failed(data: bytes) -> None:
    framer = StreamFramer()
    framer.receive(data)
    for _ in range(2):
        with pytest.raises(SipSyntaxError):
            drain(framer)
    framer.receive(message(b""))
    with pytest.raises(SipSyntaxError):
        framer.next_message()


def test_messages_before_the_fault_are_delivered() -> None:
    framer = StreamFramer()
    framer.receive(message(b"1") + b"GET / HTTP/1.1\r\n\r\n")
    assert framer.next_message() == message(b"1")
    with pytest.raises(SipSyntaxError):
        framer.next_message()


@pytest.mark.parser
@given(st.lists(st.binary(max_size=60), max_size=10))
def test_noise_on_a_stream_raises_nothing_else(chunks: list[bytes]) -> None:
    framer = StreamFramer()
    for chunk in chunks:
        framer.receive(chunk)
        try:
            found = drain(framer)
        except SipSyntaxError:
            return
        assert all(b"\r\n\r\n" in whole for whole in found)
