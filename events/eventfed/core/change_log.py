"""One log of changed keys that any number of readers follow, each at its own pace."""

from bisect import bisect_right
from collections.abc import Mapping
from typing import Protocol

from ..model.event import StateKey

__all__ = ["ChangeLog", "Cursor"]

_SLACK = 1024


class _Revised(Protocol):
    @property
    def revision(self) -> int: ...


class ChangeLog:
    """Keys in the order of their last change.

    An entry is alive while its revision is its state's; a key changed again leaves a dead entry behind. Once more
    than half is dead the log is rewritten, so it costs O(1) a change and never more than twice the states.

    Args:
        states: where the newest revision of each key is looked up. An entry of a key that is not in it is dead.
    """

    def __init__(self, states: Mapping[StateKey, _Revised]) -> None:
        self._states = states
        self._revisions: list[int] = []
        self._keys: list[StateKey] = []
        self._rewrites = 0

    def append(self, revision: int, key: StateKey) -> None:
        """Note that `key` was changed; `revision` is higher than any before."""
        self._revisions.append(revision)
        self._keys.append(key)
        if len(self._keys) > 2 * len(self._states) + _SLACK:
            alive = [index for index, key in enumerate(self._keys) if self._is_alive(index, key)]
            self._revisions = [self._revisions[index] for index in alive]
            self._keys = [self._keys[index] for index in alive]
            self._rewrites += 1

    def cursor(self) -> "Cursor":
        return Cursor(self)

    def _is_alive(self, index: int, key: StateKey) -> bool:
        state = self._states.get(key)
        return state is not None and state.revision == self._revisions[index]


class Cursor:
    """One reader's place in the log, at the beginning at first."""

    __slots__ = ("_index", "_log", "_revision", "_rewrites")

    def __init__(self, log: ChangeLog) -> None:
        self._log = log
        self._index = 0
        self._revision = 0
        self._rewrites = log._rewrites

    def next(self) -> StateKey | None:
        """The next key that was changed after this place, or None when caught up.

        A key changed a thousand times since is given once, for its newest change.
        """
        self._find_place()
        log = self._log
        keys = log._keys
        while self._index < len(keys):
            index = self._index
            self._index += 1
            self._revision = log._revisions[index]
            if log._is_alive(index, keys[index]):
                return keys[index]
        return None

    def rewind(self) -> None:
        """Go to the beginning: every key again."""
        self._index = self._revision = 0
        self._rewrites = self._log._rewrites

    def skip_to_end(self) -> None:
        """Be caught up: only later changes."""
        self._rewrites = self._log._rewrites
        self._index = len(self._log._keys)
        self._revision = self._log._revisions[-1] if self._log._revisions else 0

    @property
    def behind(self) -> int:
        """How many keys `next` may still give, at most."""
        self._find_place()
        return len(self._log._keys) - self._index

    def _find_place(self) -> None:
        if self._rewrites != self._log._rewrites:
            self._rewrites = self._log._rewrites
            self._index = bisect_right(self._log._revisions, self._revision)
