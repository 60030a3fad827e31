"""The rosters of a federation's site, as they were read. No I/O."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from ..wire.roster import Roster
from .callbacks import Callbacks

__all__ = ["Rosters"]


class Rosters:
    """What the operator wrote: which members each node has. See `Federation.rosters`.

    A store that is lost takes nobody's members away: what was known stays `known` until it is written again.
    """

    def __init__(self) -> None:
        self._known: dict[str, Roster] = {}
        self._present: dict[str, Roster] = {}
        self._sequences: dict[str, int] = {}
        self._read: set[str] = set()
        self._nodes: dict[str, str] | None = None
        self._callbacks = Callbacks["Rosters"]()
        self.known: Mapping[str, Roster] = MappingProxyType(self._known)
        """The last one of each node, though the store that held it may have been lost. Read only."""
        self.present: Mapping[str, Roster] = MappingProxyType(self._present)
        """Those that are on the stream and can be read. Read only."""

    def listen(self, callback: Callable[["Rosters"], None]) -> Callable[[], None]:
        """Call `callback` after each change of `known` or `present`; the result ends that."""
        return self._callbacks.add(callback)

    def node_of(self, uid: str) -> str | None:
        """The node whose roster lists a member of this uid; None if no roster does."""
        if self._nodes is None:
            self._nodes = {one.uid: node for node, roster in self._known.items() for one in roster.members}
        return self._nodes.get(uid)

    def sequence(self, node: str) -> int:
        """The stream sequence of what stands on a node's subject; 0 for nothing."""
        return self._sequences.get(node, 0)

    # Writing

    def begin_replay(self, reset: bool) -> None:
        """A replay begins; with `reset`, of another stream."""
        self._read.clear()
        if reset:
            self._sequences.clear()
            if self._present:
                self._present.clear()
                self._changed()

    def end_replay(self) -> None:
        """What was on this stream and is not any more has been taken away."""
        for node in [node for node in self._sequences if node not in self._read]:
            del self._sequences[node]
            self._remove(node)

    def put(self, roster: Roster, sequence: int) -> None:
        """A roster was read, or written by us."""
        node = roster.node
        self._read.add(node)
        if sequence < self.sequence(node):
            return
        self._sequences[node] = sequence
        if self._present.get(node) != roster or self._known.get(node) != roster:
            self._present[node] = self._known[node] = roster
            self._changed()

    def put_unreadable(self, node: str, sequence: int) -> None:
        """Something unreadable stands on a node's subject: what was known stays, and the operator writes it again."""
        self._read.add(node)
        self._sequences[node] = sequence
        if self._present.pop(node, None) is not None:
            self._changed()

    def put_marker(self, node: str, sequence: int) -> None:
        """The roster was taken away."""
        self._read.add(node)
        if sequence >= self.sequence(node):
            self._sequences[node] = sequence
            self._remove(node)

    def _remove(self, node: str) -> None:
        gone = self._present.pop(node, None), self._known.pop(node, None)
        if gone != (None, None):
            self._changed()

    def _changed(self) -> None:
        self._nodes = None
        self._callbacks.call(self)
