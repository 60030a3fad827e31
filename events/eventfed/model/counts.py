"""Message counts of mailboxes, bounded by what Asterisk holds."""

from typing import NamedTuple

from .errors import MalformedEvent

__all__ = ["MAX_COUNT", "Mailbox", "check_count"]

MAX_COUNT = 2**31 - 1
"""The highest count of messages. Asterisk holds counts in a C ``int`` (``struct ast_mwi_state``,
``include/asterisk/mwi.h``) and cuts what does not fit: 4294967294 becomes -2 on every phone."""

_MAX_UINT = 2**32 - 1


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
