"""Which names cross."""

from typing import Any

import pytest

from eventfed import EventType
from eventfed.spec import EventSpec, Injection, VoicemailStorage
from eventfed_agent.members.names import PROBE_PREFIX, Filters

MWI = EventType.MWI
DEVICE = EventType.DEVICE_STATE_CHANGE


def filters(*documents: dict[str, Any]) -> Filters:
    return Filters(EventSpec.model_validate(document) for document in documents)


EVERYTHING = filters({"type": "mwi", "voicemailStorage": "Separate"}, {"type": "device_state"})


@pytest.mark.parametrize(
    "device",
    ["PJSIP/1001", "SIP/1001", "IAX2/1001", "DAHDI/1", "Custom:lamp", "Confbridge:room", "Agent:7", "PJSIP/a b"],
)
def test_devices_of_channel_drivers_and_of_owners_cross(device: str) -> None:
    assert EVERYTHING.publishes(DEVICE, device)
    assert EVERYTHING.subscribes(DEVICE, device)


@pytest.mark.parametrize(
    "device",
    [
        "Queue:sales_avail",
        "Park:701@parked",
        "ccss:1",
        "SLA:a",
        "Calendar:x",
        "MWI:1001@default",
        "Local/1@x",
        "Stasis:x",
        "XPJSIP/1001",
        "PJSIPX/1",
        "pjsip/1001",
        "",
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
