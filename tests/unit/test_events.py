"""The Event API: EIDs, events, the bus within a process."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventfed import (
    EID,
    MAX_COUNT,
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
    UnsupportedEnvelope,
)

A = EID.parse("02:00:00:00:00:0a")
B = EID.parse("02:00:00:00:00:0b")

eids = st.binary(min_size=6, max_size=6).map(EID)


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


def test_counts_and_sums_end_at_what_asterisk_holds() -> None:
    most = Mailbox(MAX_COUNT, MAX_COUNT)
    assert Event(EventType.MWI, A, ((3, "1001"), (1, 2**32 - 1), (2, MAX_COUNT + 1))).counts == most
    assert Event.mailbox("1001@default", 2**32 - 1, MAX_COUNT, A).counts == most
    assert most + Mailbox(1, 0) == most
    assert sum([most, most, most], start=Mailbox(0, 0)) == most
    assert Mailbox(5, MAX_COUNT).beside(Mailbox(MAX_COUNT - 2, 7)) == Mailbox(2, MAX_COUNT - 7)


@pytest.mark.parametrize("name", ["600", "1001@default", "a@b@c", "x"])
def test_a_mailbox_can_be_built_again_from_its_key(name: str) -> None:
    event = Event.mailbox(name, 1, 2, A)
    assert Event.mailbox(event.key, 1, 2, A) == event


@pytest.mark.parametrize(
    ("kind", "elements", "message"),
    [
        (EventType.MWI, [(3, "@default"), (1, 1), (2, 0)], "is no mailbox"),
        (EventType.MWI, [(3, "1001@"), (1, 1), (2, 0)], "is no mailbox"),
        (EventType.MWI, [(3, "1001@default"), (9, "other"), (1, 1), (2, 0)], "is no mailbox"),
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
    assert not event.same_value(replace(event, order=1))


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
