"""Names from outside: what is accepted by one way in is one line wherever it is written."""

import json
from typing import Any

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from eventfed import (
    EID,
    DeviceState,
    Event,
    EventType,
    MalformedEnvelope,
    MalformedEvent,
    decode_envelope,
    encode_envelope,
)
from eventfed_agent.pjsip.payloads import (
    DEVICE_STATE_PACKAGE,
    MWI_PACKAGE,
    MalformedPayload,
    StatePayload,
    build_payload,
    parse_payload,
)

A = EID.parse("02:00:00:00:00:0a")
CONTROLS = [*map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0)), "\u2028", "\u2029"]
AMI_EVENT = "Custom:x\r\nEvent: Injected\r\nPrivilege: call,all\r\nBy: a"
documents = {
    DEVICE_STATE_PACKAGE: {"type": "devicestate", "state": "BUSY", "cachable": 1, "eid": str(A)},
    MWI_PACKAGE: {"type": "mailboxstate", "old": 0, "new": 1, "eid": str(A)},
}
fields = {DEVICE_STATE_PACKAGE: "device", MWI_PACKAGE: "uniqueid"}
# Anything, and often one of the characters that break a line.
names = st.lists(st.text(max_size=6) | st.sampled_from(CONTROLS), max_size=6).map("".join)


def publish(package: str, name: str) -> bytes:
    return json.dumps(documents[package] | {fields[package]: name}).encode()


def envelope(kind: EventType, elements: list[tuple[int, Any]]) -> bytes:
    body = {"v": 1, "t": int(kind), "e": A.octets, "i": elements, "c": True, "w": 1.0, "o": (1, 1)}
    packed: bytes = msgpack.packb(body)
    return packed


@pytest.mark.parametrize("control", CONTROLS, ids=ascii)
def test_a_name_with_a_control_character_comes_in_on_no_way(control: str) -> None:
    name = f"Custom:x{control}y"
    with pytest.raises(MalformedEvent, match=r"control character|NUL"):
        Event.device(name, DeviceState.BUSY, A)
    for box in (f"{name}@default", f"1001@{name}", name):
        with pytest.raises(MalformedEvent, match=r"control character|NUL"):
            Event.mailbox(box, 1, 0, A)
    for package in documents:
        with pytest.raises(MalformedPayload, match=r"control character|NUL"):
            parse_payload(package, publish(package, name), time=1.0)
    for kind, elements in (
        (EventType.DEVICE_STATE_CHANGE, [(0x07, name), (0x08, 3)]),
        (EventType.MWI, [(0x03, "1001"), (0x09, name), (0x01, 1), (0x02, 0)]),
    ):
        with pytest.raises(MalformedEnvelope, match=r"control character|NUL"):
            decode_envelope(envelope(kind, elements))


def test_the_refusal_is_one_line_itself() -> None:
    with pytest.raises(MalformedPayload) as refused:
        parse_payload(DEVICE_STATE_PACKAGE, publish(DEVICE_STATE_PACKAGE, AMI_EVENT), time=1.0)
    assert str(refused.value).isprintable()


@given(st.sampled_from([*documents]), names)
@example(DEVICE_STATE_PACKAGE, AMI_EVENT)
@example(MWI_PACKAGE, "1001@default\r\nEvent: Injected3")
def test_what_a_server_publishes_is_malformed_or_crosses_as_one_line(package: str, name: str) -> None:
    try:
        payload = parse_payload(package, publish(package, name), time=1.0)
    except MalformedPayload:
        return
    assert isinstance(payload, StatePayload)
    event = decode_envelope(encode_envelope(payload.event))
    assert event == payload.event
    injected = json.loads(build_payload(event))[fields[package]]
    assert injected == event.key
    assert len(injected.splitlines()) == 1
    assert not set(injected) & set(CONTROLS)
