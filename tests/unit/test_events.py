"""The Event API: EIDs, events, the envelope, subjects, the bus."""

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
    EventBus,
    EventfedError,
    EventType,
    InformationElement,
    Mailbox,
    MalformedEntityID,
    MalformedEnvelope,
    MalformedEvent,
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
B = EID.parse("02:00:00:00:00:0b")
SUBJECTS = Subjects("voice_pbx")

eids = st.binary(min_size=6, max_size=6).map(EID)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)
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
    return dataclasses.replace(event, time=draw(times), epoch=draw(numbers), sequence=draw(numbers), news=draw(numbers))


# EID


def test_an_eid_reads_asterisks_writing_in_either_case() -> None:
    assert EID.parse("02:00:00:00:00:0A") == A
    assert str(A) == "02:00:00:00:00:0a"
    assert A.hex == "02000000000a"
    assert repr(A) == "EID('02:00:00:00:00:0a')"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "zzz",
        "02:00:00:00:00",
        "02:00:00:00:00:0a:0b",
        "2:0:0:0:0:a",
        "02-00-00-00-00-0a",
        "02000000000a",
        " 02:00:00:00:00:0a",
        "02:00:00:00:00:0a\n",
        "02:00:00:00:00:0g",
        "٠٢:00:00:00:00:0a",
        None,
        7,
        b"02:00:00:00:00:0a",
    ],
)
def test_an_eid_that_asterisk_would_half_read_is_refused(text: Any) -> None:
    with pytest.raises(MalformedEntityID, match="write six bytes as 02:00:00:00:00:0a"):
        EID.parse(text)


@pytest.mark.parametrize("digits", ["", "02000000000A", "02000000000", "02000000000a0", "0200000000zz"])
def test_twelve_digits_of_a_subject_have_one_writing(digits: str) -> None:
    with pytest.raises(MalformedEntityID):
        EID.from_hex(digits)


def test_an_eid_has_six_bytes() -> None:
    with pytest.raises(MalformedEntityID, match="not 5"):
        EID(b"12345")


@given(eids)
@settings(max_examples=100)
def test_both_writings_of_an_eid_read_back(eid: EID) -> None:
    assert EID.parse(str(eid)) == eid
    assert EID.from_hex(eid.hex) == eid


def test_a_derived_eid_is_stable_and_locally_administered() -> None:
    # printf site/namespace/pod | sha256sum | cut -c1-10
    assert str(EID.derive("site/namespace/pod")) == "02:93:04:54:f1:6a"
    assert EID.derive("local/voice/pbx-0") != EID.derive("local/voice/pbx-1")


# Events


def test_each_kind_of_state_knows_its_key() -> None:
    assert Event.device("PJSIP/1001", DeviceState.INUSE, A).key == "PJSIP/1001"
    assert Event.mailbox("1001@default", 1, 2, A).key == "1001@default"
    assert Event.mailbox("600", 1, 2, A).key == "600"
    assert Event.presence("CustomPresence:bob", PresenceState.AWAY, A).key == "CustomPresence:bob"
    assert Event(EventType.PING, A).key == ""


def test_state_and_counts_read_back() -> None:
    assert Event.device("PJSIP/1001", DeviceState.ONHOLD, A).device_state is DeviceState.ONHOLD
    assert Event.mailbox("1001@default", 1, 2, A).counts == Mailbox(1, 2)
    assert Mailbox(1, 2) + Mailbox(3, 4) == Mailbox(4, 6)
    with pytest.raises(MalformedEvent, match="STATE"):
        _ = Event.mailbox("1001@default", 1, 2, A).device_state
    with pytest.raises(MalformedEvent, match="NEWMSGS"):
        _ = Event.device("PJSIP/1001", DeviceState.INUSE, A).counts


@pytest.mark.parametrize(
    ("kind", "elements", "message"),
    [
        (EventType.DEVICE_STATE_CHANGE, [], "needs the element STATE"),
        (EventType.DEVICE_STATE_CHANGE, [(8, 2)], "needs the element DEVICE"),
        (EventType.DEVICE_STATE_CHANGE, [(8, 9), (7, "PJSIP/1")], "no device state"),
        (EventType.DEVICE_STATE_CHANGE, [(8, 2), (7, "")], "not empty"),
        (EventType.DEVICE_STATE_CHANGE, [(8, "2"), (7, "PJSIP/1")], "STATE is a uint"),
        (EventType.DEVICE_STATE_CHANGE, [(8, 2), (7, b"PJSIP/1")], "DEVICE is a str"),
        (EventType.DEVICE_STATE_CHANGE, [(8, 2), (7, "x" * 257)], "longer than 256 bytes"),
        (EventType.DEVICE_STATE_CHANGE, [(8, 2), (7, "ä" * 129)], "longer than 256 bytes"),
        (EventType.MWI, [(3, "1001"), (1, 1)], "needs the element OLDMSGS"),
        (EventType.MWI, [(3, "1001"), (1, -1), (2, 0)], "does not fit 32 bits"),
        (EventType.MWI, [(3, "1001"), (1, 2**32), (2, 0)], "does not fit 32 bits"),
        (EventType.MWI, [(3, "10\x0001"), (1, 1), (2, 0)], "NUL"),
        (EventType.MWI, [(3, "\udc80"), (1, 1), (2, 0)], "UTF-8"),
        (EventType.MWI, [(3, "1001"), (1, True), (2, 0)], "bool is neither"),
        (EventType.PRESENCE_STATE, [(0x3A, 8), (0x39, "CustomPresence:bob")], "no presence state"),
        (EventType.CUSTOM, [(0, 1)], "16 bits"),
        (EventType.CUSTOM, [(0x10000, 1)], "16 bits"),
        (EventType.CUSTOM, [(True, 1)], "16 bits"),
        (EventType.CUSTOM, [("7", 1)], "16 bits"),
        (EventType.CUSTOM, [(0x50, 1.5)], "float is neither"),
        (EventType.CUSTOM, [(0x50, None)], "NoneType is neither"),
    ],
)
def test_an_event_that_cannot_be_is_refused_with_the_reason(kind: EventType, elements: Any, message: str) -> None:
    with pytest.raises(MalformedEvent, match=message):
        Event(kind, A, tuple(elements))


def test_the_first_element_of_a_number_counts() -> None:
    event = Event(EventType.CUSTOM, A, ((InformationElement.DEVICE, "first"), (InformationElement.DEVICE, "second")))
    assert event.get(InformationElement.DEVICE) == "first"
    assert event.get(InformationElement.STATE) is None


def test_the_same_value_does_not_depend_on_when_it_was_said() -> None:
    event = Event.device("PJSIP/1001", DeviceState.INUSE, A, time=1.0)
    assert event.same_value(Event.device("PJSIP/1001", DeviceState.INUSE, A, time=2.0).stamped(epoch=3, sequence=4))
    assert not event.same_value(Event.device("PJSIP/1001", DeviceState.BUSY, A))
    assert not event.same_value(Event.device("PJSIP/1001", DeviceState.INUSE, B))
    assert not event.same_value(Event.device("PJSIP/1001", DeviceState.INUSE, A, cachable=False))


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


# The bus


def test_a_subscriber_gets_what_passes_its_filters() -> None:
    bus, heard = EventBus(), list[Event]()
    bus.subscribe(heard.append, type=EventType.DEVICE_STATE_CHANGE, eid=A, elements={InformationElement.STATE: 2})
    wanted = Event.device("PJSIP/1001", DeviceState.INUSE, A)
    for event in (
        Event.device("PJSIP/1001", DeviceState.BUSY, A),
        Event.device("PJSIP/1001", DeviceState.INUSE, B),
        Event.mailbox("1001@default", 1, 0, A),
        wanted,
    ):
        bus.publish(event)
    assert heard == [wanted]


def test_a_cancelled_subscription_hears_no_more() -> None:
    bus, heard = EventBus(), list[Event]()
    subscription = bus.subscribe(heard.append)
    bus.publish(Event(EventType.PING, A))
    subscription.cancel()
    subscription.cancel()
    bus.publish(Event(EventType.PING, A))
    assert len(heard) == 1


def test_a_late_subscriber_can_have_the_last_values() -> None:
    bus, heard = EventBus(), list[Event]()
    bus.publish(Event.device("PJSIP/1001", DeviceState.INUSE, A))
    bus.publish(Event.device("PJSIP/1001", DeviceState.NOT_INUSE, A))
    bus.publish(Event.device("PJSIP/1002", DeviceState.INUSE, A, cachable=False))
    bus.publish(Event(EventType.PING, A))
    bus.subscribe(heard.append, replay=True)
    assert [(event.key, event.device_state) for event in heard] == [("PJSIP/1001", DeviceState.NOT_INUSE)]


def test_a_failing_subscriber_keeps_nobody_from_hearing() -> None:
    bus, heard = EventBus(), list[Event]()

    def fail(event: Event) -> None:
        raise RuntimeError("no")

    bus.subscribe(fail)
    bus.subscribe(heard.append)
    with pytest.raises(ExceptionGroup) as caught:
        bus.publish(Event(EventType.PING, A))
    assert [str(error) for error in caught.value.exceptions] == ["no"]
    assert len(heard) == 1


def test_a_server_that_leaves_takes_its_states_along() -> None:
    bus = EventBus()
    ours, theirs = (Event.device("PJSIP/1001", DeviceState.INUSE, eid) for eid in (A, B))
    bus.publish(ours)
    bus.publish(theirs)
    assert bus.clear(A) == [ours]
    assert list(bus.dump()) == [theirs]
    assert bus.get(ours.state_key) is None
    assert bus.get(theirs.state_key) == theirs
    assert bus.clear(A) == []


def test_the_bus_aggregates_a_device_over_servers() -> None:
    bus = EventBus()
    assert bus.device_state("PJSIP/1001") is DeviceState.INVALID
    bus.publish(Event.device("PJSIP/1001", DeviceState.INUSE, A))
    bus.publish(Event.device("PJSIP/1001", DeviceState.RINGING, B))
    bus.publish(Event.device("PJSIP/1002", DeviceState.BUSY, B))
    assert bus.device_state("PJSIP/1001") is DeviceState.RINGINUSE


def test_every_exception_is_an_eventfed_error() -> None:
    for error in (MalformedEntityID, MalformedEvent, MalformedEnvelope, UnsupportedEnvelope, MalformedSubject):
        assert issubclass(error, EventfedError)
