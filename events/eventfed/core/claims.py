"""Claims: how one agent comes to hold, keeps, and loses the lease of one member. No I/O."""

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ..model.eid import EID
from ..pace import Backoff
from ..wire.leases import Lease, encode_lease
from .context import ClientContext
from .messages import Message, Refusal
from .outbox import Outbox
from .view import View

__all__ = ["Claim", "ClaimHost", "ClaimState"]


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


class ClaimHost(Protocol):
    """What a claim needs of the client that it belongs to."""

    context: ClientContext
    view: View
    outbox: Outbox
    connected: bool
    last_tick: float

    def all_stored(self, eid: EID) -> bool:
        """Whether every own state of the server is on this incarnation of the stream."""

    def claim_confirmed(self, claim: "Claim") -> None:
        """Its states may be published (again)."""

    def claim_ended(self, claim: "Claim") -> None:
        """Its states must not be published any more."""


@dataclass(slots=True)
class _OwnLease:
    """What is known of our own lease on the bus.

    Args:
        acknowledged: the sequence under which it was stored last, in this incarnation of the stream; 0 for none.
        conflict: after a write whose condition failed, the sequence that stands there instead (0: nothing stands
            there); None once nothing contradicts what was read.
        written: the lease that was handed to the bus last; None: an answer that comes is about none of it.
        since: when this ownership began, in seconds since 1970.
        sent_at: when `written` was handed over. These and the next are seconds, monotonic.
        lapses_at: until when the lease that was acknowledged last stands.
        renew_at: when to write it again.
        connected_at: when the present connection was made.
        refusals: the pauses while the bus refuses it on its condition.
        doubtful: whether it was refused so since it was last stored.
    """

    refusals: Backoff
    doubtful: bool = False
    acknowledged: int = 0
    conflict: int | None = None
    written: Lease | None = None
    since: float = 0.0
    sent_at: float = float("-inf")
    lapses_at: float = float("-inf")
    renew_at: float = 0.0
    connected_at: float = float("-inf")


class Claim:
    """One member that this agent serves, or wants to serve. Made by `Federation.claim`.

    Leases are written on condition of what they replace, so a write that NATS takes proves that nobody else has
    written since. An agent that stood still writes its lease before it believes that it holds it.

    ========= ==================================================================== =========
    from      what happens                                                         to
    ========= ==================================================================== =========
    WAITING   the bus acknowledges our lease                                       HELD
    WAITING   a live lease of another uid is read                                  CONTESTED
    CONTESTED the rival's lease ends or takes our uid, or `force`: our lease is    HELD
              written, and the bus acknowledges it
    HELD      a lease of another instance with a higher epoch is read (the same    LOST
              epoch: with a higher instance)
    any       `release`                                                            RELEASED
    ========= ==================================================================== =========

    LOST and RELEASED are ends: `Federation.claim` makes another claim. Within HELD, `held` is False while this process
    stood still, or no renewal was acknowledged for a TTL; the next acknowledgement makes it True again. A connection
    that is lost leaves the state as it is, and `confirmed` is False until the lease was written again.
    """

    urgent = True

    def __init__(
        self,
        holder: ClaimHost,
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
        settings = holder.context.settings
        self._lease = _OwnLease(Backoff(settings.retry_pause, settings.retry_pause_limit))

    def __repr__(self) -> str:
        return f"<Claim {self.eid} {self.state.value} epoch {self.epoch}>"

    @property
    def held(self) -> bool:
        """Whether the lease stands, as far as can be known here: `undisputed`, and its last renewal that was
        acknowledged was sent less than its TTL ago."""
        now = self._holder.context.clock()
        return self._is_undisputed(now) and now < self._lease.lapses_at

    @property
    def undisputed(self) -> bool:
        """Whether to go on acting for the member: HELD, and nothing speaks against it.

        It ends with `held` when this process stood still, and where the bus is there and has not acknowledged a renewal
        for a TTL. It goes on while the bus is away: nobody could take the lease, and the server needs its lamps.
        """
        return self._is_undisputed(self._holder.context.clock())

    def _is_undisputed(self, now: float) -> bool:
        if self.state is not ClaimState.HELD or self._stalled:
            return False
        holder = self._holder
        # The tick that would notice a standstill is itself late: so it is looked at wherever somebody asks.
        return now - holder.last_tick <= holder.context.settings.stall

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
        # A lease may stand though no acknowledgement came: its tombstone costs nothing where there is none.
        served = self.state is ClaimState.HELD or (self.state is ClaimState.WAITING and self.epoch > 0)
        self._become(ClaimState.RELEASED)
        self._holder.claim_ended(self)
        if served:
            # Our lease that was refused before says nothing about its tombstone.
            self._lease.conflict = None
            self._lease.doubtful = False
            self._lease.refusals.succeeded(self._holder.context.clock())
            self._holder.outbox.put(self)
        else:
            self._holder.outbox.withdraw(self.subject)

    # What happens to it

    def reconnected(self) -> None:
        """The connection is a new one; nothing is certain until the lease was written again."""
        self.confirmed = False
        # That was told over the connection before; what stands there now is read by the replay of this one.
        self._lease.conflict = None
        self._lease.renew_at = 0.0
        self._lease.connected_at = self._holder.context.clock()
        self.evaluate()

    def stalled(self) -> None:
        """This process stood still: the lease may be another's by now."""
        self.confirmed = False
        if self.state is ClaimState.HELD and not self._stalled:
            self._stalled = True
            self._tell()
        # An answer that waits in the socket is about a lease of before.
        self._lease.written = None
        self._lease.renew_at = 0.0
        self.evaluate()

    def forget_sequences(self) -> None:
        """The stream is another one."""
        self._lease.acknowledged = 0
        self._lease.conflict = None
        self._lease.renew_at = 0.0
        self.evaluate()

    def evaluate(self) -> None:
        """Look at the view, and do what follows from it."""
        if self.state is ClaimState.LOST:
            # The other agent has the member; its states must not be touched, whatever is read later.
            return
        lease = self._holder.view.leases.get(self.eid)
        other = lease if lease is not None and lease.instance != self._holder.context.instance else None
        if self.state is ClaimState.RELEASED:
            # The tombstone was refused, and what stands there is known by now: try again, unless it is another's.
            if self._lease.conflict and other is None and self._may_write():
                self._holder.outbox.put(self)
        elif self.state is ClaimState.HELD:
            self._keep(lease, other)
        else:
            self._want(other)

    def _keep(self, lease: Lease | None, other: Lease | None) -> None:
        view = self._holder.view
        # First: what follows may write, and who doubts has to write before it believes.
        self._doubt()
        # Two may have the same epoch only after the store was lost: then the instance decides.
        if other is not None and (other.epoch, other.instance) > (self.epoch, self._holder.context.instance):
            self._lose(other)
            return
        if view.highest_epoch(self.eid) > self.epoch or (other is not None and other.epoch == self.epoch):
            # Readers drop what is below an epoch that they have seen, from a claim that was lost or a store that came
            # back with an old lease: ours has to be above.
            self._raise_epoch()
        # Another's lease that stands below ours is as good as none: it is replaced.
        gone = lease is None or other is not None
        if (
            # Gone in a view that has read our last write. In an older one it is only not there yet.
            (gone and view.synced and view.lease_sequence(self.eid) >= self._lease.acknowledged)
            or self._holder.context.clock() >= self._lease.renew_at
            or self._compose() != self._lease.written
        ):
            self._write()

    def _doubt(self) -> None:
        """Hold it no longer where the bus is there, and lets none of our renewals stand for a TTL."""
        holder = self._holder
        now, ttl = holder.context.clock(), holder.context.settings.lease_ttl
        if holder.connected and not self._stalled and now >= max(self._lease.lapses_at, self._lease.connected_at + ttl):
            self.confirmed = False
            self._stalled = True
            self._tell()

    def _want(self, other: Lease | None) -> None:
        view = self._holder.view
        if not (self._holder.connected and view.synced):
            # A rival may stand on the stream unread.
            return
        # The same uid is the same server at another agent, which has moved here: it is taken over at once. Another uid
        # is another server, and two of one EID must not be mixed.
        if other is not None and other.uid != self.uid and not self._forced:
            if self.state is not ClaimState.CONTESTED or self.rival != other:
                self.rival = other
                self._become(ClaimState.CONTESTED)
            return
        if self.epoch == 0 or view.highest_epoch(self.eid) > self.epoch or (other and other.epoch >= self.epoch):
            self._raise_epoch()
        self._write()

    def _raise_epoch(self) -> None:
        # Milliseconds of the clock order ownerships without asking; what was seen corrects a clock that is behind.
        self.epoch = max(int(self._holder.context.wall_clock() * 1000), self._holder.view.highest_epoch(self.eid) + 1)
        self._lease.since = self._holder.context.wall_clock()
        self.confirmed = False

    def _lose(self, other: Lease) -> None:
        self.rival = other
        self._holder.outbox.withdraw(self.subject)
        self._become(ClaimState.LOST)
        self._holder.claim_ended(self)

    def _write(self) -> None:
        if self._may_write():
            self._lease.renew_at = self._holder.context.clock() + self._holder.context.settings.lease_renewal
            self._holder.outbox.put(self)

    def _may_write(self) -> bool:
        """Whether all is known of what stands on the stream in place of what we thought.

        Not during the pause after refusals: two who take a lease from each other in turn, or a bus that never agrees,
        must not become a busy loop.
        """
        view = self._holder.view
        if self._lease.refusals.left(self._holder.context.clock()):
            return False
        if self._lease.conflict is None:
            return True
        if self._lease.conflict == 0:
            # Ours has lapsed. Whether another server took its place before is known once all was read.
            return view.synced
        # What stands there is judged when it was read, unless it is our own write.
        return self._lease.conflict <= max(view.lease_sequence(self.eid), self._lease.acknowledged)

    def _compose(self) -> Lease:
        holder = self._holder
        return Lease(
            self.eid,
            uid=self.uid,
            name=self.name,
            agent=holder.context.agent,
            instance=holder.context.instance,
            epoch=self.epoch,
            address=self.address,
            complete=self._wanted_complete and self.confirmed and holder.all_stored(self.eid),
            stream=holder.view.incarnation,
            since=self._lease.since,
        )

    # As an outbox entry

    def build(self) -> Message | None:
        if self.state is ClaimState.LOST or not self._may_write():
            return None
        # The refusal knows best what stands there; `_may_write` has made sure that it was looked at.
        expected = self._lease.conflict
        if expected is None:
            expected = max(self._lease.acknowledged, self._holder.view.lease_sequence(self.eid))
        settings = self._holder.context.settings
        if self.state is ClaimState.RELEASED:
            return Message(b"", settings.tombstone_ttl, expected, tombstone=True)
        self._lease.written = self._compose()
        self._lease.sent_at = self._holder.context.clock()
        return Message(encode_lease(self._lease.written), settings.lease_ttl, expected)

    def stored(self, sequence: int) -> None:
        self._lease.acknowledged = sequence
        self._lease.conflict = None
        self._lease.doubtful = False
        self._lease.refusals.succeeded(self._holder.context.clock())
        written = self._lease.written
        # Written under an earlier epoch: a claim that has raised it meanwhile waits for the answer to that.
        if self.state in (ClaimState.LOST, ClaimState.RELEASED) or written is None or written.epoch != self.epoch:
            return
        self._forced = False
        self.rival = None
        # The bus counts the TTL from when it stored it, which was not before it was sent.
        self._lease.lapses_at = self._lease.sent_at + self._holder.context.settings.lease_ttl
        confirmed, was_stalled = self.confirmed, self._stalled
        self.confirmed, self._stalled = True, False
        if self.state is not ClaimState.HELD:
            self._become(ClaimState.HELD)
        elif was_stalled:
            self._tell()
        # Last: the holder publishes states at once, and asks whether the claim is held.
        if not confirmed:
            self._holder.claim_confirmed(self)

    def refused(self, refusal: Refusal) -> bool:
        if refusal.last_sequence is None:
            # No condition failed: the bus is in trouble, and the outbox tries again with growing pauses.
            return self.state is not ClaimState.LOST
        self._lease.conflict = refusal.last_sequence
        # Due at once, and put again by whatever lets `_may_write` say yes, which may be the view that reads the rival.
        self._lease.renew_at = 0.0
        # The first refusal says only that what we knew was old.
        if self._lease.doubtful:
            self._lease.refusals.failed(self._holder.context.clock())
        self._lease.doubtful = True
        self.evaluate()
        return False

    def _become(self, state: ClaimState) -> None:
        self.state = state
        # Both speak of a lease that is held.
        if state is not ClaimState.HELD:
            self.confirmed = self._stalled = False
        self._tell()

    def _tell(self) -> None:
        if self.on_change is not None:
            self.on_change(self)
