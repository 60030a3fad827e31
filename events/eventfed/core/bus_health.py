"""How well the bus serves us: what is wrong with it, and which servers suffer from that. No I/O."""

from collections.abc import Callable, Mapping, Sequence

from ..model.eid import EID
from .claims import ClaimState
from .outbox import Outbox
from .ownership import Ownership
from .troubles import Trouble, Troubles

__all__ = ["BusHealth"]


class BusHealth:
    """See `Federation.health`.

    Args:
        stream: its name.
        clock: seconds, monotonic.
    """

    def __init__(self, stream: str, outbox: Outbox, ownership: Ownership, *, clock: Callable[[], float]) -> None:
        self._stream = stream
        self._outbox = outbox
        self._ownership = ownership
        self._troubles = Troubles(clock)
        self._lacked_before = False

    @property
    def troubles(self) -> Mapping[Trouble, str]:
        """What is wrong at present, with the reason for people; the one that explains the others first."""
        self.look()
        return dict(self._troubles)

    @property
    def problem(self) -> str | None:
        """The reason that explains the others; None if all is well."""
        self.look()
        return self._troubles.first

    @property
    def backlog(self) -> int:
        """How many publications the bus has not taken yet."""
        return len(self._outbox)

    def trouble_of(self, eid: EID) -> str | None:
        """Why states of a server do not cross though the bus lets us in; None if they do, or the bus is away."""
        if not self._ownership.connected:
            return None
        some = self.troubles
        kinds = [Trouble.CONNECTION, Trouble.STREAM]
        if self._lacks(eid):
            kinds = [Trouble.PERMISSION, *kinds, Trouble.REFUSED, Trouble.UNACKNOWLEDGED]
        return next((some[kind] for kind in kinds if kind in some), None)

    def reason_for(self, eid: EID | None) -> str | None:
        """What is wrong for a server, though its states may be where they should be: `trouble_of`, or what concerns
        every server."""
        if eid is not None and (trouble := self.trouble_of(eid)) is not None:
            return trouble
        some = self.troubles
        kinds = (Trouble.CONNECTION, Trouble.STREAM, Trouble.CONFIGURATION)
        return next((some[kind] for kind in kinds if kind in some), None)

    def _lacks(self, eid: EID) -> bool:
        """Whether the bus lacks something of a server at this moment: a state, or the lease."""
        claim = self._ownership.claims.get(eid)
        wanted = claim is not None and claim.state in (ClaimState.HELD, ClaimState.WAITING)
        return not self._ownership.all_stored(eid) or (claim is not None and wanted and not claim.held)

    # What happens

    def note(self, kind: Trouble, reason: str) -> None:
        """Something is wrong."""
        if kind is Trouble.PERMISSION:
            self._lacked_before = False
        self._troubles.note(kind, reason)

    def session_began(self) -> None:
        """There is a new connection; which permissions it has is not known yet."""
        self._lacked_before = Trouble.PERMISSION in self._troubles

    def replay_ended(self) -> None:
        """The bus lets us read."""
        self._troubles.mended(Trouble.STREAM, Trouble.CONNECTION)
        if self._lacked_before:
            self._troubles.mended(Trouble.PERMISSION)

    def stream_seen(self, faults: Sequence[str]) -> None:
        """The stream is made so, with these faults."""
        if faults:
            told = f"stream {self._stream} is not as it must be: {'; '.join(faults)}: change it, see eventfed doctor"
            self._troubles.note(Trouble.CONFIGURATION, told)
        else:
            self._troubles.mended(Trouble.CONFIGURATION)

    def look(self) -> None:
        """See what became of publications."""
        refusals, unanswered = self._outbox.refusals, self._outbox.unanswered
        if refusals:
            subject, text = next(iter(refusals.items()))
            self._troubles.note(Trouble.REFUSED, f"NATS refuses {subject}: {text}", alike=text)
        else:
            self._troubles.mended(Trouble.REFUSED)
        if unanswered:
            told = f"NATS does not acknowledge what is published, such as {next(iter(unanswered))}"
            self._troubles.note(Trouble.UNACKNOWLEDGED, told, alike="")
        else:
            self._troubles.mended(Trouble.UNACKNOWLEDGED)
