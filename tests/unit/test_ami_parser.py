"""The AMI parser: whatever the cuts, the same messages; whatever the bytes, one exception."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventfed_lab import AmiMessage, AmiParser, AmiProtocolError

BANNER = b"Asterisk Call Manager/11.0.0\r\n"
NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,20}", fullmatch=True)
VALUES = st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), max_size=40)
MESSAGES = st.lists(st.lists(st.tuples(NAMES, VALUES), min_size=1, max_size=4).map(tuple), max_size=4)


def wire(messages: list[tuple[tuple[str, str], ...]]) -> bytes:
    return BANNER + b"".join(
        "".join(f"{name}: {value}\r\n" for name, value in headers).encode() + b"\r\n" for headers in messages
    )


@pytest.mark.parser
@given(MESSAGES, st.lists(st.integers(0, 400)))
def test_messages_are_the_same_however_the_stream_is_cut(
    messages: list[tuple[tuple[str, str], ...]], cuts: list[int]
) -> None:
    data = wire(messages)
    parser = AmiParser()
    read: list[AmiMessage] = []
    position = 0
    for cut in sorted({cut for cut in cuts if cut < len(data)} | {len(data)}):
        read += parser.feed(data[position:cut])
        position = cut
    assert parser.banner == "Asterisk Call Manager/11.0.0"
    assert [message.headers for message in read] == messages


@pytest.mark.parser
@given(st.binary(max_size=600), st.booleans())
def test_noise_raises_the_documented_error_or_nothing(data: bytes, greeted: bool) -> None:
    parser = AmiParser()
    try:
        for message in parser.feed(BANNER + data if greeted else data):
            assert all(isinstance(value, str) for header in message.headers for value in header)
    except AmiProtocolError:
        assert not greeted


def test_another_protocol_is_refused_at_its_first_line() -> None:
    with pytest.raises(AmiProtocolError, match="SSH"):
        AmiParser().feed(b"SSH-2.0-OpenSSH_9.2\r\n")


def test_bytes_without_an_end_are_refused() -> None:
    with pytest.raises(AmiProtocolError, match="without an end"):
        AmiParser().feed(b"x" * 1000)
    parser = AmiParser()
    parser.feed(BANNER)
    with pytest.raises(AmiProtocolError, match="without an end"):
        parser.feed(b"Output: " + b"x" * 5_000_000)


def test_headers_are_found_without_case_and_repeated_ones_together() -> None:
    (message,) = AmiParser().feed(BANNER + b"Response: Success\r\nOutput: one\r\nOutput:  two\r\n\r\n")
    assert message["response"] == "Success"
    assert message["ActionID"] == ""
    assert message.event == ""
    assert message.getlist("OUTPUT") == ["one", " two"]
