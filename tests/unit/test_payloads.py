"""The JSON bodies of Asterisk's PUBLISH, both ways, and anything else."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from eventfed import EID, MAX_COUNT, DeviceState, Event, EventType, Mailbox, kind_of
from eventfed_agent.pjsip.payloads import (
    DEVICE_STATE_PACKAGE,
    MWI_PACKAGE,
    MalformedPayload,
    RefreshPayload,
    StatePayload,
    build_payload,
    build_refresh,
    parse_payload,
)

A = EID.parse("02:00:00:00:00:0a")


def package_for(kind: EventType) -> str:
    return kind_of(kind).package or ""


DEVICE = {
    "type": "devicestate",
    "device": "PJSIP/1001",
    "state": "UNAVAILABLE",
    "cachable": 1,
    "eid": "02:00:00:00:00:0a",
}
MAILBOX = {"type": "mailboxstate", "uniqueid": "1001@default", "old": 0, "new": 1, "eid": "02:00:00:00:00:0a"}

texts = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=60)
eids = st.binary(min_size=6, max_size=6).map(EID)
uints = st.integers(0, 2**32 - 1)


def parse(document: object, package: str = DEVICE_STATE_PACKAGE) -> Any:
    return parse_payload(package, json.dumps(document).encode(), time=17.0)


def test_asterisks_own_three_bodies_are_read() -> None:
    device = (
        b'{"type":"devicestate","device":"PJSIP/1001","state":"UNAVAILABLE","cachable":1,"eid":"02:00:00:00:00:0a"}'
    )
    assert parse_payload(DEVICE_STATE_PACKAGE, device, time=17.0) == StatePayload(
        Event.device("PJSIP/1001", DeviceState.UNAVAILABLE, A, time=17.0)
    )
    mailbox = b'{"type":"mailboxstate","uniqueid":"1001@default","old":0,"new":1,"eid":"02:00:00:00:00:0a"}'
    assert parse_payload(MWI_PACKAGE, mailbox, time=17.0) == StatePayload(
        Event.mailbox("1001@default", 1, 0, A, time=17.0)
    )
    refresh = b'{"type":"refresh","eid":"02:00:00:00:00:0a"}'
    for package in (DEVICE_STATE_PACKAGE, MWI_PACKAGE):
        assert parse_payload(package, refresh, time=17.0) == RefreshPayload(A)


def test_the_order_of_counts_is_not_mixed_up() -> None:
    assert parse(MAILBOX | {"new": 5, "old": 7}, MWI_PACKAGE).event.counts == Mailbox(5, 7)


@pytest.mark.parametrize("said", [MAX_COUNT, MAX_COUNT + 1, 2**32 - 1])
def test_a_count_ends_at_what_asterisk_holds(said: int) -> None:
    event = parse(MAILBOX | {"new": said, "old": said}, MWI_PACKAGE).event
    assert event.counts == Mailbox(MAX_COUNT, MAX_COUNT)
    assert json.loads(build_payload(event)) == MAILBOX | {"new": 2147483647, "old": 2147483647}


def test_what_is_built_is_what_asterisk_reads() -> None:
    assert json.loads(build_payload(Event.device("PJSIP/1001", DeviceState.UNAVAILABLE, A))) == DEVICE
    assert json.loads(build_payload(Event.mailbox("1001@default", 1, 0, A))) == MAILBOX
    assert json.loads(build_refresh(A)) == {"type": "refresh", "eid": "02:00:00:00:00:0a"}


def test_cachable_is_an_integer_on_the_wire() -> None:
    kept = json.loads(build_payload(Event.device("PJSIP/1001", DeviceState.INUSE, A)))["cachable"]
    passing = json.loads(build_payload(Event.device("PJSIP/1001", DeviceState.INUSE, A, cachable=False)))["cachable"]
    assert (type(kept), kept, type(passing), passing) == (int, 1, int, 0)


@given(texts, st.sampled_from(DeviceState), eids, st.booleans())
@settings(max_examples=200)
def test_a_device_state_reads_back(name: str, state: DeviceState, eid: EID, cachable: bool) -> None:
    event = Event.device(name, state, eid, cachable=cachable)
    assert parse_payload(package_for(event.type), build_payload(event), time=0.0) == StatePayload(event)


@given(texts.filter(lambda name: not name.startswith("@")), uints, uints, eids)
@settings(max_examples=200)
def test_a_mailbox_reads_back(name: str, new: int, old: int, eid: EID) -> None:
    event = Event.mailbox(name, new, old, eid)
    read = parse_payload(package_for(event.type), build_payload(event), time=0.0)
    assert isinstance(read, StatePayload)
    assert read.event.state_key == event.state_key
    assert read.event.counts == event.counts


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "a JSON list, not an object"),
        (None, "a JSON NoneType, not an object"),
        ({}, "is no EID"),
        (DEVICE | {"eid": "zzz"}, "'zzz' is no EID"),
        (DEVICE | {"eid": 7}, "is no EID"),
        (DEVICE | {"type": "other"}, "type 'other' does not belong to asterisk-devicestate"),
        (DEVICE | {"type": ["devicestate"]}, "does not belong to asterisk-devicestate"),
        (MAILBOX, "type 'mailboxstate' does not belong to asterisk-devicestate"),
        (DEVICE | {"device": ""}, "'device' must be text that is not empty"),
        (DEVICE | {"device": None}, "'device' must be text that is not empty"),
        (DEVICE | {"device": "PJSIP/\0"}, "NUL"),
        (DEVICE | {"device": "\udc80"}, "UTF-8"),
        (DEVICE | {"device": "x" * 257}, "longer than 256 bytes"),
        (DEVICE | {"state": "FOO"}, "'FOO' is no device state"),
        (DEVICE | {"state": 2}, "is no device state"),
        (DEVICE | {"cachable": True}, "'cachable' must be the integer 0 or 1, not True"),
        (DEVICE | {"cachable": False}, "'cachable' must be the integer 0 or 1, not False"),
        (DEVICE | {"cachable": 2}, "'cachable' must be the integer 0 or 1"),
        (DEVICE | {"cachable": "1"}, "'cachable' must be the integer 0 or 1"),
        ({k: v for k, v in DEVICE.items() if k != "cachable"}, "'cachable' must be the integer 0 or 1"),
    ],
)
def test_a_wrong_device_state_is_refused_with_the_reason(document: object, message: str) -> None:
    with pytest.raises(MalformedPayload, match=message):
        parse(document)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (DEVICE, "type 'devicestate' does not belong to asterisk-mwi"),
        (MAILBOX | {"uniqueid": ""}, "'uniqueid' must be text"),
        (MAILBOX | {"uniqueid": "@default"}, "name that is not empty"),
        (MAILBOX | {"new": -1}, "'new' must be a count, not -1"),
        (MAILBOX | {"new": 1.5}, "'new' must be a count"),
        (MAILBOX | {"new": True}, "'new' must be a count"),
        (MAILBOX | {"old": "1"}, "'old' must be a count"),
        (MAILBOX | {"old": 2**32}, "'old' must be a count"),
        ({k: v for k, v in MAILBOX.items() if k != "old"}, "'old' must be a count"),
    ],
)
def test_a_wrong_mailbox_is_refused_with_the_reason(document: object, message: str) -> None:
    with pytest.raises(MalformedPayload, match=message):
        parse(document, MWI_PACKAGE)


@pytest.mark.parametrize("body", [json.dumps(DEVICE).encode(), json.dumps(MAILBOX).encode()], ids=["device", "mwi"])
def test_a_body_that_is_cut_anywhere_is_malformed(body: bytes) -> None:
    for size in range(len(body)):
        with pytest.raises(MalformedPayload, match="no JSON"):
            parse_payload(DEVICE_STATE_PACKAGE, body[:size], time=0.0)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 60_000,
        b'{"a":' * 60_000,
        b"9" * 60_000,
        b"NaN",
        b"\xff\xfe",
        b'\xef\xbb\xbf{"type":"refresh","eid":"02:00:00:00:00:0a"}',
        b'{"type":"refresh","eid":"02:00:00:00:00:0a"} {}',
    ],
)
def test_json_that_hurts_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedPayload) as caught:
        parse_payload(DEVICE_STATE_PACKAGE, body, time=0.0)
    assert len(str(caught.value)) < 300


_anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_documents = st.builds(
    lambda base, wrong, without: {k: v for k, v in (base | wrong).items() if k not in without},
    st.sampled_from([DEVICE, MAILBOX, {"type": "refresh", "eid": str(A)}]),
    st.dictionaries(st.sampled_from([*DEVICE, *MAILBOX]), _anything, max_size=3),
    st.sets(st.sampled_from([*DEVICE, *MAILBOX]), max_size=2),
)


@pytest.mark.parser
@given(
    st.sampled_from([DEVICE_STATE_PACKAGE, MWI_PACKAGE, "other"]),
    st.binary(max_size=120) | _anything.map(json.dumps).map(str.encode) | _documents.map(json.dumps).map(str.encode),
)
@example(DEVICE_STATE_PACKAGE, b'{"type":"devicestate","device":"\\ud800","state":"INUSE","cachable":1,"eid":"x"}')
def test_any_body_is_a_payload_or_malformed(package: str, body: bytes) -> None:
    try:
        payload = parse_payload(package, body, time=0.0)
    except MalformedPayload as error:
        message = str(error)
        assert len(message) < 400
        return
    if isinstance(payload, StatePayload):
        assert payload.event.type in (EventType.MWI, EventType.DEVICE_STATE_CHANGE)
        again = parse_payload(package_for(payload.event.type), build_payload(payload.event), time=0.0)
        assert again == payload
    else:
        assert parse_payload(package, build_refresh(payload.eid), time=0.0) == payload
