"""Devices whose names are in trouble: that several servers claim to provide, or that Asterisk has cut."""

from collections import defaultdict
from typing import TypeVar

from eventfed import EID, Merge, StateKey, View, kind_of
from eventfed.model.device_kinds import is_probably_cut, is_set_by_hand

__all__ = ["NamesInTrouble"]

_K = TypeVar("_K")
_V = TypeVar("_V")
_AT_ONCE = 20_000
"""Changed names that are looked at in one turn of the event loop: some hundredths of a second."""


class NamesInTrouble:
    """Follows a view at its own pace: a look costs what has changed since the last one, not all states."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._cursor = view.cursor()
        self._providers: defaultdict[str, set[EID]] = defaultdict(set)
        self._contended: set[str] = set()
        self._cut: defaultdict[EID, set[str]] = defaultdict(set)

    def look(self) -> None:
        """Take in what has changed, as much of it as one turn of the event loop bears."""
        for _ in range(_AT_ONCE):
            key = self._cursor.next()
            if key is None:
                return
            if kind_of(key.type).merge is Merge.PER_SERVER:
                self._take(key, is_there=self._view.get(key) is not None)

    def contended(self) -> list[str]:
        """Devices set by hand that two servers announce: a foreign NOT_INUSE cannot beat a local INUSE there."""
        return sorted(self._contended)

    def cut(self, eid: EID) -> list[str]:
        """Devices of one server whose name has the length at which Asterisk cuts longer ones."""
        return sorted(self._cut.get(eid, ()))

    @property
    def cut_count(self) -> int:
        """How many such names there are; one that several servers announce counts once."""
        return len(set().union(*self._cut.values()))

    def _take(self, key: StateKey, *, is_there: bool) -> None:
        name = key.key
        if is_set_by_hand(name):
            _note(self._providers, name, key.eid, is_there)
            if len(self._providers.get(name, ())) > 1:
                self._contended.add(name)
            else:
                self._contended.discard(name)
        if is_probably_cut(name):
            _note(self._cut, key.eid, name, is_there)


def _note(sets: "defaultdict[_K, set[_V]]", key: _K, value: _V, is_there: bool) -> None:
    """Put a value into one of the sets or take it out; a set that gets empty goes."""
    if is_there:
        sets[key].add(value)
    elif key in sets:
        sets[key].discard(value)
        if not sets[key]:
            del sets[key]
