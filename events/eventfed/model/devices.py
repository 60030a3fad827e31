"""Device states and how Asterisk adds them up (``main/devicestate.c``, ``include/asterisk/devicestate.h``)."""

import enum
from collections.abc import Iterable

from .errors import MalformedEvent

__all__ = ["DeviceState", "PresenceState", "aggregate_device_state", "neutral_device_state"]


class DeviceState(enum.IntEnum):
    """``enum ast_device_state``; the name of a member is the text that Asterisk writes and reads."""

    UNKNOWN = 0
    NOT_INUSE = 1
    INUSE = 2
    BUSY = 3
    INVALID = 4
    UNAVAILABLE = 5
    RINGING = 6
    RINGINUSE = 7
    ONHOLD = 8

    @classmethod
    def parse(cls, text: object) -> "DeviceState":
        """Read Asterisk's text in either case.

        Raises:
            MalformedEvent: for a text that Asterisk would take for UNKNOWN without a word.
        """
        state = _BY_NAME.get(text.upper()) if isinstance(text, str) else None
        if state is None:
            raise MalformedEvent(f"{text!r:.60} is no device state: use one of {', '.join(cls.__members__)}")
        return state


_BY_NAME = {state.name: state for state in DeviceState}


class PresenceState(enum.IntEnum):
    """``enum ast_presence_state``."""

    NOT_SET = 0
    UNAVAILABLE = 1
    AVAILABLE = 2
    AWAY = 3
    XA = 4
    CHAT = 5
    DND = 6
    INVALID = 7


_RANK = {
    state: rank
    for rank, state in enumerate(
        (
            DeviceState.INVALID,
            DeviceState.UNKNOWN,
            DeviceState.UNAVAILABLE,
            DeviceState.NOT_INUSE,
            DeviceState.ONHOLD,
            DeviceState.RINGING,
            DeviceState.INUSE,
            DeviceState.BUSY,
            DeviceState.RINGINUSE,
        )
    )
}
_RINGING_BESIDE = {DeviceState.INUSE, DeviceState.ONHOLD, DeviceState.BUSY}


def aggregate_device_state(states: Iterable[DeviceState]) -> DeviceState:
    """What Asterisk makes of one device's states on several servers (``ast_devstate_aggregate_result``).

    The highest rank wins; a phone that rings on one server while it is busy on another is RINGINUSE. No state
    at all is INVALID.
    """
    seen = set(states)
    if DeviceState.RINGING in seen and seen & _RINGING_BESIDE:
        return DeviceState.RINGINUSE
    return max(seen, key=_RANK.__getitem__, default=DeviceState.INVALID)


def neutral_device_state(device: str) -> DeviceState:
    """The value that stands in Asterisk in place of a state whose owner has gone.

    A device of a channel driver (``PJSIP/1001``) becomes INVALID, what a server says that never heard of it: a
    Queue does not call it, while UNKNOWN would count as free there (``apps/app_queue.c``). A device of a
    provider (``Custom:lamp``) becomes UNKNOWN.
    """
    return DeviceState.INVALID if "/" in device else DeviceState.UNKNOWN
