"""What all servers say of one name. No I/O."""

from collections.abc import Mapping
from types import MappingProxyType

from ..model.eid import EID
from ..model.elements import EventType
from ..model.event import Event, StateKey
from ..model.kinds import KINDS

__all__ = ["NameIndex"]

_NOBODY: Mapping[EID, Event] = MappingProxyType({})


class NameIndex:
    """The values by type and name; of each name, by server."""

    def __init__(self) -> None:
        # Nearly every name is of one server only, and a dict for each of them would be most of the memory.
        self._values: dict[EventType, dict[str, Event | dict[EID, Event]]] = {
            kind.type: {} for kind in KINDS.values() if kind.has_state
        }

    def get(self, type: EventType, name: str) -> Mapping[EID, Event]:
        there = self._values[type].get(name, _NOBODY)
        return {there.eid: there} if isinstance(there, Event) else there

    def put(self, event: Event, before: Event | None) -> None:
        """Another value of one server.

        Args:
            before: that server's value until now, if it has one here.
        """
        names = self._values[event.type]
        there = names.get(event.key)
        if there is None or there is before:
            names[event.key] = event
        elif isinstance(there, Event):
            # A second server has this name.
            names[event.key] = {there.eid: there, event.eid: event}
        else:
            there[event.eid] = event

    def remove(self, key: StateKey, event: Event | None) -> None:
        """A server's value is gone.

        Args:
            event: that value.
        """
        names = self._values[key.type]
        there = names.get(key.key)
        if isinstance(there, dict):
            there.pop(key.eid, None)
        # A value of another server that stands alone is left.
        if not there or there is event:
            names.pop(key.key, None)
