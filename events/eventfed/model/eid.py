"""The entity id: six bytes that name one Asterisk server."""

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

from .errors import MalformedEntityID

__all__ = ["EID", "known_eid"]

# Asterisk reads an EID with sscanf("%hhx:…") and ignores its failure (main/utils.c, ast_str_to_eid), so
# anything short of the full form would become uninitialised bytes over there. We take the full form alone.
_COLONS = re.compile(r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5}")
_HEX = re.compile(r"[0-9a-f]{12}")


@dataclass(frozen=True, slots=True, order=True)
class EID:
    """An Asterisk entity id (``struct ast_eid``).

    `octets` are its six bytes. ``str()`` gives Asterisk's own writing, ``02:00:00:00:00:0a``; `hex` gives the
    twelve digits used in subjects.
    """

    octets: bytes

    def __post_init__(self) -> None:
        if len(self.octets) != 6:
            raise MalformedEntityID(f"an EID has six bytes, not {len(self.octets)}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``02:00:00:00:00:0a``, digits in either case.

        Raises:
            MalformedEntityID: for any other text.
        """
        if not isinstance(text, str) or not _COLONS.fullmatch(text):
            raise MalformedEntityID(
                f"{text!r:.60} is no EID: write six bytes as 02:00:00:00:00:0a (asterisk.conf, entityid)"
            )
        return cls(bytes.fromhex(text.replace(":", "")))

    @classmethod
    def from_hex(cls, digits: str) -> Self:
        """Read the twelve lower-case digits of a subject.

        Raises:
            MalformedEntityID: for any other text.
        """
        if not _HEX.fullmatch(digits):
            raise MalformedEntityID(f"{digits!r:.60} is no EID of twelve lower-case hex digits")
        return cls(bytes.fromhex(digits))

    @classmethod
    def derive(cls, name: str) -> Self:
        """The locally administered EID of a name: ``02:`` and the first five bytes of its SHA-256."""
        return cls(b"\x02" + hashlib.sha256(name.encode()).digest()[:5])

    @property
    def hex(self) -> str:
        """Twelve lower-case hex digits."""
        return self.octets.hex()

    def __str__(self) -> str:
        return self.octets.hex(":")

    def __repr__(self) -> str:
        return f"EID({str(self)!r})"

    def __hash__(self) -> int:
        return hash(self.octets)


@lru_cache(maxsize=8192)
def known_eid(octets: bytes) -> EID:
    """The same object for the same six bytes, for the hot paths: equal objects are found faster if they are one.

    Raises:
        MalformedEntityID: unless there are six.
    """
    return EID(octets)
