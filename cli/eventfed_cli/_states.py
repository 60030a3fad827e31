"""States and members as rows: what the commands print, as JSON and as text."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from eventfed import (
    EID,
    Change,
    Event,
    EventType,
    Federation,
    Lease,
    Mailbox,
    MemberChanged,
    PresenceState,
    Reset,
    StateChanged,
    StateKey,
    StateRemoved,
    aggregate_device_state,
)
from eventfed import InformationElement as IE
from eventfed.device_kinds import is_set_by_hand
from eventfed_agent.members.news import latest_news

__all__ = [
    "TYPE_NAMES",
    "Selection",
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

TYPE_NAMES = {
    EventType.DEVICE_STATE_CHANGE: "device_state",
    EventType.MWI: "mwi",
    EventType.PRESENCE_STATE: "presence_state",
}
"""The names that configuration files use."""


@dataclass(frozen=True)
class Selection:
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
    for event in Selection().events(federation):
        if event.key == name:
            found.setdefault(event.type, []).append(event)
    return found


def value_text(event: Event) -> str:
    """``INUSE``, ``3 new, 1 old``, or a presence."""
    if event.type is EventType.MWI:
        return f"{event.counts.new} new, {event.counts.old} old"
    if event.type is EventType.DEVICE_STATE_CHANGE:
        return event.device_state.name
    value = event.get(IE.PRESENCE_STATE)
    return PresenceState(value).name if isinstance(value, int) else ""


def _value_document(event: Event) -> dict[str, Any]:
    if event.type is EventType.MWI:
        return {"new": event.counts.new, "old": event.counts.old}
    return {"state": value_text(event)}


def state_document(event: Event, leases: Mapping[EID, Lease]) -> dict[str, Any]:
    """One server's value of one state."""
    lease = leases.get(event.eid)
    return {
        "type": TYPE_NAMES[event.type],
        "name": event.key,
        "eid": str(event.eid),
        "member": lease.name if lease else None,
        **_value_document(event),
        "time": event.time or None,
    }


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
    if kind is EventType.DEVICE_STATE_CHANGE:
        state = aggregate_device_state(event.device_state for event in events)
        return {"state": state.name, "by": "rank"}, f"{state.name} (by Asterisk's rank)"
    if kind is EventType.MWI:
        news = latest_news({event.eid: event for event in events}) if any(event.news for event in events) else None
        counts = news.counts if news else sum((event.counts for event in events), start=Mailbox(0, 0))
        by: Literal["latest news", "sum"] = "latest news" if news else "sum"
        return {"new": counts.new, "old": counts.old, "by": by}, f"{counts.new} new, {counts.old} old ({by})"
    newest = max(events, key=lambda event: event.time)
    return {"state": value_text(newest), "by": "time"}, f"{value_text(newest)} (the newest)"


def contended_devices(federation: Federation) -> dict[str, list[EID]]:
    """Devices set by hand that several servers announce: a NOT_INUSE of one cannot beat an INUSE of another."""
    owners: dict[str, list[EID]] = {}
    for event in Selection(type=EventType.DEVICE_STATE_CHANGE).events(federation):
        if is_set_by_hand(event.key):
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
                "type": TYPE_NAMES[key.type],
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
