from __future__ import annotations

import pytest
import sipmessage
from hypothesis import given
from hypothesis import strategies as st

from eventfed import EventfedError
from eventfed_agent.pjsip.sip import (
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    MAX_MESSAGE_BYTES,
    Request,
    Response,
    SecretHeader,
    SipSyntaxError,
    parse_message,
)

BODY = '{"type":"devicestate","device":"PJSIP/Zoë","state":"INUSE","cachable":1,"eid":"02:00:00:00:00:0a"}'.encode()
FROM_ASTERISK = (
    b"PUBLISH sip:A@127.0.0.2:5060 SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 127.0.0.11:5060;rport;branch=z9hG4bKPjc8182f94-1\r\n"
    b"From: <sip:A@127.0.0.2>;tag=49c9b487\r\n"
    b"To: <sip:A@127.0.0.2>\r\n"
    b"Call-ID: 44a65e0e-8d9e\r\n"
    b"CSeq: 49460 PUBLISH\r\n"
    b"Event: asterisk-devicestate\r\n"
    b"Expires: 60\r\n"
    b"SIP-If-Match: 0\r\n"
    b"Max-Forwards: 70\r\n"
    b"Content-Type: application/json\r\n"
    b"Content-Length:   " + str(len(BODY)).encode() + b"\r\n"
    b"\r\n" + BODY
)
ANSWER = (
    b"SIP/2.0 200 OK\r\n"
    b"v: SIP/2.0/UDP [2001:db8::1]:5060;branch=z9hG4bK1;received=2001:db8::1;rport=5060, SIP/2.0/TCP other\r\n"
    b"f: <sip:A@127.0.0.2>;tag=1\r\nt: <sip:A@127.0.0.2>;tag=2\r\ni: abc\r\n"
    b"CSeq: 7 PUBLISH\r\nSIP-ETag: 0\r\nExpires: 60\r\nl: 0\r\n\r\n"
)


def changed(old: bytes, new: bytes) -> bytes:
    assert old in FROM_ASTERISK
    return FROM_ASTERISK.replace(old, new)


def test_a_publish_of_asterisk_is_read_with_its_blank_padded_length() -> None:
    request = parse_message(FROM_ASTERISK)
    assert isinstance(request, Request)
    assert (request.method, request.uri.user, request.uri.port) == ("PUBLISH", "A", 5060)
    assert (request.call_id, request.cseq, request.event) == ("44a65e0e-8d9e", 49460, "asterisk-devicestate")
    assert (request.expires, request.sip_if_match, request.content_type) == (60, "0", "application/json")
    assert (request.via.sent_by, request.via.branch) == (("127.0.0.11", 5060), "z9hG4bKPjc8182f94-1")
    assert request.via.has_rport
    assert request.body == BODY


def test_a_response_with_compact_names_and_a_bare_ipv6_received_parameter_is_read() -> None:
    response = parse_message(ANSWER)
    assert isinstance(response, Response)
    assert (response.status, response.reason, response.cseq, response.cseq_method) == (200, "OK", 7, "PUBLISH")
    assert response.sip_etag == "0"
    assert (response.via.branch, response.via.sent_by) == ("z9hG4bK1", ("[2001:db8::1]", 5060))


def test_what_was_parsed_is_written_again_with_the_same_meaning() -> None:
    first = parse_message(FROM_ASTERISK)
    again = parse_message(bytes(first))
    assert bytes(again) == bytes(first)
    assert again.body == BODY
    assert again.header("content-length") == str(len(BODY))


def test_folded_lines_and_blanks_before_colons_are_read() -> None:
    request = parse_message(
        changed(b"Event: asterisk-devicestate", b"Event \t: asterisk-devicestate\r\n ;id=1").replace(
            b"Content-Length:   ", b"Content-Length:\r\n\t"
        )
    )
    assert request.event == "asterisk-devicestate"
    assert request.header("Event") == "asterisk-devicestate ;id=1"
    assert request.body == BODY


def test_a_datagram_longer_than_its_content_length_is_cut() -> None:
    assert parse_message(FROM_ASTERISK + b"garbage").body == BODY


def test_a_datagram_without_content_length_has_all_of_its_body() -> None:
    without = FROM_ASTERISK.replace(b"Content-Length:   " + str(len(BODY)).encode() + b"\r\n", b"")
    assert parse_message(without).body == BODY


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n\r\n",
        FROM_ASTERISK[:100],
        FROM_ASTERISK[:-1],
        changed(b"sip:A@127.0.0.2:5060 SIP", b"sip:A@127.0.0.2;self=1 SIP"),
        changed(b"sip:A@127.0.0.2:5060 SIP", b"mailto:a@b SIP"),
        changed(b" SIP/2.0\r\nVia", b" SIP/3.0\r\nVia"),
        changed(b"CSeq: 49460 PUBLISH", b"CSeq: 49460 OPTIONS"),
        changed(b"CSeq: 49460 PUBLISH", b"CSeq: 2147483648 PUBLISH"),
        changed(b"CSeq: 49460 PUBLISH", "CSeq: ٣ PUBLISH".encode()),
        changed(b"CSeq: 49460 PUBLISH", b"CSeq: PUBLISH"),
        changed(b"Call-ID: ", b"Call-IDs: "),
        changed(b"Call-ID: ", b"i: x\r\nCall-ID: "),
        changed(b"Via: ", b"Vias: "),
        changed(b"127.0.0.11:5060;rport", b"127.0.0.11:70000;rport"),
        changed(b"127.0.0.11:5060;rport", b"127.0.0.11:5060;;rport"),
        changed(b"Expires: 60", b"Expires: soon"),
        changed(b"Expires: 60", b"Expires: -1"),
        changed(b"Content-Length:   ", b"Content-Length: -"),
        changed(b"Content-Length:   ", b"l: 1\r\nContent-Length:   "),
        changed(b"Max-Forwards: 70", b"Max-Forwards"),
        changed(b"Max-Forwards: 70", b": 70"),
        changed(b"Max-Forwards: 70", b"Max-Forwards: 70\nInjected: yes"),
        changed(b"Max-Forwards: 70", b"Max-Forwards: \xff"),
        changed(b"Max-Forwards: 70", b"\r\n".join(b"X: %d" % n for n in range(MAX_HEADERS))),
        changed(b"Max-Forwards: 70", b"X: " + b"x" * MAX_HEAD_BYTES),
        changed(b"sip:A@", b"sip:" + b"A" * 3000 + b"@"),
        FROM_ASTERISK + b" " * MAX_MESSAGE_BYTES,
        ANSWER.replace(b" 200 ", b" 099 "),
        ANSWER.replace(b" 200 ", b" 2000 "),
        ANSWER.replace(b" 200 ", b" 2_0 "),
        b"\x00" * 65_507,
    ],
)
def test_what_is_malformed_raises_the_one_error(data: bytes) -> None:
    with pytest.raises(SipSyntaxError):
        parse_message(data)


def test_the_syntax_error_belongs_to_the_one_tree() -> None:
    assert issubclass(SipSyntaxError, EventfedError)


@pytest.mark.parser
@given(
    st.sampled_from([FROM_ASTERISK, ANSWER]),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 8), st.binary(max_size=8)), min_size=1, max_size=4),
    st.floats(0, 1),
)
def test_a_mutated_or_cut_message_is_read_or_refused_and_nothing_else(
    original: bytes, mutations: list[tuple[float, int, bytes]], end: float
) -> None:
    data = original
    for where, length, inserted in mutations:
        at = int(where * len(data))
        data = data[:at] + inserted + data[at + length :]
    if end > 0.5:
        data = data[: int(2 * (end - 0.5) * len(data))]
    try:
        message = parse_message(data)
    except SipSyntaxError:
        return
    assert message.via.sent_by
    bytes(parse_message(bytes(message)))


HEADER_LINES = st.lists(
    st.one_of(
        st.sampled_from([line for line in FROM_ASTERISK.split(b"\r\n")[1:-2] if line]),
        st.sampled_from([line for line in ANSWER.split(b"\r\n")[1:-2] if line]),
        st.tuples(
            st.sampled_from([b"Via: ", b"CSeq:", b"Event:", b"l:", b"Expires: ", b"X", b" ", b""]),
            st.binary(max_size=20),
        ).map(b"".join),
    ),
    max_size=12,
)


@pytest.mark.parser
@given(
    st.one_of(st.sampled_from([b"PUBLISH sip:a@b SIP/2.0", b"SIP/2.0 200 OK"]), st.binary(max_size=40)),
    HEADER_LINES,
    st.binary(max_size=100),
)
def test_a_generated_message_is_read_or_refused_and_nothing_else(start: bytes, lines: list[bytes], body: bytes) -> None:
    try:
        message = parse_message(b"\r\n".join([start, *lines]) + b"\r\n\r\n" + body)
    except SipSyntaxError:
        return
    assert len(message.header_values("Call-ID")) == 1
    assert parse_message(bytes(message)).body == message.body


@pytest.mark.parser
@given(st.binary(max_size=300))
def test_noise_is_refused(data: bytes) -> None:
    with pytest.raises(SipSyntaxError):
        parse_message(data)


@pytest.mark.parser
@given(
    st.lists(
        st.tuples(
            st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,12}", fullmatch=True),
            st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), max_size=20),
        ),
        max_size=10,
    )
)
def test_headers_are_read_as_the_sipmessage_library_reads_them(headers: list[tuple[str, str]]) -> None:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers).encode()
    data = FROM_ASTERISK.replace(b"Max-Forwards: 70\r\n", lines)
    try:
        ours = parse_message(data)
    except SipSyntaxError:
        return
    theirs = sipmessage.Message.parse(data)
    assert isinstance(theirs, sipmessage.Request)
    assert isinstance(ours, Request)
    assert (ours.method, str(ours.uri)) == (theirs.method, str(theirs.uri))
    for name in theirs.headers.keys():  # noqa: SIM118
        if name.lower() != "content-length":
            assert ours.header_values(name) == theirs.headers.getlist(name)


URI = sipmessage.URI(scheme="sip", user="eventfed", host="[::1]", port=5060)
NEEDED = [("From", "<sip:a@b>;tag=1"), ("To", "<sip:a@b>"), ("Call-ID", "c")]


@given(
    st.binary(max_size=200),
    st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1, max_size=30),
)
def test_what_is_built_is_read_back(body: bytes, value: str) -> None:
    request = Request.build("PUBLISH", URI, 3, [*NEEDED, ("X-Custom", value)], body)
    read = parse_message(request.with_via("SIP/2.0/UDP [::1]:5;rport;branch=z9hG4bK2"))
    assert isinstance(read, Request)
    assert (read.body, read.header("x-custom"), read.cseq, str(read.uri)) == (body, value, 3, "sip:eventfed@[::1]:5060")


@pytest.mark.parametrize("value", ["a\r\nInjected: yes", "a\nb", "a\x00"])
def test_a_line_break_in_a_header_to_send_is_refused(value: str) -> None:
    with pytest.raises(SipSyntaxError):
        Request.build("PUBLISH", URI, 1, [*NEEDED, ("X", value)])


def test_a_request_to_send_needs_its_headers() -> None:
    with pytest.raises(SipSyntaxError, match="call-id"):
        Request.build("PUBLISH", URI, 1, NEEDED[:2])


def test_an_answer_copies_what_identifies_the_request_and_tags_to() -> None:
    request = parse_message(FROM_ASTERISK.replace(b"Via: ", b"Via: SIP/2.0/UDP first;branch=z9hG4bK0\r\nVia: "))
    assert isinstance(request, Request)
    answer = parse_message(bytes(Response.answer(request, 489, [("Allow-Events", "x")])))
    assert isinstance(answer, Response)
    assert (answer.status, answer.reason) == (489, "Bad Event")
    for name in ("Via", "From", "Call-ID", "CSeq"):
        assert answer.header_values(name) == request.header_values(name)
    assert (answer.header("To") or "").startswith("<sip:A@127.0.0.2>;tag=")


def test_an_answer_keeps_the_tag_that_to_has() -> None:
    request = parse_message(changed(b"To: <sip:A@127.0.0.2>", b"To: <sip:A@127.0.0.2>;tag=x"))
    assert isinstance(request, Request)
    assert Response.answer(request, 200).header("To") == "<sip:A@127.0.0.2>;tag=x"


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        ("SIP/2.0/UDP h:5;rport;branch=z9hG4bK1", "SIP/2.0/UDP h:5;branch=z9hG4bK1;received=10.0.0.1;rport=99"),
        (
            "SIP/2.0/UDP h;branch=z9hG4bK1 , SIP/2.0/UDP i",
            "SIP/2.0/UDP h;branch=z9hG4bK1;received=10.0.0.1;rport=99 , SIP/2.0/UDP i",
        ),
    ],
)
def test_the_source_is_noted_in_the_topmost_via_alone(sent: str, answered: str) -> None:
    request = parse_message(changed(b"SIP/2.0/UDP 127.0.0.11:5060;rport;branch=z9hG4bKPjc8182f94-1", sent.encode()))
    assert isinstance(request, Request)
    assert request.received_from("10.0.0.1", 99).header_values("Via") == [answered]


def test_no_secret_shows_in_what_is_logged() -> None:
    secret = SecretHeader("hunter2")
    request = Request.build("PUBLISH", URI, 1, [*NEEDED, (secret.name, secret.value)])
    assert request.header(secret.name) == "hunter2"
    assert "hunter2" not in repr(secret) + repr(request) + str(request)
