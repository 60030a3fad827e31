"""Asterisk's binary ``ast_event``: golden vectors, both ways, and anything else."""

import struct
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from eventfed import (
    EID,
    DeviceState,
    ElementType,
    Event,
    EventType,
    InformationElement,
    Mailbox,
    MalformedEvent,
    MalformedFrame,
    asterisk_string_hash,
    decode_ast_event,
    encode_ast_event,
)

SERVER = EID.parse("00:11:22:33:44:55")

# Laid out by hand after main/event.c of Asterisk 22 for a little-endian host.
GOLDEN = {
    "mwi": (
        Event.mailbox("100@default", 1, 2, SERVER),
        "0002003a00030008946c860b313030000009000cce7de61c64656661756c740000010004000000010002000400000002"
        "00210006001122334455",
    ),
    "device state change": (
        Event.device("PJSIP/100", DeviceState.INUSE, SERVER),
        "000600300007000e6bb5f202504a5349502f313030000008000400000002003d00040000000100210006001122334455",
    ),
    "aggregate device state": (
        Event(
            EventType.DEVICE_STATE,
            SERVER,
            ((InformationElement.DEVICE, "PJSIP/100"), (InformationElement.STATE, 2)),
        ),
        "000500300007000e6bb5f202504a5349502f313030000008000400000002003d00040000000100210006001122334455",
    ),
    "ping": (Event(EventType.PING, SERVER), "000c000e00210006001122334455"),
    "cluster discovery": (
        Event(
            EventType.CLUSTER_DISCOVERY,
            SERVER,
            ((InformationElement.NODE_ID, 7), (InformationElement.LOCAL_ADDR, "10.0.0.7")),
        ),
        "000d0027003e000400000007002a000d7dd5a16131302e302e302e370000210006001122334455",
    ),
}
FRAMES = [bytes.fromhex(digits) for _, digits in GOLDEN.values()]
OF_THEIR_OWN = {InformationElement.EID, InformationElement.CACHABLE}

uints = st.integers(0, 2**32 - 1)
texts = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=30)


@st.composite
def elements(draw: st.DrawFn) -> tuple[InformationElement | int, int | str | bytes]:
    element = draw(st.sampled_from([e for e in InformationElement if e not in OF_THEIR_OWN]))
    if draw(st.integers(0, 9)) == 0:
        return draw(st.integers(0x40, 0xFFFE)), draw(st.binary(max_size=60))
    return element, draw(uints) if element.payload is ElementType.UINT else draw(texts)


@st.composite
def events(draw: st.DrawFn) -> Event:
    free = [EventType.CUSTOM, EventType.CEL, EventType.SECURITY, EventType.PING, EventType.CLUSTER_DISCOVERY]
    eid = draw(st.binary(min_size=6, max_size=6).map(EID))
    match draw(st.integers(0, 2)):
        case 0:
            state = draw(st.sampled_from(DeviceState))
            return Event.device(draw(texts.filter(bool)), state, eid, cachable=draw(st.booleans()))
        case 1:
            box = draw(texts.filter(lambda text: text and "@" not in text))
            return Event.mailbox(f"{box}@{draw(texts.filter(bool))}", draw(uints), draw(uints), eid)
        case _:
            return Event(draw(st.sampled_from(free)), eid, tuple(draw(st.lists(elements(), max_size=12))))


@pytest.mark.parametrize("name", GOLDEN)
def test_the_golden_vectors_hold_both_ways(name: str) -> None:
    event, digits = GOLDEN[name]
    assert encode_ast_event(event).hex() == digits
    assert decode_ast_event(bytes.fromhex(digits)) == event


@pytest.mark.parametrize(
    ("text", "value"),
    [(b"100", 0x0B866C94), (b"default", 0x1CE67DCE), (b"PJSIP/100", 0x02F2B56B), (b"", 0x1505)],
)
def test_the_string_hash_is_asterisks(text: bytes, value: int) -> None:
    assert asterisk_string_hash(text) == value


def test_a_mailbox_without_context_is_written_in_default() -> None:
    decoded = decode_ast_event(encode_ast_event(Event.mailbox("100", 1, 2, SERVER)))
    assert decoded == Event.mailbox("100@default", 1, 2, SERVER)
    assert decoded.counts == Mailbox(1, 2)


def test_a_missing_cachable_means_cachable_as_in_asterisk_11() -> None:
    frame = bytes.fromhex("000600280007000e6bb5f202504a5349502f31303000000800040000000200210006001122334455")
    assert decode_ast_event(frame).cachable
    assert not decode_ast_event(
        encode_ast_event(Event.device("Local/1@x", DeviceState.INUSE, SERVER, cachable=False))
    ).cachable


def test_a_hash_in_the_senders_other_byte_order_is_let_be() -> None:
    frame = bytearray(FRAMES[1])
    frame[8:12] = frame[8:12][::-1]
    assert decode_ast_event(bytes(frame)) == GOLDEN["device state change"][0]


def test_an_element_that_nobody_knows_is_kept_as_it_is() -> None:
    event = Event(EventType.CUSTOM, SERVER, ((0x1234, b"\x00\x01\x02"),))
    assert decode_ast_event(encode_ast_event(event)).elements == ((0x1234, b"\x00\x01\x02"),)


@given(events())
@settings(max_examples=500)
def test_an_event_comes_back_from_its_bytes(event: Event) -> None:
    assert decode_ast_event(encode_ast_event(event)) == event


@given(events())
@settings(max_examples=200)
def test_elements_stand_one_after_the_other_with_the_eid_last(event: Event) -> None:
    frame = encode_ast_event(event)
    kind, length = struct.unpack_from(">HH", frame)
    assert (kind, length) == (event.type, len(frame))
    starts = [4]
    while starts[-1] < length:
        starts.append(starts[-1] + 4 + struct.unpack_from(">H", frame, starts[-1] + 2)[0])
    assert starts[-1] == length
    *_, (last, end) = pairwise(starts)
    assert frame[last:end] == struct.pack(">HH", InformationElement.EID, 6) + event.eid.octets


@pytest.mark.parametrize("frame", FRAMES, ids=GOLDEN)
def test_a_frame_that_is_cut_anywhere_is_malformed(frame: bytes) -> None:
    for size in range(len(frame)):
        with pytest.raises(MalformedFrame):
            decode_ast_event(frame[:size])
        if size >= 4:  # and with a header that agrees with what is left
            with pytest.raises(MalformedFrame):
                decode_ast_event(frame[:2] + struct.pack(">H", size) + frame[4:size])


@pytest.mark.parametrize("frame", FRAMES, ids=GOLDEN)
def test_a_frame_with_something_behind_it_is_malformed(frame: bytes) -> None:
    with pytest.raises(MalformedFrame, match="the header says"):
        decode_ast_event(frame + b"\0")


@pytest.mark.parser
@given(st.binary(max_size=200))
@example(b"\x00\x00\x00\x04")
@example(b"\x00\x0c\x00\x04")
def test_noise_is_only_ever_a_malformed_frame(noise: bytes) -> None:
    with pytest.raises(MalformedFrame):
        decode_ast_event(noise)


@st.composite
def damaged_frames(draw: st.DrawFn) -> bytes:
    frame = bytearray(draw(st.sampled_from(FRAMES)))
    for _ in range(draw(st.integers(1, 4))):
        frame[draw(st.integers(0, len(frame) - 1))] = draw(st.integers(0, 255))
    if draw(st.booleans()):
        where = draw(st.integers(4, len(frame)))
        frame[where:where] = draw(st.binary(max_size=20))
        frame[2:4] = struct.pack(">H", len(frame))
    return bytes(frame)


@pytest.mark.parser
@given(damaged_frames())
def test_a_damaged_frame_is_an_event_or_malformed(frame: bytes) -> None:
    try:
        clean = encode_ast_event(decode_ast_event(frame))
    except MalformedFrame:
        return
    assert encode_ast_event(decode_ast_event(clean)) == clean


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        (b"\x00\x21\x00\x05\x00\x11\x22\x33\x44", "six bytes, not 5"),
        (b"", "no EID"),
        (b"\x00\x08\x00\x03\x00\x00\x02", "a uint has 4 bytes, not 3"),
        (b"\x00\x07\x00\x04\x00\x00\x00\x00", "a str is a hash, text and one NUL"),
        (b"\x00\x07\x00\x06\x00\x00\x00\x00ab", "a str is a hash, text and one NUL"),
        (b"\x00\x07\x00\x07\x00\x00\x00\x00a\x00\x00", "a str is a hash, text and one NUL"),
        (b"\x00\x07\x00\x06\x00\x00\x00\x00\xff\x00", "utf-8"),
        (b"\x00\x08\xff\xff\x00", "says 65535 bytes, 1 are left"),
        (b"\x00\x08\x00", "cut at byte 4"),
        (b"\x00\x00\x00\x00\x00\x21\x00\x06\x00\x11\x22\x33\x44\x55", "no information element"),
    ],
)
def test_each_length_is_checked(elements: bytes, message: str) -> None:
    with pytest.raises(MalformedFrame, match=message):
        decode_ast_event(struct.pack(">HH", EventType.CUSTOM, 4 + len(elements)) + elements)


def test_an_event_type_that_nobody_knows_is_malformed() -> None:
    with pytest.raises(MalformedFrame):
        decode_ast_event(b"\x00\x0e" + FRAMES[3][2:])


def test_an_event_that_does_not_fit_is_refused() -> None:
    with pytest.raises(MalformedEvent, match="at most 65,535"):
        encode_ast_event(Event(EventType.CUSTOM, SERVER, ((0x100, bytes(40_000)), (0x101, bytes(40_000)))))
    with pytest.raises(MalformedEvent, match="do not fit 16 bits"):
        encode_ast_event(Event(EventType.CUSTOM, SERVER, ((0x100, bytes(70_000)),)))
