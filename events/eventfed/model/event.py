"""The event: a type, the EID of its origin, and information elements."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, Self

from .counts import Mailbox, check_count
from .devices import DeviceState, PresenceState
from .eid import EID
from .elements import Element, EventType, Value, check_element
from .elements import InformationElement as IE
from .errors import MalformedEvent
from .kinds import KINDS

__all__ = ["MAX_NAME", "Event", "StateKey"]

MAX_NAME = 256
"""The longest device or mailbox name, in bytes of UTF-8."""

# Asterisk writes a name into AMI events as it stands (main/devicestate.c, main/mwi.c), where CR LF ends a line: a name
# that holds one is an AMI event of its own on every server. C0, DEL, C1, and what Unicode counts as a line break.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class StateKey(NamedTuple):
    """What names one state: its event type, the EID of its owner, and the device or mailbox."""

    type: EventType
    eid: EID
    key: str


@dataclass(frozen=True, slots=True)
class Event:
    """One event of one server.

    Args:
        type: the event type.
        eid: the server it comes from.
        elements: the information elements in Asterisk's order, without EID and CACHABLE, which have fields of
            their own. A list, not a map: the first one of a number counts. Message counts end at `MAX_COUNT`.
        cachable: whether Asterisk keeps the value (a device state that is not is an event only).
        time: when the origin's agent heard it, in seconds since 1970.
        epoch: which ownership of the EID it was published under; later ones are higher.
        sequence: number within the epoch.
        order: a Lamport number that orders what several servers say of one shared mailbox; 0 elsewhere.

    Raises:
        MalformedEvent: when an element that the type needs is missing, or one has the wrong type; when the name is
            longer than `MAX_NAME` or holds a control character.
    """

    type: EventType
    eid: EID
    elements: tuple[Element, ...] = ()
    cachable: bool = True
    time: float = 0.0
    epoch: int = 0
    sequence: int = 0
    order: int = 0
    key: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        kind = KINDS.get(self.type)
        elements = [check_element(number, value) for number, value in self.elements]
        if kind is not None and kind.counts:
            elements = [(n, check_count(kind.counts[n], v) if n in kind.counts else v) for n, v in elements]
        object.__setattr__(self, "elements", tuple(elements))
        key = kind.find_name(self) if kind is not None else ""
        if len(key.encode()) > MAX_NAME:
            raise MalformedEvent(f"{key!r:.40}… is longer than {MAX_NAME} bytes")
        # The first question is the quick one, and is answered for nearly every name.
        if not key.isprintable() and _CONTROL.search(key):
            raise MalformedEvent(f"{key!a:.60} holds a control character: give the device or mailbox a name without")
        object.__setattr__(self, "key", key)

    def _need(self, wanted: IE) -> Value:
        value = self.get(wanted)
        if value is None:
            raise MalformedEvent(f"a {self.type.token} event needs the element {wanted.name}")
        return value

    def get(self, wanted: IE | int) -> Value | None:
        """The value of the first element of that number, or None."""
        for number, value in self.elements:
            if number == wanted:
                return value
        return None

    @classmethod
    def device(cls, name: str, state: DeviceState, eid: EID, *, cachable: bool = True, time: float = 0.0) -> Self:
        """One server's state of one device (``AST_EVENT_DEVICE_STATE_CHANGE``)."""
        elements = ((IE.DEVICE, name), (IE.STATE, int(state)))
        return cls(EventType.DEVICE_STATE_CHANGE, eid, elements, cachable=cachable, time=time)

    @classmethod
    def mailbox(cls, name: str, new: int, old: int, eid: EID, *, time: float = 0.0) -> Self:
        """One server's counts of one mailbox, ``1001@default`` or without a context (``AST_EVENT_MWI``)."""
        box, at, context = name.partition("@")
        where: Iterable[Element] = ((IE.CONTEXT, context),) if at else ()
        elements = ((IE.MAILBOX, box), *where, (IE.NEWMSGS, new), (IE.OLDMSGS, old))
        return cls(EventType.MWI, eid, elements, time=time)

    @classmethod
    def presence(cls, provider: str, state: PresenceState, eid: EID, *, subtype: str = "", message: str = "") -> Self:
        """A presence state (``AST_EVENT_PRESENCE_STATE``)."""
        elements = (
            (IE.PRESENCE_PROVIDER, provider),
            (IE.PRESENCE_STATE, int(state)),
            (IE.PRESENCE_SUBTYPE, subtype),
            (IE.PRESENCE_MESSAGE, message),
        )
        return cls(EventType.PRESENCE_STATE, eid, elements)

    @property
    def state_key(self) -> StateKey:
        return StateKey(self.type, self.eid, self.key)

    @property
    def device_state(self) -> DeviceState:
        """The state of a device event.

        Raises:
            MalformedEvent: for an event of another type.
        """
        return DeviceState(self._need(IE.STATE))  # type: ignore[arg-type]

    @property
    def counts(self) -> Mailbox:
        """The counts of an MWI event.

        Raises:
            MalformedEvent: for an event of another type.
        """
        new, old = self._need(IE.NEWMSGS), self._need(IE.OLDMSGS)
        assert isinstance(new, int)
        assert isinstance(old, int)
        return Mailbox(new, old)

    def stamped(self, *, epoch: int, sequence: int) -> Self:
        """The same event with its origin's numbers."""
        copy = object.__new__(type(self))  # what is in self has been checked already
        for name in ("type", "eid", "elements", "cachable", "time", "order", "key"):
            object.__setattr__(copy, name, getattr(self, name))
        object.__setattr__(copy, "epoch", epoch)
        object.__setattr__(copy, "sequence", sequence)
        return copy

    def same_value(self, other: "Event") -> bool:
        """Whether both say the same of the same state and are the same news, whenever they said it."""
        return (
            self.state_key == other.state_key
            and self.elements == other.elements
            and self.cachable == other.cachable
            and self.order == other.order
        )
