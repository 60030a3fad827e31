"""What a user may say of a federation, and what each mistake is answered with."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from eventfed import EventType
from eventfed.spec import (
    DepartureSpec,
    EventSpec,
    Injection,
    MailboxDepartureSpec,
    VoicemailStorage,
    check_events,
)


def test_the_least_that_can_be_said() -> None:
    mwi = EventSpec.model_validate({"type": "mwi", "voicemailStorage": "Separate"})
    assert (mwi.publish, mwi.subscribe, mwi.include, mwi.exclude) == (True, True, (), ())
    assert mwi.injection is Injection.IN_PLACE
    assert mwi.voicemail_storage is VoicemailStorage.SEPARATE
    assert EventSpec.model_validate({"type": "device_state"}).voicemail_storage is None


def test_both_writings_of_a_name_are_read() -> None:
    camel = EventSpec.model_validate({"type": "mwi", "voicemailStorage": "Shared"})
    snake = EventSpec.model_validate({"type": "mwi", "voicemail_storage": "Shared"})
    assert camel == snake
    assert DepartureSpec.model_validate({"tombstoneTTL": 90}) == DepartureSpec.model_validate({"tombstone_ttl": 90})


def test_each_type_names_asterisks_own() -> None:
    assert EventSpec(type="mwi", voicemail_storage=VoicemailStorage.SEPARATE).kind.type is EventType.MWI
    assert EventSpec(type="device_state").kind.type is EventType.DEVICE_STATE_CHANGE


WRONG_EVENTS: list[tuple[dict[str, Any], str]] = [
    ({}, "Field required"),
    ({"type": "presence"}, "'presence' is no type of event: use device_state or mwi"),
    ({"type": "mwi"}, "mwi needs voicemailStorage: Separate .* or Shared"),
    ({"type": "mwi", "voicemailStorage": "Both"}, "Input should be 'Separate' or 'Shared'"),
    ({"type": "mwi", "voicemailStorage": "Shared", "injection": "Beside"}, "Beside needs voicemailStorage: Separate"),
    ({"type": "mwi", "voicemailStorage": "Separate", "injection": "Else"}, "Input should be 'InPlace' or 'Beside'"),
    ({"type": "device_state", "voicemailStorage": "Shared"}, "belong to mwi alone: remove them here"),
    ({"type": "device_state", "injection": "InPlace"}, "belong to mwi alone: remove them here"),
    ({"type": "device_state", "include": ["PJSIP/("]}, "is no regular expression, .*is not closed"),
    ({"type": "device_state", "exclude": ["*"]}, "is no regular expression, .*repeats nothing"),
    ({"type": "device_state", "include": [""]}, "at least 1 character"),
    ({"type": "device_state", "include": ["x" * 257]}, "at most 256 characters"),
    ({"type": "device_state", "include": ["x"] * 33}, "at most 32 items"),
    ({"type": "device_state", "publish": "perhaps"}, "valid boolean"),
    ({"type": "device_state", "filter": "x"}, "Extra inputs are not permitted"),
]


@pytest.mark.parametrize(("document", "message"), WRONG_EVENTS)
def test_a_wrong_event_says_what_to_change(document: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        EventSpec.model_validate(document)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"gracePeriod": 0}, "greater than or equal to 1"),
        ({"gracePeriod": "soon"}, "valid number"),
        ({"gracePeriod": 100_000}, "less than or equal to 86400"),
        ({"tombstoneTTL": 5}, "greater than or equal to 60"),
        ({"mailboxes": "Forget"}, "Input should be 'Keep' or 'Remove'"),
        ({"mailboxGracePeriod": 0}, "greater than or equal to 1"),
        ({"grace": 30}, "Extra inputs are not permitted"),
    ],
)
def test_a_wrong_departure_says_what_to_change(document: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DepartureSpec.model_validate(document)


def test_mailboxes_of_the_departed_are_kept_unless_said_otherwise() -> None:
    assert DepartureSpec().mailboxes is MailboxDepartureSpec.KEEP


def test_a_type_stands_in_the_list_once() -> None:
    events = TypeAdapter(tuple[EventSpec, ...]).validate_python([{"type": "device_state"}, {"type": "device_state"}])
    assert check_events(events[:1]) == events[:1]
    with pytest.raises(ValueError, match="device_state is listed twice: merge the two entries"):
        check_events(events)


def test_a_specification_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        DepartureSpec().grace_period = 1.0
