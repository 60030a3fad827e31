"""What stands on the bus: the envelope of an event, and its subject."""

import contextlib
import dataclasses
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventfed import (
    EID,
    ENVELOPE_VERSION,
    MAX_ENVELOPE,
    MAX_NAME,
    DeviceState,
    Event,
    EventType,
    Mailbox,
    MalformedEnvelope,
    MalformedSubject,
    PresenceState,
    StateKey,
    Subject,
    Subjects,
    UnsupportedEnvelope,
    decode_envelope,
    encode_envelope,
    quote_key,
    unquote_key,
)

A = EID.parse("02:00:00:00:00:0a")
SUBJECTS = Subjects("voice_pbx")

eids = st.binary(min_size=6, max_size=6).map(EID)
texts = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=60)
names = texts.filter(bool)
uints = st.integers(0, 2**32 - 1)
times = st.floats(0, 2**39, allow_nan=False)
numbers = st.integers(0, 2**63 - 1)


@st.composite
def events(draw: st.DrawFn) -> Event:
    eid = draw(eids)
    match draw(st.integers(0, 3)):
        case 0:
            event = Event.device(draw(names), draw(st.sampled_from(DeviceState)), eid, cachable=draw(st.booleans()))
        case 1:
            event = Event.mailbox(draw(names.filter(lambda n: not n.startswith("@"))), draw(uints), draw(uints), eid)
        case 2:
            event = Event.presence(draw(names), draw(st.sampled_from(PresenceState)), eid, message=draw(texts))
        case _:
            unknown = st.integers(0x40, 0xFFFE)
            event = Event(EventType.CUSTOM, eid, tuple(draw(st.lists(st.tuples(unknown, st.binary(max_size=20))))))
    return dataclasses.replace(
        event, time=draw(times), epoch=draw(numbers), sequence=draw(numbers), order=draw(numbers)
    )


# The envelope


@given(events())
@settings(max_examples=300)
def test_an_event_comes_out_of_its_envelope_unchanged(event: Event) -> None:
    assert decode_envelope(encode_envelope(event)) == event


@pytest.mark.parser
@given(st.binary(max_size=400))
def test_noise_is_only_ever_a_malformed_envelope(noise: bytes) -> None:
    with pytest.raises(MalformedEnvelope):
        decode_envelope(noise)


_anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=8,
)
_field = st.sampled_from(["t", "e", "i", "c", "w", "o", "n", "v", "later"])


@pytest.mark.parser
@given(events(), st.dictionaries(_field, _anything, max_size=3), st.sets(_field, max_size=2))
def test_an_envelope_with_wrong_fields_is_an_event_or_malformed(
    event: Event, wrong: dict[str, Any], without: set[str]
) -> None:
    body = msgpack.unpackb(encode_envelope(event)) | wrong
    for name in without:
        body.pop(name, None)
    try:
        decoded = decode_envelope(msgpack.packb(body))
    except MalformedEnvelope:
        return
    assert decode_envelope(encode_envelope(decoded)) == decoded


@given(events(), st.data())
@settings(max_examples=300)
def test_a_cut_envelope_is_malformed(event: Event, data: st.DataObject) -> None:
    whole = encode_envelope(event)
    with pytest.raises(MalformedEnvelope):
        decode_envelope(whole[: data.draw(st.integers(0, len(whole) - 1))])


def test_a_later_version_says_so() -> None:
    body = msgpack.unpackb(encode_envelope(Event(EventType.PING, A)))
    with pytest.raises(UnsupportedEnvelope, match="upgrade it first"):
        decode_envelope(msgpack.packb(body | {"v": ENVELOPE_VERSION + 1}))


def test_fields_that_a_newer_program_adds_are_let_be() -> None:
    body = msgpack.unpackb(encode_envelope(Event.mailbox("1001@default", 1, 2, A)))
    assert decode_envelope(msgpack.packb(body | {"z": [1, 2, 3]})).counts == Mailbox(1, 2)


@pytest.mark.parametrize(
    "bomb",
    [
        b"\xdd\xff\xff\xff\xff",  # an array of 4 G entries
        b"\xdf\xff\xff\xff\xff",  # a map of 4 G entries
        b"\xc6\xff\xff\xff\xff",  # 4 GiB of bytes
        b"\x91" * 60_000 + b"\xc0",  # nested lists
        b"\x81\xa1v" * 20_000 + b"\x01",  # nested maps
        b"\xc9\x00\x00\x00\x01\x05\x00",  # an extension type
        b"\x00" * (MAX_ENVELOPE + 1),
    ],
    ids=["array", "map", "bytes", "lists", "maps", "extension", "size"],
)
def test_a_msgpack_bomb_is_malformed(bomb: bytes) -> None:
    with pytest.raises(MalformedEnvelope):
        decode_envelope(bomb)


# Subjects


def test_subjects_are_readable() -> None:
    state = StateKey(EventType.MWI, A, "1001@default")
    assert SUBJECTS.state(state) == "eventfed.voice_pbx.local.state.mwi.02000000000a.1001@default"
    assert SUBJECTS.member(A) == "eventfed.voice_pbx.local.member.02000000000a"
    assert SUBJECTS.roster("node-1.example") == "eventfed.voice_pbx.local.roster.node-1%2Eexample"
    assert SUBJECTS.event(EventType.PING, A) == "eventfed.voice_pbx.local.event.ping.02000000000a"
    assert SUBJECTS.refresh() == "eventfed.voice_pbx.local.refresh"
    assert SUBJECTS.refresh(A) == "eventfed.voice_pbx.local.refresh.02000000000a"
    assert SUBJECTS.forget(state) == "eventfed.voice_pbx.local.forget.mwi.02000000000a.1001@default"
    assert SUBJECTS.stream == "EVENTFED_voice_pbx_local"


@given(names.filter(lambda name: len(name.encode()) <= MAX_NAME))
@settings(max_examples=500)
def test_every_name_has_one_token_and_reads_back(name: str) -> None:
    token = quote_key(name)
    assert not set(token) & set(" .*>\t\r\n\0\x7f")
    assert unquote_key(token) == name


@given(eids, names, st.sampled_from([EventType.MWI, EventType.DEVICE_STATE_CHANGE, EventType.PRESENCE_STATE]))
@settings(max_examples=300)
def test_every_subject_reads_back(eid: EID, key: str, kind: EventType) -> None:
    state = SUBJECTS.parse(SUBJECTS.state(StateKey(kind, eid, key)))
    assert state.state == StateKey(kind, eid, key)  # type: ignore[union-attr]
    assert SUBJECTS.parse(SUBJECTS.member(eid)).eid == eid  # type: ignore[union-attr]
    assert SUBJECTS.parse(SUBJECTS.roster(key)).node == key  # type: ignore[union-attr]
    assert SUBJECTS.parse(SUBJECTS.event(kind, eid)).type is kind  # type: ignore[union-attr]
    assert SUBJECTS.parse(SUBJECTS.refresh(eid)).eid == eid  # type: ignore[union-attr]
    assert SUBJECTS.parse(SUBJECTS.refresh()).eid is None  # type: ignore[union-attr]


def test_a_subject_tells_its_site() -> None:
    assert SUBJECTS.parse(Subjects("voice_pbx", "berlin").member(A)).site == "berlin"


@pytest.mark.parser
@given(st.text(max_size=80) | st.text(max_size=60).map(lambda rest: f"eventfed.voice_pbx.local.{rest}"))
def test_any_text_is_a_subject_or_malformed(text: str) -> None:
    with contextlib.suppress(MalformedSubject):
        subject = SUBJECTS.parse(text)
        assert isinstance(subject, Subject)


@pytest.mark.parametrize(
    "subject",
    [
        "eventfed.other.local.member.02000000000a",
        "eventfed.voice_pbx.local.member.02000000000A",
        "eventfed.voice_pbx.local.state.ping.02000000000a.x",
        "eventfed.voice_pbx.local.state.mwi.02000000000a.1001@default.more",
        "eventfed.voice_pbx.local.state.mwi.02000000000a.%31001",
        "eventfed.voice_pbx.local.state.mwi.02000000000a.%2e",
        "eventfed.voice_pbx.local.state.mwi.02000000000a.%FF",
        "eventfed.voice_pbx.local.state.mwi.02000000000a.",
        "eventfed.voice_pbx.local",
        "",
    ],
)
def test_a_subject_that_nobody_writes_is_malformed(subject: str) -> None:
    with pytest.raises(MalformedSubject):
        SUBJECTS.parse(subject)


@pytest.mark.parametrize("name", ["", "x" * (MAX_NAME + 1), "\udc80"])
def test_a_name_that_fits_no_subject_is_malformed(name: str) -> None:
    with pytest.raises(MalformedSubject):
        quote_key(name)


@pytest.mark.parametrize("token", ["", "a.b", "a b", "*", ">", "ä", "x" * 129])
def test_a_federation_is_one_plain_token(token: str) -> None:
    with pytest.raises(MalformedSubject, match="use 1 to 128 letters"):
        Subjects(token)
    with pytest.raises(MalformedSubject, match="site"):
        Subjects("voice_pbx", token)
