"""What changes in a view, one change after the other."""

import asyncio
from collections.abc import AsyncGenerator, Mapping

from ..model.eid import EID
from ..model.elements import EventType
from ..model.event import Event, StateKey
from ..wire.leases import Lease
from .changes import Change, MemberChanged, Reset, StateChanged, StateRemoved, Synced
from .view import State, View

__all__ = ["watch"]


async def watch(view: View, *, type: EventType | None = None, eid: EID | None = None) -> AsyncGenerator[Change, None]:
    """What there is, then `Synced`, then each change, without end. See `Federation.watch`."""
    cursor = view.cursor()
    shown: dict[StateKey, Event] = {}
    leases: dict[EID, Lease] = {}
    incarnation, synced = "", False
    wake = asyncio.Event()
    stop = view.listen(wake.set)
    try:
        while True:
            wake.clear()
            if incarnation != view.incarnation:
                if incarnation:
                    yield Reset(view.incarnation)
                incarnation = view.incarnation
            for lease_change in _lease_changes(leases, view.leases, eid):
                yield lease_change
            while (key := cursor.next()) is not None:
                if (type is None or key.type is type) and (eid is None or key.eid == eid):
                    yield _state_change(key, view.states[key], shown)
            if not synced and view.synced:
                synced = True
                yield Synced()
            await wake.wait()
    finally:
        stop()


def _state_change(key: StateKey, state: State, shown: dict[StateKey, Event]) -> Change:
    previous = shown.get(key)
    if state.tombstone or state.event is None:
        shown.pop(key, None)
        return StateRemoved(key, previous or state.event)
    shown[key] = state.event
    return StateChanged(state.event, previous)


def _lease_changes(shown: dict[EID, Lease], leases: Mapping[EID, Lease], eid: EID | None) -> list[Change]:
    changes: list[Change] = []
    for one in [*shown, *(one for one in leases if one not in shown)]:
        if (eid is None or one == eid) and shown.get(one) != leases.get(one):
            changes.append(MemberChanged(one, leases.get(one)))
    shown.clear()
    shown.update(leases)
    return changes
