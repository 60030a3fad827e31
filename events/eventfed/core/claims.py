"""Claims: how one agent comes to hold, keeps, and loses the lease of one member. No I/O."""

import enum
from collections.abc import Callable
from typing import Protocol

from ..model.eid import EID
from ..wire.leases import Lease, encode_lease
from .messages import Message, Refusal
from .outbox import Outbox
from .settings import FederationSettings
from .view import View

__all__ = ["Claim", "ClaimState", "Holder"]


class ClaimState(enum.StrEnum):
    """How a claim stands.

    WAITING: NATS or the first replay is awaited. HELD: the lease is ours. CONTESTED: another server of the same EID is
    served by somebody (`Claim.rival`). LOST: another agent took the member over. RELEASED: given back.
    """

    WAITING = "waiting"
    HELD = "held"
    CONTESTED = "contested"
    LOST = "lost"
    RELEASED = "released"


class Holder(Protocol):
    """What a claim needs of the client that it belongs to."""

    view: View
    outbox: Outbox
    settings: FederationSettings
    agent: str
    instance: str
    connected: bool
    last_tick: float

    def clock(self) -> float:
        """Seconds, monotonic."""

    def wall_clock(self) -> float:
        """Seconds since 1970."""

    def all_stored(self, eid: EID) -> bool:
        """Whether every own state of the server is on this incarnation of the stream."""

    def claim_confirmed(self, claim: "Claim") -> None:
        """Its states may be published (again)."""

    def claim_ended(self, claim: "Claim") -> None:
        """Its states must not be published any more."""


class Claim:
    """One member that this agent serves, or wants to serve. Made by `Federation.claim`.

    Leases are written on condition of what they replace, so a write that NATS takes proves that nobody else has
    written since. An agent that stood still writes its lease before it believes that it holds it.
    """

    urgent = True

    def __init__(
        self,
        holder: Holder,
        subject: str,
        eid: EID,
        *,
        uid: str,
        name: str,
        address: str,
        on_change: "Callable[[Claim], None] | None" = None,
    ) -> None:
        self.eid = eid
        self.uid = uid
        self.name = name
        self.address = address
        self.state = ClaimState.WAITING
        self.rival: Lease | None = None
        """The lease that stands against ours, while CONTESTED or LOST."""
        self.epoch = 0
        """Numbers this ownership; 0 before the first attempt to take the lease."""
        self.confirmed = False
        """Whether the lease was written since the connection was made and since this process last stood still."""
        self.on_change = on_change
        self.subject = subject
        self._holder = holder
        self._wanted_complete = False
        self._forced = False
        self._stalled = False
        self._acknowledged = 0
        self._told: int | None = None
        self._written: Lease | None = None
        self._since = 0.0
        self._renew_at = 0.0
        self._sent_at = self._lapses_at = self._connected_at = float("-inf")

    def __repr__(self) -> str:
        return f"<Claim {self.eid} {self.state.value} epoch {self.epoch}>"

    @property
    def held(self) -> bool:
        """Whether the lease stands, as far as can be known here: `undisputed`, and its last renewal that was
        acknowledged was sent less than its TTL ago."""
        return self.undisputed and self._holder.clock() < self._lapses_at

    @property
    def undisputed(self) -> bool:
        """Whether to go on acting for the member: HELD, and nothing speaks against it.

        It ends with `held` when this process stood still, and where the bus is there and has not acknowledged a renewal
        for a TTL. It goes on while the bus is away: nobody could take the lease, and the server needs its lamps.
        """
        holder = self._holder
        late = holder.clock() - holder.last_tick > holder.settings.stall
        return self.state is ClaimState.HELD and not self._stalled and not late

    def complete(self) -> None:
        """Everything known of the member has been published; the lease says so once all of it is on the stream."""
        self._wanted_complete = True
        self.evaluate()

    def incomplete(self) -> None:
        """There is more to come: what others remember of the member must not be dropped."""
        self._wanted_complete = False
        self.evaluate()

    def force(self) -> None:
        """The rival is known to be gone (roster, failed probe): take the lease with a higher epoch."""
        if self.state is ClaimState.CONTESTED:
            self._forced = True
            self.evaluate()

    def release(self) -> None:
        """Give the lease back, which starts the grace at all readers. States not yet sent are dropped."""
        if self.state is ClaimState.RELEASED:
            return
        served = self.state is ClaimState.HELD or (self.state is ClaimState.WAITING and self.epoch > 0)
        self._become(ClaimState.RELEASED)
        self._holder.claim_ended(self)
        if served:
            self._told = None
            self._holder.outbox.put(self)
        else:
            self._holder.outbox.withdraw(self.subject)

    # What happens to it

    def reconnected(self) -> None:
        """The connection is a new one; nothing is certain until the lease was written again."""
        self.confirmed = False
        self._told = None
        self._renew_at = 0.0
        self._connected_at = self._holder.clock()
        self.evaluate()

    def stalled(self) -> None:
        """This process stood still: the lease may be another's by now."""
        self.confirmed = False
        if self.state is ClaimState.HELD and not self._stalled:
            self._stalled = True
            self._tell()
        # An answer that waits in the socket is about a lease of before.
        self._written = None
        self._renew_at = 0.0
        self.evaluate()

    def forget_sequences(self) -> None:
        """The stream is another one."""
        self._acknowledged = 0
        self._told = None
        self._renew_at = 0.0
        self.evaluate()

    def evaluate(self) -> None:
        """Look at the view, and do what follows from it."""
        if self.state is ClaimState.LOST:
            return
        lease = self._holder.view.leases.get(self.eid)
        other = lease if lease is not None and lease.instance != self._holder.instance else None
        if self.state is ClaimState.RELEASED:
            if self._told and other is None and self._may_write():
                self._holder.outbox.put(self)
        elif self.state is ClaimState.HELD:
            self._keep(lease, other)
        else:
            self._want(other)

    def _keep(self, lease: Lease | None, other: Lease | None) -> None:
        view = self._holder.view
        self._doubt()
        # Two may have the same epoch only after the store was lost: then the instance decides.
        if other is not None and (other.epoch, other.instance) > (self.epoch, self._holder.instance):
            self._lose(other)
            return
        if view.highest_epoch(self.eid) > self.epoch or (other is not None and other.epoch == self.epoch):
            self._raise_epoch()
        gone = lease is None or other is not None
        if (
            (gone and view.synced and view.lease_sequence(self.eid) >= self._acknowledged)
            or self._holder.clock() >= self._renew_at
            or self._compose() != self._written
        ):
            self._write()

    def _doubt(self) -> None:
        """Hold it no longer where the bus is there, and lets no renewal of ours stand for a TTL."""
        holder = self._holder
        now, ttl = holder.clock(), holder.settings.lease_ttl
        if holder.connected and not self._stalled and now >= max(self._lapses_at, self._connected_at + ttl):
            self.confirmed = False
            self._stalled = True
            self._tell()

    def _want(self, other: Lease | None) -> None:
        view = self._holder.view
        if not (self._holder.connected and view.synced):
            return
        if other is not None and other.uid != self.uid and not self._forced:
            if self.state is not ClaimState.CONTESTED or self.rival != other:
                self.rival = other
                self._become(ClaimState.CONTESTED)
            return
        if self.epoch == 0 or view.highest_epoch(self.eid) > self.epoch or (other and other.epoch >= self.epoch):
            self._raise_epoch()
        self._write()

    def _raise_epoch(self) -> None:
        self.epoch = max(int(self._holder.wall_clock() * 1000), self._holder.view.highest_epoch(self.eid) + 1)
        self._since = self._holder.wall_clock()
        self.confirmed = False

    def _lose(self, other: Lease) -> None:
        self.rival = other
        self._holder.outbox.withdraw(self.subject)
        self._become(ClaimState.LOST)
        self._holder.claim_ended(self)

    def _write(self) -> None:
        if self._may_write():
            self._renew_at = self._holder.clock() + self._holder.settings.lease_renewal
            self._holder.outbox.put(self)

    def _may_write(self) -> bool:
        """Whether all is known of what stands on the stream in place of what we thought."""
        view = self._holder.view
        if self._told is None:
            return True
        if self._told == 0:
            return view.synced
        return self._told <= max(view.lease_sequence(self.eid), self._acknowledged)

    def _compose(self) -> Lease:
        holder = self._holder
        return Lease(
            self.eid,
            uid=self.uid,
            name=self.name,
            agent=holder.agent,
            instance=holder.instance,
            epoch=self.epoch,
            address=self.address,
            complete=self._wanted_complete and self.confirmed and holder.all_stored(self.eid),
            stream=holder.view.incarnation,
            since=self._since,
        )

    # As a publication

    def build(self) -> Message | None:
        if self.state is ClaimState.LOST or not self._may_write():
            return None
        expected = self._told
        if expected is None:
            expected = max(self._acknowledged, self._holder.view.lease_sequence(self.eid))
        settings = self._holder.settings
        if self.state is ClaimState.RELEASED:
            return Message(b"", settings.tombstone_ttl, expected, tombstone=True)
        self._written = self._compose()
        self._sent_at = self._holder.clock()
        return Message(encode_lease(self._written), settings.lease_ttl, expected)

    def stored(self, sequence: int) -> None:
        self._acknowledged = sequence
        self._told = None
        written = self._written
        if self.state in (ClaimState.LOST, ClaimState.RELEASED) or written is None or written.epoch != self.epoch:
            return
        self._forced = False
        self.rival = None
        # The bus counts the TTL from when it stored it, which was not before it was sent.
        self._lapses_at = self._sent_at + self._holder.settings.lease_ttl
        confirmed, was_stalled = self.confirmed, self._stalled
        self.confirmed, self._stalled = True, False
        if self.state is not ClaimState.HELD:
            self._become(ClaimState.HELD)
        elif was_stalled:
            self._tell()
        if not confirmed:
            self._holder.claim_confirmed(self)

    def refused(self, refusal: Refusal) -> bool:
        if refusal.last_sequence is None:
            return self.state is not ClaimState.LOST
        self._told = refusal.last_sequence
        self._renew_at = 0.0
        self.evaluate()
        return False

    def _become(self, state: ClaimState) -> None:
        self.state = state
        if state is not ClaimState.HELD:
            self.confirmed = self._stalled = False
        self._tell()

    def _tell(self) -> None:
        if self.on_change is not None:
            self.on_change(self)
