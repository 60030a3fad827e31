"""Which names cross."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventfed import EventType
from eventfed.asterisk_config import RESOURCE
from eventfed.model.device_kinds import DEFAULT_DEVICES, DEVICE_KINDS, OWN_ENDPOINT, PROBE_PREFIX, Crossing, DeviceKind
from eventfed.model.patterns import compile_pattern
from eventfed.spec import EventSpec, Injection, VoicemailStorage, device_filter
from eventfed_agent.members.names import Filters

MWI = EventType.MWI
DEVICE = EventType.DEVICE_STATE_CHANGE


def filters(*documents: dict[str, Any]) -> Filters:
    return Filters(EventSpec.model_validate(document) for document in documents)


EVERYTHING = filters({"type": "mwi", "voicemailStorage": "Separate"}, {"type": "device_state"})


@pytest.mark.parametrize(
    "device",
    [
        *(kind.example for kind in DEVICE_KINDS if kind.crossing is Crossing.DEFAULT),
        *("pjsip/1001", "ConfBridge:4000", "PJSIP/a b", "MEETME:4000"),
    ],
)
def test_devices_of_channel_drivers_and_of_owners_cross(device: str) -> None:
    assert EVERYTHING.publishes(DEVICE, device)
    assert EVERYTHING.subscribes(DEVICE, device)


@pytest.mark.parametrize(
    "device",
    [
        *(kind.example for kind in DEVICE_KINDS if kind.crossing is not Crossing.DEFAULT),
        *("Park:701@parked", "XPJSIP/1001", "PJSIPX/1", ""),
    ],
)
def test_devices_that_each_server_computes_stay_at_home(device: str) -> None:
    assert not EVERYTHING.publishes(DEVICE, device)
    assert not EVERYTHING.subscribes(DEVICE, device)


def test_an_include_replaces_the_default_and_an_exclude_wins() -> None:
    chosen = filters({"type": "device_state", "include": ["^Queue:", "^PJSIP/1"], "exclude": ["^PJSIP/19", "secret"]})
    assert chosen.publishes(DEVICE, "Queue:sales_avail")
    assert chosen.publishes(DEVICE, "PJSIP/1001")
    assert not chosen.publishes(DEVICE, "PJSIP/1900")
    assert not chosen.publishes(DEVICE, "Queue:secret")
    assert not chosen.publishes(DEVICE, "Custom:lamp")


def test_directions_are_chosen_apart() -> None:
    listener = filters({"type": "device_state", "publish": False})
    assert not listener.publishes(DEVICE, "PJSIP/1001")
    assert listener.subscribes(DEVICE, "PJSIP/1001")
    speaker = filters({"type": "device_state", "subscribe": False})
    assert speaker.publishes(DEVICE, "PJSIP/1001")
    assert not speaker.subscribes(DEVICE, "PJSIP/1001")


def test_a_type_that_is_not_listed_does_not_cross() -> None:
    lamps = filters({"type": "mwi", "voicemailStorage": "Shared"})
    assert lamps.publishes(MWI, "1001@default")
    assert not lamps.publishes(DEVICE, "PJSIP/1001")
    assert not lamps.asks_for(DEVICE, "PJSIP/1001")


def test_every_mailbox_crosses_but_the_sums_that_were_injected() -> None:
    for mailbox in ("1001@default", "1001", "1001@eventfeds", "eventfed@default"):
        assert EVERYTHING.publishes(MWI, mailbox)
    for mailbox in ("1001@eventfed", "1001@eventfed-sales"):
        assert not EVERYTHING.publishes(MWI, mailbox)
        assert not EVERYTHING.subscribes(MWI, mailbox)


def test_a_probe_never_crosses() -> None:
    assert not filters({"type": "device_state", "include": ["."]}).publishes(DEVICE, f"{PROBE_PREFIX}00")


def test_only_an_include_of_the_users_asks_for_events_without_a_value() -> None:
    assert not EVERYTHING.asks_for(DEVICE, "PJSIP/1001")
    assert filters({"type": "device_state", "include": ["^Local/"]}).asks_for(DEVICE, "Local/1@x")
    assert not filters({"type": "device_state", "include": ["^Local/"]}).asks_for(DEVICE, "PJSIP/1001")


def test_storage_and_injection_are_mwis() -> None:
    beside = filters({"type": "mwi", "voicemailStorage": "Separate", "injection": "Beside"})
    assert (beside.storage, beside.injection) == (VoicemailStorage.SEPARATE, Injection.BESIDE)
    assert filters({"type": "mwi", "voicemailStorage": "Shared"}).storage is VoicemailStorage.SHARED
    without = filters({"type": "device_state"})
    assert (without.storage, without.injection) == (VoicemailStorage.SEPARATE, Injection.IN_PLACE)


# --- kinds of names ---


@pytest.mark.parametrize("kind", DEVICE_KINDS, ids=lambda kind: kind.example)
def test_each_kind_crosses_as_its_table_says(kind: DeviceKind) -> None:
    own_prefix = filters({"type": "device_state", "include": [f"^{kind.prefix.upper()}"]})
    default, included = EVERYTHING.publishes(DEVICE, kind.example), own_prefix.publishes(DEVICE, kind.example)
    expected = {Crossing.DEFAULT: (True, True), Crossing.INCLUDE: (False, True), Crossing.NEVER: (False, False)}
    assert (default, included) == expected[kind.crossing]
    assert filters({"type": "device_state", "include": ["."]}).publishes(DEVICE, kind.example) is included


def test_the_table_of_the_document_is_that_of_the_code() -> None:
    text = (Path(__file__).parents[2] / "docs" / "asterisk.md").read_text(encoding="utf-8")
    table = re.search(r"<!-- devices:begin -->\n(.*?)<!-- devices:end -->", text, re.DOTALL)
    assert table is not None
    rows = "".join(
        f"| `{kind.example}` | {kind.source} | {kind.crossing.value} | {kind.reason} |\n" for kind in DEVICE_KINDS
    )
    assert table[1] == f"| name | announced by | crosses | why |\n| --- | --- | --- | --- |\n{rows}"
    assert f"    {DEFAULT_DEVICES}\n" in text


def test_no_kind_stands_in_the_table_twice() -> None:
    prefixes = [kind.prefix.lower() for kind in DEVICE_KINDS if kind.crossing is not Crossing.NEVER]
    assert sorted(prefixes) == sorted(set(prefixes))
    assert f"PJSIP/{RESOURCE}" == OWN_ENDPOINT


@given(
    st.text(min_size=1, max_size=12),
    st.lists(st.sampled_from(["^SCCP/", "Queue", "^Local/", ".", "[0-9]$"]), max_size=4),
)
def test_a_server_publishes_whatever_its_agent_lets_through(name: str, include: list[str]) -> None:
    """Both are made from one ``include``: a snippet that held back what crosses would be noticed by nobody."""
    spec = EventSpec.model_validate({"type": "device_state", "include": include})
    for device in (name, *(kind.example for kind in DEVICE_KINDS), f"{PROBE_PREFIX}00"):
        if Filters([spec]).publishes(DEVICE, device) or device.startswith(PROBE_PREFIX):
            assert compile_pattern(device_filter([spec])).search(device)


def test_case_makes_no_difference_to_include_nor_exclude() -> None:
    chosen = filters({"type": "device_state", "include": ["^confbridge:"], "exclude": [":SECRET$"]})
    assert chosen.publishes(DEVICE, "ConfBridge:4000")
    assert not chosen.publishes(DEVICE, "confbridge:secret")
    boxes = filters({"type": "mwi", "voicemailStorage": "Separate", "include": ["@SALES$"]})
    assert boxes.publishes(MWI, "1001@sales")


def test_however_many_names_are_asked_about_only_the_last_ones_are_remembered() -> None:
    filters = Filters([EventSpec(type="device_state", include=("^SIP/",))])
    for number in range(10_000):
        assert filters.subscribes(EventType.DEVICE_STATE_CHANGE, f"SIP/{number}")
        assert not filters.subscribes(EventType.DEVICE_STATE_CHANGE, f"IAX2/{number}")
    passes: Any = filters._filters[EventType.DEVICE_STATE_CHANGE].passes
    assert passes.cache_info().currsize == passes.cache_info().maxsize <= 4096
