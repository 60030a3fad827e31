"""The event: a type, the EID of its origin, and information elements."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, Self

from .devices import DeviceState, PresenceState
from .eid import EID
from .elements import Element, EventType, Value, check_element
from .elements import InformationElement as IE
from .errors import MalformedEvent

__all__ = ["MAX_COUNT", "MAX_NAME", "Event", "Mailbox", "StateKey", "check_count"]

MAX_NAME = 256
"""The longest device or mailbox name, in bytes of UTF-8."""

MAX_COUNT = 2**31 - 1
"""The highest count of messages. Asterisk holds counts in a C ``int`` (``struct ast_mwi_state``,
``include/asterisk/mwi.h``) and cuts what does not fit: 4294967294 becomes -2 on every phone."""

_MAX_UINT = 2**32 - 1


class StateKey(NamedTuple):
    """What names one state: its event type, the EID of its owner, and the device or mailbox."""

    type: EventType
    eid: EID
    key: str


def check_count(what: str, value: object) -> int:
    """One count of messages, at most `MAX_COUNT`. Each count from outside passes here, whichever way it came.

    Raises:
        MalformedEvent: for anything but an integer of 32 bits without a sign, as ``ast_event`` holds it.
    """
    if type(value) is not int or not 0 <= value <= _MAX_UINT:
        raise MalformedEvent(f"{what!r} must be a count, not {value!r:.40}")
    return min(value, MAX_COUNT)


class Mailbox(NamedTuple):
    """Message counts of one mailbox on one server. A sum ends at `MAX_COUNT`."""

    new: int
    old: int

    def __add__(self, other: object) -> "Mailbox":
        if not isinstance(other, Mailbox):
            return NotImplemented
        return Mailbox(min(self.new + other.new, MAX_COUNT), min(self.old + other.old, MAX_COUNT))

    def beside(self, other: "Mailbox") -> "Mailbox":
        """As much of these counts as can be added to `other`: PJSIP adds up all mailboxes of one phone in a C ``int``
        (``mwi_subscription`` in ``res/res_pjsip_mwi.c``)."""
        return Mailbox(min(self.new, MAX_COUNT - other.new), min(self.old, MAX_COUNT - other.old))


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
        news: a Lamport number that orders what several servers say of one shared mailbox; 0 elsewhere.

    Raises:
        MalformedEvent: when an element that the type needs is missing, or one has the wrong type.
    """

    type: EventType
    eid: EID
    elements: tuple[Element, ...] = ()
    cachable: bool = True
    time: float = 0.0
    epoch: int = 0
    sequence: int = 0
    news: int = 0
    key: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        elements = [check_element(number, value) for number, value in self.elements]
        if self.type is EventType.MWI:
            elements = [(n, check_count(_COUNTS[n], value) if n in _COUNTS else value) for n, value in elements]
        object.__setattr__(self, "elements", tuple(elements))
        key = self._find_key()
        if len(key.encode()) > MAX_NAME:
            raise MalformedEvent(f"{key!r:.40}… is longer than {MAX_NAME} bytes")
        object.__setattr__(self, "key", key)

    def _find_key(self) -> str:
        match self.type:
            case EventType.DEVICE_STATE | EventType.DEVICE_STATE_CHANGE:
                state = self._need(IE.STATE)
                if state not in _DEVICE_STATES:
                    raise MalformedEvent(f"{state!r} is no device state (0 to 8)")
                name = self._need_text(IE.DEVICE)
            case EventType.MWI:
                self._need(IE.NEWMSGS), self._need(IE.OLDMSGS)
                name, context = self._need_text(IE.MAILBOX), self.get(IE.CONTEXT)
                # Asterisk cuts a name at its first @ (res_pjsip_publish_asterisk.c): "@default" has no mailbox.
                if "@" in name:
                    raise MalformedEvent(f"{name!r:.40} is no mailbox: what follows the @ belongs into CONTEXT")
                if name and isinstance(context, str) and context:
                    name = f"{name}@{context}"
            case EventType.PRESENCE_STATE:
                state = self._need(IE.PRESENCE_STATE)
                if state not in _PRESENCE_STATES:
                    raise MalformedEvent(f"{state!r} is no presence state (0 to 7)")
                name = self._need_text(IE.PRESENCE_PROVIDER)
            case _:
                return ""
        if not name:
            raise MalformedEvent(f"a {self.type.token} event needs a name that is not empty")
        return name

    def _need(self, wanted: IE) -> Value:
        value = self.get(wanted)
        if value is None:
            raise MalformedEvent(f"a {self.type.token} event needs the element {wanted.name}")
        return value

    def _need_text(self, wanted: IE) -> str:
        value = self._need(wanted)
        assert isinstance(value, str)  # check_element has seen to it
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
        for name in ("type", "eid", "elements", "cachable", "time", "news", "key"):
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
            and self.news == other.news
        )


_COUNTS: dict[int, str] = {IE.NEWMSGS: "NEWMSGS", IE.OLDMSGS: "OLDMSGS"}
_DEVICE_STATES = frozenset(int(state) for state in DeviceState)
_PRESENCE_STATES = frozenset(int(state) for state in PresenceState)
