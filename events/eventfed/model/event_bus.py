"""An event bus within one process: what ``main/event.c`` and stasis's cache give Asterisk's modules."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from .devices import DeviceState, aggregate_device_state
from .eid import EID
from .elements import EventType, Value
from .elements import InformationElement as IE
from .event import Event, StateKey
from .kinds import KINDS

__all__ = ["EventBus", "Subscription"]


@dataclass(eq=False, slots=True)
class Subscription:
    """One subscriber; `cancel` ends it.

    `wanted` is what `EventBus.subscribe` was given: an event passes when each named element has the given value.
    """

    callback: Callable[[Event], None]
    type: EventType | None
    eid: EID | None
    wanted: Mapping[IE, Value]
    _subscriptions: list["Subscription"] = field(repr=False)

    def cancel(self) -> None:
        """End it; a second call does nothing."""
        if self in self._subscriptions:
            self._subscriptions.remove(self)

    def passes(self, event: Event) -> bool:
        return (
            (self.type is None or event.type is self.type)
            and (self.eid is None or event.eid == self.eid)
            and all(event.get(element) == value for element, value in self.wanted.items())
        )


class EventBus:
    """Publish, subscribe with filters on information elements, and a cache of last values.

    States (see `Kind.has_state`) that are cachable are kept, one per type, key and EID. Everything happens
    in the caller's thread; an exception of a subscriber reaches the publisher after all others were served.
    """

    def __init__(self) -> None:
        self._subscriptions: list[Subscription] = []
        self._cache: dict[StateKey, Event] = {}

    def publish(self, event: Event) -> None:
        """Keep the event if it is a state, then hand it to all whose filter it passes.

        Raises:
            ExceptionGroup: of what subscribers raised.
        """
        if event.type in KINDS and KINDS[event.type].has_state and event.cachable:
            self._cache[event.state_key] = event
        failures: list[Exception] = []
        for subscription in [s for s in self._subscriptions if s.passes(event)]:
            try:
                subscription.callback(event)
            except Exception as failure:
                failures.append(failure)
        if failures:
            raise ExceptionGroup(f"subscribers failed on {event.type.token} {event.key}", failures)

    def subscribe(
        self,
        callback: Callable[[Event], None],
        *,
        type: EventType | None = None,
        eid: EID | None = None,
        elements: Mapping[IE, Value] | None = None,
        replay: bool = False,
    ) -> Subscription:
        """Call `callback` for each event that passes; with `replay`, first for each cached one that does."""
        subscription = Subscription(callback, type, eid, dict(elements or {}), self._subscriptions)
        if replay:
            for event in [e for e in self._cache.values() if subscription.passes(e)]:
                callback(event)
        self._subscriptions.append(subscription)
        return subscription

    def get(self, state: StateKey) -> Event | None:
        """The last value of one state."""
        return self._cache.get(state)

    def dump(self, *, type: EventType | None = None, eid: EID | None = None) -> Iterator[Event]:
        """The cached states, of one type or one server if given (``stasis_cache_dump_by_eid``)."""
        for event in list(self._cache.values()):
            if (type is None or event.type is type) and (eid is None or event.eid == eid):
                yield event

    def clear(self, eid: EID) -> list[Event]:
        """Forget every state of one server and return them, as ``res_corosync`` does when a node leaves."""
        gone = list(self.dump(eid=eid))
        for event in gone:
            del self._cache[event.state_key]
        return gone

    def device_state(self, device: str) -> DeviceState:
        """The aggregate of one device over all servers, by Asterisk's ranks; INVALID when nobody knows it."""
        return aggregate_device_state(
            event.device_state for event in self.dump(type=EventType.DEVICE_STATE_CHANGE) if event.key == device
        )
