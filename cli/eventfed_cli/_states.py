"""States and members as rows: what the commands print, as JSON and as text."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from eventfed import (
    EID,
    Change,
    Event,
    EventType,
    Federation,
    Lease,
    MemberChanged,
    Merge,
    Reset,
    StateChanged,
    StateKey,
    StateRemoved,
    kind_of,
)
from eventfed.model.device_kinds import LONGEST_ANNOUNCED, is_probably_cut, is_set_by_hand
from eventfed_agent.members.shared_order import latest_count

__all__ = [
    "StateFilter",
    "aggregate",
    "change_document",
    "change_text",
    "clock_time",
    "contended_devices",
    "member_document",
    "state_document",
    "states_of_name",
    "value_text",
]


@dataclass(frozen=True)
class StateFilter:
    """Which states; None: all."""

    type: EventType | None = None
    eid: EID | None = None
    name: re.Pattern[str] | None = None

    def takes(self, key: StateKey) -> bool:
        return (
            (self.type is None or key.type is self.type)
            and (self.eid is None or key.eid == self.eid)
            and (self.name is None or self.name.search(key.key) is not None)
        )

    def events(self, federation: Federation) -> list[Event]:
        """What the federation holds of them, by type, name and EID."""
        states = federation.view.states.items()
        events = [state.event for key, state in states if not state.tombstone and self.takes(key)]
        return sorted((event for event in events if event), key=lambda event: (event.type, event.key, event.eid))


def states_of_name(federation: Federation, name: str) -> dict[EventType, list[Event]]:
    """Every server's value of one name, by event type; types that do not have it are left out."""
    found: dict[EventType, list[Event]] = {}
    for event in StateFilter().events(federation):
        if event.key == name:
            found.setdefault(event.type, []).append(event)
    return found


def value_text(event: Event) -> str:
    """``INUSE``, ``3 new, 1 old``, or a presence."""
    return kind_of(event.type).text(event)


def _value_document(event: Event) -> dict[str, Any]:
    return dict(kind_of(event.type).show(event))


def state_document(event: Event, leases: Mapping[EID, Lease]) -> dict[str, Any]:
    """One server's value of one state."""
    lease = leases.get(event.eid)
    return {
        "type": kind_of(event.type).name,
        "name": event.key,
        "eid": str(event.eid),
        "member": lease.name if lease else None,
        **_value_document(event),
        "time": event.time or None,
        **({"probably_cut": True} if has_cut_name(event) else {}),
    }


def has_cut_name(event: Event) -> bool:
    """Whether Asterisk has probably cut the name of this device."""
    return event.type is EventType.DEVICE_STATE_CHANGE and is_probably_cut(event.key)


def cut_lines(events: Iterable[Event]) -> list[str]:
    """What to tell of names that are as long as Asterisk lets them be; one line each."""
    names = dict.fromkeys(event.key for event in events if has_cut_name(event))
    return [
        f"probably cut: {name} has {LONGEST_ANNOUNCED} bytes, where Asterisk cuts longer names; hints of other "
        "servers do not match it: shorten it"
        for name in names
    ]


def member_document(lease: Lease) -> dict[str, Any]:
    """One live lease."""
    return {
        "name": lease.name,
        "eid": str(lease.eid),
        "agent": lease.agent,
        "address": lease.address,
        "complete": lease.complete,
        "epoch": lease.epoch,
        "since": lease.since or None,
    }


def aggregate(kind: EventType, events: Iterable[Event]) -> tuple[dict[str, Any], str]:
    """What phones are shown of a name's values on all servers: as a document, and as text.

    Devices by Asterisk's rank. Mailboxes by their sum; where the events carry news (one voicemail spool behind all
    servers) by the latest.
    """
    events = list(events)
    chosen, by = kind_of(kind), ""
    if any(event.order for event in events) and (latest := latest_count({event.eid: event for event in events})):
        fields, text, by = chosen.show(latest), chosen.text(latest), "latest news"
    else:
        fields, by = chosen.combine(events)
        text = ", ".join(str(value) if name == "state" else f"{value} {name}" for name, value in fields.items())
    return {**fields, "by": by}, f"{text} ({_RULES.get(by, by)})"


_RULES = {"rank": "by Asterisk's rank", "time": "the newest"}


def contended_devices(federation: Federation) -> dict[str, list[EID]]:
    """Devices set by hand that several servers announce: a NOT_INUSE of one cannot beat an INUSE of another."""
    owners: dict[str, list[EID]] = {}
    for event in StateFilter().events(federation):
        if kind_of(event.type).merge is Merge.PER_SERVER and is_set_by_hand(event.key):
            owners.setdefault(event.key, []).append(event.eid)
    return {name: eids for name, eids in owners.items() if len(eids) > 1}


def change_document(change: Change, leases: Mapping[EID, Lease]) -> dict[str, Any]:
    """One change as `eventfed state watch --json` writes it."""
    match change:
        case StateChanged(event, previous):
            before = {"previous": _value_document(previous)} if previous else {}
            return {"change": "state", **state_document(event, leases), **before}
        case StateRemoved(key, previous):
            before = {"previous": _value_document(previous)} if previous else {}
            return {
                "change": "removed",
                "type": kind_of(key.type).name,
                "name": key.key,
                "eid": str(key.eid),
                **before,
            }
        case MemberChanged(eid, lease):
            return {"change": "member", **member_document(lease)} if lease else {"change": "left", "eid": str(eid)}
        case Reset(incarnation):
            return {"change": "reset", "stream_created": incarnation}
        case _:
            return {"change": "synced"}


def change_text(change: Change, leases: Mapping[EID, Lease]) -> str:
    """One change as a line for people."""

    def who(eid: EID) -> str:
        lease = leases.get(eid)
        return f"{lease.name} ({eid})" if lease else str(eid)

    match change:
        case StateChanged(event, previous):
            before = f" (was {value_text(previous)})" if previous else ""
            return f"{event.key}: {value_text(event)}{before} on {who(event.eid)}"
        case StateRemoved(key, previous):
            before = f" (was {value_text(previous)})" if previous else ""
            return f"{key.key}: gone{before} on {who(key.eid)}"
        case MemberChanged(eid, lease):
            return f"{lease.name} ({eid}): served by agent {lease.agent}" if lease else f"{eid}: no agent serves it"
        case Reset():
            return "the stream is another one: owners publish everything again"
        case _:
            return "synced: what follows is live"


def clock_time(seconds: float) -> str:
    """A time as people in this time zone write it; empty for none."""
    return datetime.fromtimestamp(seconds).astimezone().isoformat(sep=" ", timespec="seconds") if seconds else ""
