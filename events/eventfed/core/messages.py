"""What goes to the bus, what comes from it, and what it refuses: plain values that name no bus. No I/O."""

from typing import NamedTuple

__all__ = ["Message", "Refusal", "Stored"]


class Message(NamedTuple):
    """What is to be stored under a subject, in place of the one value that stands there.

    Args:
        body: the encoded value; empty for a tombstone.
        ttl: how long it stays, in seconds; None: until it is replaced.
        expected: store it only while the last message on the subject has this sequence, 0 for none; None: store it
            whatever stands there.
        tombstone: whether it says that the value is gone. Readers see it, and it leaves nothing behind when it lapses.
    """

    body: bytes
    ttl: float | None = None
    expected: int | None = None
    tombstone: bool = False


class Stored(NamedTuple):
    """What was read from the bus.

    Args:
        subject: where it stands.
        body: the encoded value; empty where it is gone.
        gone: whether it says that the value is gone: a tombstone, or the bus's own mark of a value that has lapsed.
        sequence: its place in the order of all that was stored, 1 or more; 0 for what cannot be placed.
    """

    subject: str
    body: bytes
    gone: bool
    sequence: int


class Refusal(NamedTuple):
    """Why the bus did not store a message.

    Args:
        code: 503 (nobody answers), 400, …
        text: what the bus says.
        last_sequence: where a condition failed, the sequence of the last message on the subject, 0 for none; else None.
    """

    code: int
    text: str
    last_sequence: int | None = None
