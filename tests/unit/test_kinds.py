"""The table of kinds: what each says of its values, and what becomes of an unknown one."""

import pytest

from eventfed import EID, KINDS, DeviceState, Event, EventType, Merge, PresenceState, UnknownKind, kind_named, kind_of
from eventfed_agent.pjsip.payloads import CODECS

A, B = EID.derive("a"), EID.derive("b")


def test_each_kind_stands_under_its_own_type_and_has_a_name_of_its_own() -> None:
    assert all(kind.type is type_ for type_, kind in KINDS.items())
    assert len({kind.name for kind in KINDS.values()}) == len(KINDS)


def test_what_crosses_has_a_codec_and_what_has_a_codec_crosses() -> None:
    assert {kind.package for kind in KINDS.values() if kind.crosses} == CODECS.keys()


@pytest.mark.parametrize("name", ["", "device", "MWI", "presence_state", "cel"])
def test_an_unknown_kind_is_refused_by_name_and_never_taken_for_a_device(name: str) -> None:
    with pytest.raises(UnknownKind, match=f"'{name}' is no type of event: use device_state or mwi"):
        kind_named(name)


def test_a_type_without_a_name_is_refused_by_name() -> None:
    with pytest.raises(UnknownKind, match="cel events have no name and no last value"):
        kind_of(EventType.CEL)


def test_a_device_is_shown_by_its_state_and_added_up_by_rank() -> None:
    kind = kind_named("device_state")
    events = [Event.device("PJSIP/1", DeviceState.NOT_INUSE, A), Event.device("PJSIP/1", DeviceState.RINGING, B)]
    assert (kind.merge, kind.text(events[0]), kind.show(events[0])) == (
        Merge.PER_SERVER,
        "NOT_INUSE",
        {"state": "NOT_INUSE"},
    )
    assert kind.combine(events) == ({"state": "RINGING"}, "rank")


def test_the_neutral_value_of_a_channels_device_is_invalid_and_of_a_providers_unknown() -> None:
    neutral = kind_named("device_state").neutral
    assert neutral is not None
    for name, state in (("PJSIP/1", DeviceState.INVALID), ("Custom:x", DeviceState.UNKNOWN)):
        assert Event(EventType.DEVICE_STATE_CHANGE, A, neutral(name)).device_state is state


def test_a_mailbox_is_counted_and_added_up() -> None:
    kind = kind_named("mwi")
    events = [Event.mailbox("1@default", 2, 1, A), Event.mailbox("1@default", 1, 0, B)]
    assert (kind.merge, kind.text(events[0])) == (Merge.COUNTED, "2 new, 1 old")
    assert kind.combine(events) == ({"new": 3, "old": 1}, "sum")
    assert kind.neutral is None


def test_a_presence_is_the_newest() -> None:
    kind = kind_of(EventType.PRESENCE_STATE)
    event = Event.presence("CustomPresence:1", PresenceState.AWAY, A)
    assert kind.combine([event]) == ({"state": "AWAY"}, "time")
    assert not kind.crosses
