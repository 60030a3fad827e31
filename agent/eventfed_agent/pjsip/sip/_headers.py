"""The headers of a SIP message: found by name whatever their case, written as they came."""

from __future__ import annotations

from collections.abc import Iterable

from sipmessage.message import COMPACT_FORMS

from ._errors import SipSyntaxError

__all__ = ["Headers"]


class Headers:
    """Header values by lower-case name, in the order of their first appearance.

    Indexed, where sipmessage's own `Headers` walks a list: a publication looks at a dozen of them.
    """

    __slots__ = ("_fields",)

    def __init__(self) -> None:
        self._fields: dict[str, tuple[str, list[str]]] = {}

    @classmethod
    def parse(cls, lines: Iterable[str]) -> Headers:
        """Headers from unfolded lines, compact names (RFC 3261 7.3.3) made long; raises SipSyntaxError."""
        headers = cls()
        fields = headers._fields
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon or not name or name.isspace():
                raise SipSyntaxError("a header line has no name")
            key = name.lower()
            if len(key) == 1 and key in COMPACT_FORMS:
                name = COMPACT_FORMS[key]
                key = name.lower()
            field = fields.get(key)
            if field is None:
                fields[key] = (name, [value.strip()])
            else:
                field[1].append(value.strip())
        return headers

    def add(self, name: str, value: str) -> None:
        """One more value."""
        self._fields.setdefault(name.lower(), (name, []))[1].append(value)

    def put(self, name: str, values: list[str]) -> None:
        """These values and no others."""
        self._fields[name.lower()] = (name, values)

    def first(self, key: str) -> str | None:
        """The topmost value by lower-case name."""
        field = self._fields.get(key)
        return field[1][0] if field is not None else None

    def all(self, key: str) -> list[str]:
        """All values by lower-case name, top first."""
        field = self._fields.get(key)
        return field[1] if field is not None else []

    def names(self) -> list[str]:
        return [name for name, _ in self._fields.values()]

    def __str__(self) -> str:
        lines = [f"{name}: {value}\r\n" for name, values in self._fields.values() for value in values]
        lines.append("\r\n")
        return "".join(lines)
