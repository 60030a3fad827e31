"""What this client publishes: its own last value of each state, and the claims under which it does. No I/O."""

from collections.abc import Callable

from ..model.eid import EID
from ..model.elements import EventType
from ..model.errors import MalformedEvent
from ..model.event import Event, StateKey
from ..model.kinds import KINDS, kind_of
from .claims import Claim, ClaimState
from .context import ClientContext
from .outbox import Outbox
from .own_states import OwnState, OwnStates
from .settings import FederationSettings, MailboxDeparture
from .upkeep import Corrections, Renewals
from .view import View

__all__ = ["Ownership"]


class Ownership:
    """All claims and own states of one client. It is the `ClaimHost` of its claims.

    Args:
        context: who the client is; `configure` gives it other settings.
    """

    def __init__(self, context: ClientContext, view: View, outbox: Outbox) -> None:
        self.context = context
        self.view = view
        self.outbox = outbox
        self.connected = False
        self.last_tick = context.clock()
        self.claims: dict[EID, Claim] = {}
        self._states = OwnStates()
        self._epochs: dict[EID, int] = {}
        self._sequence = 0
        self._corrections = Corrections()
        self._renewals = Renewals()

    def configure(self, settings: FederationSettings) -> None:
        """Other times: states whose TTL comes, goes or grows are published again: on the stream they end too soon."""
        before = {kind: self.ttl(kind) for kind in KINDS}
        self.context.settings = settings
        after = {kind: self.ttl(kind) for kind in KINDS if self.ttl(kind) != before[kind]}
        # A TTL that has become shorter needs no haste: the next renewal brings it.
        turned = {kind for kind, ttl in after.items() if ttl is None or ttl > (before[kind] or 0)}
        for own in self._states:
            if own.event is not None and own.key.type in turned:
                self._send(own)

    # What the user wants

    def claim(self, eid: EID, *, uid: str, name: str, address: str, on_change: Callable[[Claim], None] | None) -> Claim:
        """Wish to serve a member. A claim of the same EID that was lost or released before is replaced."""
        before = self.claims.get(eid)
        if before is not None and before.state not in (ClaimState.LOST, ClaimState.RELEASED):
            raise ValueError(f"{eid} is claimed already: release that claim first")
        claim = Claim(
            self, self.context.subjects.member(eid), eid, uid=uid, name=name, address=address, on_change=on_change
        )
        self.claims[eid] = claim
        claim.evaluate()
        return claim

    def publish(self, event: Event) -> None:
        """Make `event` the last value of its state."""
        if event.type not in KINDS or not KINDS[event.type].has_state:
            raise MalformedEvent(f"a {event.type.token} event has no last value: use publish_event")
        if not self._owned(event.eid):
            self.context.counters.unowned += 1
            return
        own = self._own(event.state_key)
        if own.event is not None and own.event.same_value(event):
            self.context.counters.unchanged += 1
            return
        own.set(event)
        self._send(own)

    def retract(self, key: StateKey) -> None:
        """Have no value for this state any more."""
        if not self._owned(key.eid):
            self.context.counters.unowned += 1
            return
        own = self._own(key)
        if own.event is None and own.settled:
            return
        own.set(None)
        self._send(own)

    def own_value(self, key: StateKey) -> Event | None:
        """The last value that this client published, whether it is on the stream already or not."""
        own = self._states.get(key)
        return None if own is None else own.event

    @property
    def idle(self) -> bool:
        """Whether all that was published is on the stream, but for what waits for a lease that another server has."""
        if len(self.outbox):
            return False
        # Nobody knows when a contest ends, and who flushes is about to leave.
        return all(self._is_contested(eid) for eid in self._states.unsettled_servers())

    # What happens

    def session_began(self) -> None:
        """There is a connection: leases are written first of all, then what is not on the stream."""
        self.connected = True
        for claim in list(self.claims.values()):
            claim.reconnected()
        self._resume_unclaimed()

    def session_ended(self) -> None:
        """The connection is gone, and nobody knows what of all in flight has been stored."""
        self.connected = False
        self.outbox.give_up_all()

    def stalled(self) -> bool:
        """This process stood still for so long that another may have taken what it holds. Returns whether there is
        anything to lose; then what was read before is not to be trusted."""
        claims = [claim for claim in self.claims.values() if claim.state is ClaimState.HELD]
        if claims:
            self.view.interrupt()
        for claim in claims:
            claim.stalled()
        return bool(claims)

    def replay_began(self, reset: bool) -> None:
        """A replay begins; with `reset`, of another stream, into which everything has to be published again."""
        if reset:
            # Sequences of the lost store mean nothing in this one, and none of our values is in it.
            for own in self._states:
                own.sequence = 0
                self._states.unsettle(own)
            for claim in list(self.claims.values()):
                claim.forget_sequences()
            for eid in self._states.servers():
                self._resume(eid)

    def replay_ended(self) -> None:
        """Publish again what the stream should hold and does not."""
        for own in self._states:
            if not own.settled:
                # It is on its way already, or waits for the lease.
                continue
            state = self.view.states.get(own.key)
            on_stream = state is not None and state.on_stream
            if own.event is None:
                wrong = on_stream
            else:
                # Another sequence: somebody wrote while nothing was read here.
                wrong = not on_stream or (state is not None and state.stream_sequence != own.sequence)
            if wrong:
                self._correct(own)
        self.leases_changed()
        self._resume_unclaimed()

    def leases_changed(self, eid: EID | None = None) -> None:
        """Let claims look at what was read."""
        for claim in list(self.claims.values()) if eid is None else filter(None, [self.claims.get(eid)]):
            claim.evaluate()

    def state_read(self, key: StateKey, event: Event | None, sequence: int) -> None:
        """Something was read on the subject of a state, None for a marker. If the state is ours, it must be ours."""
        own = self._states.get(key)
        # While it is unsettled our value is on its way, which replaces what was read. What is not newer than our
        # last acknowledgement is our own write, or was there before it.
        if own is None or not own.settled or sequence <= own.sequence:
            return
        own.sequence = sequence
        sent = own.sent
        if event is None or own.event is None or sent is None:
            wrong = (event is None) != (own.event is None)
        else:
            # Of two processes that began in the same millisecond the numbers are the same, but not what they say.
            wrong = event.epoch != sent.epoch or event.sequence != sent.sequence or event.elements != sent.elements
        if wrong:
            self._correct(own)

    def echo(self, key: StateKey, body: bytes) -> Event | None:
        """The event in `body` if it is what we sent last: no need to decode it again."""
        own = self._states.get(key)
        return own.sent if own is not None and own.body == body else None

    def tick(self) -> None:
        """Once every `FederationSettings.tick`: renewals, corrections that had to wait, leases."""
        now, settings = self.context.clock(), self.context.settings
        was_late = now - self.last_tick > settings.stall
        self.last_tick = now
        for claim in list(self.claims.values()):
            claim.evaluate()
        if was_late:  # until now no claim counted as held
            for eid in self._states.unsettled_servers():
                self._resume(eid)
        for own in self._corrections.due(now, settings.correction_interval):
            if own.settled:
                self._correct(own)
        self._renew()

    # What claims and own states ask

    def epoch(self, eid: EID) -> int | None:
        """The epoch to publish a server's states under, or None while that must wait."""
        claim = self.claims.get(eid)
        if claim is not None:
            # Held is not enough: after a new connection the lease has to be written again before states follow it.
            return claim.epoch if claim.held and claim.confirmed else None
        if not self.view.synced:
            # A third party's epoch has to be above all that stand on the stream, and not all were read.
            return None
        if eid not in self._epochs:
            self._epochs[eid] = max(int(self.context.wall_clock() * 1000), self.view.highest_epoch(eid) + 1)
        return self._epochs[eid]

    def next_sequence(self) -> int:
        self._sequence += 1
        return self._sequence

    def ttl(self, kind: EventType) -> float | None:
        """How long a state stays on the stream; None: no end."""
        keep = kind_of(kind).may_be_kept and self.context.settings.mailboxes is MailboxDeparture.KEEP
        return None if keep else self.context.settings.state_ttl

    def all_stored(self, eid: EID) -> bool:
        return self._states.is_settled(eid)

    def claim_confirmed(self, claim: Claim) -> None:
        for own in self._states.of(claim.eid):
            # Published under our earlier epoch: what a rival stored between the two would win over it.
            if own.settled and own.sent is not None and own.sent.epoch != claim.epoch:
                self._states.unsettle(own)
        self._resume(claim.eid)

    def claim_ended(self, claim: Claim) -> None:
        if claim.state is ClaimState.LOST:
            self.context.counters.leases_lost += 1
        for own in self._states.pop(claim.eid):
            self.outbox.withdraw(own.subject)
            self._corrections.forget(own.key)
            # One that is in flight may still be answered: that must not count as something lacking.
            own.settled = True

    def settle(self, own: OwnState) -> None:
        """It is on the stream as it should be."""
        if self._states.settle(own):
            # The lease may say now that the server is complete.
            self.leases_changed(own.key.eid)

    def drop(self, own: OwnState) -> None:
        """Forget it."""
        self._states.remove(own)
        self.settle(own)

    # Within

    def _owned(self, eid: EID) -> bool:
        claim = self.claims.get(eid)
        return claim is None or claim.state not in (ClaimState.LOST, ClaimState.RELEASED)

    def _is_contested(self, eid: EID) -> bool:
        claim = self.claims.get(eid)
        return claim is not None and claim.state is ClaimState.CONTESTED

    def _own(self, key: StateKey) -> OwnState:
        own = self._states.get(key)
        if own is None:
            own = OwnState(self, key, self.context.subjects.state(key))
            self._states.add(own)
            self._renewals.add(own)
        return own

    def _send(self, own: OwnState) -> None:
        self._states.unsettle(own)
        if self.epoch(own.key.eid) is not None:
            self.outbox.put(own)

    def _resume(self, eid: EID) -> None:
        if self.epoch(eid) is not None:
            # Else they stay unsettled until the lease is confirmed, which calls this again.
            for own in self._states.unsettled(eid):
                self.outbox.put(own)

    def _resume_unclaimed(self) -> None:
        for eid in [eid for eid in self._states.unsettled_servers() if eid not in self.claims]:
            self._resume(eid)

    def _correct(self, own: OwnState) -> None:
        if own.key.eid not in self.claims and own.key.eid in self.view.leases:
            self.drop(own)  # a third party gives way to the owner
            return
        if self._corrections.take(own, self.context.clock(), self.context.settings.correction_interval):
            self.context.counters.corrected += 1
            self._send(own)

    def _renew(self) -> None:
        for own in self._renewals.turn(self.context.settings):
            if self._states.get(own.key) is not own:
                # Its claim ended. A state of that name that came later has its own place in the round.
                continue
            if own.event is None and own.settled and own.key not in self.view.states:
                # The tombstone was forgotten everywhere: nothing is left to defend.
                self._states.remove(own)
                continue
            self._renewals.add(own)
            if own.event is not None and own.settled and self.ttl(own.key.type) is not None:
                self.context.counters.renewed += 1
                if self.epoch(own.key.eid) is None:
                    self._send(own)
                else:
                    self.outbox.put(own)  # it is on the stream already, so the lease need not say that it lacks
