"""The kinds of events that have a name, in one table: all that differs between them stands here.

A kind is added by an entry here and by a codec in each adapter that carries it (`eventfed_agent.pjsip.payloads`).
"""

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from .counts import Mailbox
from .device_kinds import DEFAULT_DEVICES
from .devices import DeviceState, PresenceState, aggregate_device_state, neutral_device_state
from .elements import Element, EventType, Value
from .elements import InformationElement as IE
from .errors import MalformedEvent, UnknownKind

__all__ = ["KINDS", "Elements", "Kind", "Merge", "kind_named", "kind_of"]


class Merge(enum.Enum):
    """What the values of several servers under one name are to each other."""

    PER_SERVER = "per server"
    """Each server has a value of its own, under its EID. Asterisk adds them up."""
    COUNTED = "counted"
    """Each server has one slot per name, no matter who wrote it last. The agent adds the servers' counts up."""
    REGISTER = "register"
    """The value belongs to the name and not to a server. The latest news counts."""
    PASSING = "passing"
    """There is no last value: an event is told once."""


class Elements(Protocol):
    """The part of an event that a kind reads."""

    @property
    def time(self) -> float: ...

    def get(self, wanted: IE | int) -> Value | None: ...


@dataclass(frozen=True, slots=True)
class Kind:
    """All that is special about one type of event.

    Args:
        name: how configuration files and commands call it.
        type: its event type.
        merge: what the values of several servers are to each other.
        find_name: the name of the device, mailbox or provider in an event; raises `MalformedEvent` where there is none.
        show: the value as named fields, for programs.
        text: the same for people.
        combine: what phones are shown of the values of several servers, and the rule by which.
        neutral: the elements that take the place of a value whose owner has gone; None: an adapter injects none.
        package: its SIP event package in ``res_pjsip_publish_asterisk``; None: no Asterisk module publishes it.
        default_export: the names that cross without being asked for, as a regular expression; None: all.
        counts: the elements that are message counts, with their names.
        may_be_kept: whether a setting may keep the value of a server that has gone (``departure.mailboxes``).
        what: what it is, for people who choose.
    """

    name: str
    type: EventType
    merge: Merge
    find_name: Callable[[Elements], str]
    show: Callable[[Elements], Mapping[str, int | str]]
    text: Callable[[Elements], str]
    combine: Callable[[Sequence[Elements]], tuple[Mapping[str, int | str], str]]
    neutral: Callable[[str], tuple[Element, ...]] | None = None
    package: str | None = None
    default_export: str | None = None
    counts: Mapping[int, str] = field(default_factory=dict)
    may_be_kept: bool = False
    what: str = ""

    @property
    def has_state(self) -> bool:
        """Whether a last value is kept per name and EID."""
        return self.merge is not Merge.PASSING

    @property
    def is_counted(self) -> bool:
        return self.merge is Merge.COUNTED

    @property
    def crosses(self) -> bool:
        """Whether it can be federated: an adapter carries it."""
        return self.package is not None


def _need(event: Elements, kind: str, wanted: IE) -> Value:
    value = event.get(wanted)
    if value is None:
        raise MalformedEvent(f"a {kind} event needs the element {wanted.name}")
    return value


def _text_of(event: Elements, kind: str, wanted: IE) -> str:
    value = _need(event, kind, wanted)
    assert isinstance(value, str)  # check_element has seen to it
    if not value:
        raise MalformedEvent(f"a {kind} event needs a name that is not empty")
    return value


_DEVICE_STATES = frozenset(int(state) for state in DeviceState)
_PRESENCE_STATES = frozenset(int(state) for state in PresenceState)


def _device_name(event: Elements) -> str:
    state = _need(event, "device_state", IE.STATE)
    if state not in _DEVICE_STATES:
        raise MalformedEvent(f"{state!r} is no device state (0 to 8)")
    return _text_of(event, "device_state", IE.DEVICE)


def _device_state(event: Elements) -> DeviceState:
    return DeviceState(event.get(IE.STATE))  # type: ignore[arg-type]  # _device_name has seen to it


def _combine_devices(events: Sequence[Elements]) -> tuple[Mapping[str, int | str], str]:
    return {"state": aggregate_device_state(map(_device_state, events)).name}, "rank"


def _neutral_device(name: str) -> tuple[Element, ...]:
    return ((IE.DEVICE, name), (IE.STATE, int(neutral_device_state(name))))


def _mailbox_name(event: Elements) -> str:
    _need(event, "mwi", IE.NEWMSGS), _need(event, "mwi", IE.OLDMSGS)
    name, context = _text_of(event, "mwi", IE.MAILBOX), event.get(IE.CONTEXT)
    # Asterisk cuts a name at its first @ (res_pjsip_publish_asterisk.c): "@default" has no mailbox.
    if "@" in name:
        raise MalformedEvent(f"{name!r:.40} is no mailbox: what follows the @ belongs into CONTEXT")
    return f"{name}@{context}" if isinstance(context, str) and context else name


def _counts(event: Elements) -> Mailbox:
    new, old = event.get(IE.NEWMSGS), event.get(IE.OLDMSGS)
    assert isinstance(new, int)
    assert isinstance(old, int)
    return Mailbox(new, old)


def _counts_text(event: Elements) -> str:
    counts = _counts(event)
    return f"{counts.new} new, {counts.old} old"


def _combine_mailboxes(events: Sequence[Elements]) -> tuple[Mapping[str, int | str], str]:
    return sum(map(_counts, events), start=Mailbox(0, 0))._asdict(), "sum"


def _presence_name(event: Elements) -> str:
    state = _need(event, "presence_state", IE.PRESENCE_STATE)
    if state not in _PRESENCE_STATES:
        raise MalformedEvent(f"{state!r} is no presence state (0 to 7)")
    return _text_of(event, "presence_state", IE.PRESENCE_PROVIDER)


def _presence_text(event: Elements) -> str:
    value = event.get(IE.PRESENCE_STATE)
    return PresenceState(value).name if isinstance(value, int) else ""


def _combine_presence(events: Sequence[Elements]) -> tuple[Mapping[str, int | str], str]:
    return {"state": _presence_text(max(events, key=lambda event: event.time))}, "time"


KINDS: dict[EventType, Kind] = {
    kind.type: kind
    for kind in (
        Kind(
            "device_state",
            EventType.DEVICE_STATE_CHANGE,
            Merge.PER_SERVER,
            find_name=_device_name,
            show=lambda event: {"state": _device_state(event).name},
            text=lambda event: _device_state(event).name,
            combine=_combine_devices,
            neutral=_neutral_device,
            package="asterisk-devicestate",
            default_export=DEFAULT_DEVICES,
            what="busy lamps",
        ),
        Kind(
            "mwi",
            EventType.MWI,
            Merge.COUNTED,
            find_name=_mailbox_name,
            show=lambda event: _counts(event)._asdict(),
            text=_counts_text,
            combine=_combine_mailboxes,
            package="asterisk-mwi",
            counts={int(IE.NEWMSGS): "NEWMSGS", int(IE.OLDMSGS): "OLDMSGS"},
            may_be_kept=True,
            what="voicemail lamps",
        ),
        Kind(
            "presence_state",
            EventType.PRESENCE_STATE,
            Merge.PER_SERVER,
            find_name=_presence_name,
            show=lambda event: {"state": _presence_text(event)},
            text=_presence_text,
            combine=_combine_presence,
            what="presence",
        ),
        # The state of a device over all servers, which Asterisk computes itself (include/asterisk/event_defs.h).
        Kind(
            "device_state_aggregate",
            EventType.DEVICE_STATE,
            Merge.PASSING,
            find_name=_device_name,
            show=lambda event: {"state": _device_state(event).name},
            text=lambda event: _device_state(event).name,
            combine=_combine_devices,
        ),
    )
}
"""Every kind whose events have a name. An event of another type is passed on as it is."""


def kind_of(type: EventType) -> Kind:
    """The kind of an event type.

    Raises:
        UnknownKind: for a type whose events have no name.
    """
    try:
        return KINDS[type]
    except KeyError:
        raise UnknownKind(f"{type.token} events have no name and no last value") from None


def kind_named(name: str) -> Kind:
    """The kind that configuration files call so, if it can be federated.

    Raises:
        UnknownKind: naming the kinds that can be.
    """
    crossing = [kind for kind in KINDS.values() if kind.crosses]
    for kind in crossing:
        if kind.name == name:
            return kind
    raise UnknownKind(f"{name!r:.60} is no type of event: use {' or '.join(sorted(kind.name for kind in crossing))}")
