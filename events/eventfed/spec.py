"""What a user says of a federation: the one source of the schema for operator, agent and custom resource.

Field names are written in the style of the file they stand in: ``camelCase`` in an EventFederation, ``snake_case``
in an agent's TOML file. Needs pydantic, so `eventfed` itself does not import it.
"""

import enum
import re
from collections.abc import Iterable
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic.alias_generators import to_camel

from .model.device_kinds import ANY_DEVICE, DEFAULT_DEVICES
from .model.kinds import KINDS, Kind, kind_named
from .model.patterns import MAX_PATTERN, compile_pattern

__all__ = [
    "DepartureSpec",
    "EventSpec",
    "Injection",
    "KindName",
    "MailboxDepartureSpec",
    "Pattern",
    "Spec",
    "VoicemailStorage",
    "check_events",
    "device_filter",
    "refused_unless",
    "worded",
]


def _compiles(text: str) -> str:
    compile_pattern(text)
    return text


Pattern = Annotated[str, Field(min_length=1, max_length=MAX_PATTERN), AfterValidator(_compiles)]
"""A regular expression that is searched for in a name, without case (`eventfed.model.patterns`)."""


def refused_unless(*rules: tuple[str, str]) -> dict[str, Any]:
    """Rules for the API server, as (CEL expression, message) pairs: the same that the validators below check.

    For ``json_schema_extra``; the message is what ``kubectl apply`` answers when the expression is false.
    """
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in rules]}


def worded(pattern: str, message: str, *, or_integer: bool = False) -> tuple[AfterValidator, dict[str, Any]]:
    """A pattern whose refusal says what to write: a validator, and the same as a rule for the API server.

    A ``pattern`` of the schema would be answered with the pattern itself.

    Args:
        pattern: anchored at both ends, without backslashes and quotes: Python and CEL read it alike.
        or_integer: the field may also be an integer.
    """
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        # `$` would let a line's end pass.
        if not compiled.fullmatch(text):
            # Without the text: it may be a URL with a password in it.
            raise ValueError(message)
        return text

    rule = f"self.matches('{pattern}')"
    return AfterValidator(check), refused_unless((f"type(self) == int || {rule}" if or_integer else rule, message))


def _undefaulted(schema: dict[str, Any]) -> None:
    """Where "absent" and "the default" differ, the API server must not fill the field in."""
    schema.pop("default", None)


class Spec(BaseModel):
    """Base of all models: unknown fields are errors, both writings of a name are read."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True, use_enum_values=False
    )


_MWI_NEEDS_STORAGE = "mwi needs voicemailStorage: Separate (each server keeps its own messages) or Shared (one spool)"
_BESIDE_NEEDS_SEPARATE = "injection: Beside needs voicemailStorage: Separate; with Shared use InPlace"
_FOR_MWI_ALONE = "voicemailStorage and injection belong to mwi alone: remove them here"
_TOMBSTONES_TOO_SHORT = "tombstoneTTL must be at least gracePeriod: a longer one reaches anyone who was away meanwhile"


def _known_kind(name: object) -> str:
    if not isinstance(name, str):
        raise ValueError(f"type is {name!r:.60}: write one of {', '.join(_crossing())} in quotes")
    return kind_named(name).name


def _crossing() -> list[str]:
    return [kind.name for kind in KINDS.values() if kind.crosses]


KindName = Annotated[
    str,
    BeforeValidator(_known_kind),
    WithJsonSchema({"type": "string", "enum": sorted(_crossing(), reverse=True)}),
]
"""The name of a kind of event that can be federated (`eventfed.model.kinds.KINDS`)."""


class VoicemailStorage(enum.StrEnum):
    SEPARATE = "Separate"
    SHARED = "Shared"


class Injection(enum.StrEnum):
    IN_PLACE = "InPlace"
    BESIDE = "Beside"


class EventSpec(Spec):
    """One event type that crosses between the servers."""

    model_config = ConfigDict(
        json_schema_extra=refused_unless(
            ("self.type != 'mwi' || has(self.voicemailStorage)", _MWI_NEEDS_STORAGE),
            ("self.type == 'mwi' || (!has(self.voicemailStorage) && !has(self.injection))", _FOR_MWI_ALONE),
            (
                "!has(self.injection) || self.injection != 'Beside' || !has(self.voicemailStorage)"
                " || self.voicemailStorage == 'Separate'",
                _BESIDE_NEEDS_SEPARATE,
            ),
        )
    )

    type: Annotated[KindName, Field(description="Event type: mwi (voicemail lamps) or device_state (busy lamps).")]
    publish: Annotated[bool, Field(description="Whether the members' own states are published.")] = True
    subscribe: Annotated[bool, Field(description="Whether the other members' states are put into the members.")] = True
    include: Annotated[
        tuple[Pattern, ...],
        Field(
            max_length=32,
            description="Regular expressions (POSIX extended, without case) searched for in the device or mailbox "
            "name; a name must match one. Empty: every mailbox, and the devices that docs/asterisk.md lists.",
        ),
    ] = ()
    exclude: Annotated[
        tuple[Pattern, ...],
        Field(max_length=32, description="Regular expressions; a name that matches one does not cross."),
    ] = ()
    voicemail_storage: Annotated[
        VoicemailStorage | None,
        Field(
            description="Required with mwi. Separate: each server keeps its own messages and the lamp shows the sum. "
            "Shared: one spool behind all of them (ODBC, IMAP, NFS) and the lamp shows the latest news."
        ),
    ] = None
    injection: Annotated[
        Injection,
        Field(
            description="With mwi. InPlace: into the mailbox itself, no change to phones. Beside: the others' sum "
            "goes into <box>@eventfed, which phones list as well (mailboxes=1001@default,1001@eventfed). "
            "Absent: InPlace.",
            json_schema_extra=_undefaulted,
        ),
    ] = Injection.IN_PLACE

    @property
    def kind(self) -> Kind:
        return kind_named(self.type)

    @model_validator(mode="after")
    def _fits_its_type(self) -> Self:
        if self.kind.is_counted:
            if self.voicemail_storage is None:
                raise ValueError(_MWI_NEEDS_STORAGE)
            if self.injection is Injection.BESIDE and self.voicemail_storage is VoicemailStorage.SHARED:
                raise ValueError(_BESIDE_NEEDS_SEPARATE)
        elif self.voicemail_storage is not None or "injection" in self.model_fields_set:
            raise ValueError(_FOR_MWI_ALONE)
        return self


class MailboxDepartureSpec(enum.StrEnum):
    KEEP = "Keep"
    REMOVE = "Remove"


class DepartureSpec(Spec):
    """What becomes of the states of a server that has gone. Times are in seconds."""

    model_config = ConfigDict(
        json_schema_extra=refused_unless(("self.tombstoneTTL >= self.gracePeriod", _TOMBSTONES_TOO_SHORT))
    )

    grace_period: Annotated[
        float, Field(ge=1, le=86_400, description="How long a server may be away before its states are withdrawn, s.")
    ] = 30.0
    tombstone_ttl: Annotated[
        float, Field(alias="tombstoneTTL", ge=60, le=30 * 86_400, description="How long a withdrawal is kept, s.")
    ] = 86_400.0
    mailboxes: Annotated[
        MailboxDepartureSpec,
        Field(description="Keep: its messages still exist and count. Remove: the sums drop them."),
    ] = MailboxDepartureSpec.KEEP
    mailbox_grace_period: Annotated[
        float, Field(ge=1, le=30 * 86_400, description="With Remove: how long its mailboxes are kept, s.")
    ] = 3_600.0

    @model_validator(mode="after")
    def _outlasts_the_grace(self) -> Self:
        if self.tombstone_ttl < self.grace_period:
            raise ValueError(_TOMBSTONES_TOO_SHORT)
        return self


def check_events(events: tuple[EventSpec, ...]) -> tuple[EventSpec, ...]:
    """The list, if no type stands in it twice.

    Raises:
        ValueError: naming the type.
    """
    seen = [event.type for event in events]
    for kind in seen:
        if seen.count(kind) > 1:
            raise ValueError(f"{kind} is listed twice: merge the two entries")
    return events


def device_filter(events: Iterable[EventSpec]) -> str:
    """Which devices a server has to publish, as its ``@device_state_filter``.

    With an ``include`` of the user's it publishes all, and the agent chooses: another ``include`` then needs no change
    of any server.
    """
    chosen = any(event.kind.default_export is not None and event.include for event in events)
    return ANY_DEVICE if chosen else DEFAULT_DEVICES
