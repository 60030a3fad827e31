"""The leases that were read, and what stands on the subjects of those that ended. No I/O."""

from collections.abc import Mapping
from types import MappingProxyType

from ..model.eid import EID
from ..wire.leases import Lease

__all__ = ["LeaseStore"]


class LeaseStore:
    """The part of the view that knows who serves which server."""

    def __init__(self) -> None:
        self._live: dict[EID, Lease] = {}
        self._sequences: dict[EID, int] = {}
        self._replays: dict[EID, int] = {}
        self.live: Mapping[EID, Lease] = MappingProxyType(self._live)
        """Leases that stand. Read only."""
        self.revision = 0
        """Grows with each change of a lease; a renewal that says the same is none."""

    def sequence(self, eid: EID) -> int:
        """The stream sequence of the last lease, or of what ended it, in this incarnation; 0 for none."""
        return self._sequences.get(eid, 0)

    def forget_sequences(self) -> None:
        """The stream is another one. The leases stay: nothing says that they ended."""
        self._sequences.clear()

    def read(self, eid: EID, sequence: int, replay: int) -> None:
        """A lease of a server stands at this place, whether it could be read or not."""
        self._sequences[eid] = sequence
        self._replays[eid] = replay

    def put(self, lease: Lease) -> bool:
        """Returns whether it says something new."""
        if self._live.get(lease.eid) == lease:
            return False
        self._live[lease.eid] = lease
        self.revision += 1
        return True

    def end(self, eid: EID, sequence: int) -> bool:
        """The end of a lease was read. Returns whether there was one."""
        self._sequences[eid] = sequence
        return self.drop(eid)

    def drop(self, eid: EID) -> bool:
        """Returns whether there was one."""
        if self._live.pop(eid, None) is None:
            return False
        self.revision += 1
        return True

    def not_read_in(self, replay: int) -> list[EID]:
        """The servers of which a replay had no lease, though one was known."""
        return [eid for eid in self._live if self._replays[eid] != replay]
