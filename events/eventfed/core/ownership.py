"""What this client publishes: its own last value of each state, and the claims under which it does. No I/O."""

import logging
import time
from collections import deque
from collections.abc import Callable

from ..model.eid import EID
from ..model.elements import EventType
from ..model.errors import MalformedEvent
from ..model.event import Event, StateKey
from ..model.kinds import KINDS, kind_of
from ..wire.envelope import MAX_ENVELOPE, encode_envelope
from ..wire.subjects import Subjects
from .claims import Claim, ClaimState
from .counters import FederationCounters
from .messages import Message, Refusal
from .outbox import Outbox
from .settings import FederationSettings, MailboxDeparture
from .view import View

__all__ = ["OwnState", "Ownership"]

_log = logging.getLogger("eventfed.federation")


class OwnState:
    """One state that this client owns: its last value, or the wish that there be none."""

    __slots__ = ("_changed", "_home", "body", "corrected_at", "event", "key", "sent", "sequence", "settled", "subject")

    urgent = False

    def __init__(self, home: "Ownership", key: StateKey, subject: str) -> None:
        self.key = key
        self.subject = subject
        self.event: Event | None = None
        self.sent: Event | None = None
        self.body = b""
        self.settled = False
        self.sequence = 0
        self.corrected_at = float("-inf")
        self._home = home
        self._changed = False

    def set(self, event: Event | None) -> None:
        if self._changed:
            self._home.counters.coalesced += 1
        self.event = event
        self._changed = True

    def build(self) -> Message | None:
        home = self._home
        epoch = home.epoch(self.key.eid)
        if epoch is None:
            return None
        self._changed = False
        if self.event is None:
            state = home.view.states.get(self.key)
            expected = max(self.sequence, state.stream_sequence if state is not None else 0)
            if expected == 0:
                home.settle(self)
                return None
            return Message(b"", home.settings.tombstone_ttl, expected, tombstone=True)
        self.sent = self.event.stamped(epoch=epoch, sequence=home.next_sequence())
        self.body = encode_envelope(self.sent)
        if len(self.body) > MAX_ENVELOPE:
            home.counters.oversized += 1
            _log.error("%s: an envelope of %d bytes is too large, the value is dropped", self.subject, len(self.body))
            home.drop(self)
            return None
        return Message(self.body, home.ttl(self.key.type))

    def stored(self, sequence: int) -> None:
        self.sequence = sequence
        if not self._changed:
            self._home.settle(self)

    def refused(self, refusal: Refusal) -> bool:
        if refusal.last_sequence is None:
            return True
        self.sequence = refusal.last_sequence
        if refusal.last_sequence == 0 and self.event is None:
            self._home.settle(self)
            return False
        return True


class Ownership:
    """All claims and own states of one client. It is the `Holder` of its claims.

    Args:
        agent: who we are; `instance` tells two processes of that name apart.
        clock: seconds, monotonic.
        wall_clock: seconds since 1970.
    """

    def __init__(
        self,
        *,
        agent: str,
        instance: str,
        subjects: Subjects,
        view: View,
        outbox: Outbox,
        settings: FederationSettings,
        counters: FederationCounters,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.agent = agent
        self.instance = instance
        self.subjects = subjects
        self.view = view
        self.outbox = outbox
        self.settings = settings
        self.counters = counters
        self.clock = clock
        self.wall_clock = wall_clock
        self.connected = False
        self.last_tick = clock()
        self.claims: dict[EID, Claim] = {}
        self._states: dict[EID, dict[StateKey, OwnState]] = {}
        self._unsettled: dict[EID, set[StateKey]] = {}
        self._epochs: dict[EID, int] = {}
        self._sequence = 0
        self._corrections: dict[StateKey, OwnState] = {}
        self._renewals: deque[OwnState] = deque()
        self._renewal_debt = 0.0

    def configure(self, settings: FederationSettings) -> None:
        """Other times: states whose TTL comes, goes or grows are published again: on the stream they end too soon."""
        before = {kind: self.ttl(kind) for kind in KINDS}
        self.settings = settings
        after = {kind: self.ttl(kind) for kind in KINDS if self.ttl(kind) != before[kind]}
        turned = {kind for kind, ttl in after.items() if ttl is None or ttl > (before[kind] or 0)}
        for own in [own for states in self._states.values() for own in states.values()]:
            if own.event is not None and own.key.type in turned:
                self._send(own)

    # What the user wants

    def claim(self, eid: EID, *, uid: str, name: str, address: str, on_change: Callable[[Claim], None] | None) -> Claim:
        """Wish to serve a member. A claim of the same EID that was lost or released before is replaced."""
        before = self.claims.get(eid)
        if before is not None and before.state not in (ClaimState.LOST, ClaimState.RELEASED):
            raise ValueError(f"{eid} is claimed already: release that claim first")
        claim = Claim(self, self.subjects.member(eid), eid, uid=uid, name=name, address=address, on_change=on_change)
        self.claims[eid] = claim
        claim.evaluate()
        return claim

    def publish(self, event: Event) -> None:
        """Make `event` the last value of its state."""
        if event.type not in KINDS or not KINDS[event.type].has_state:
            raise MalformedEvent(f"a {event.type.token} event has no last value: use publish_event")
        if not self._owned(event.eid):
            self.counters.unowned += 1
            return
        own = self._own(event.state_key)
        if own.event is not None and own.event.same_value(event):
            self.counters.unchanged += 1
            return
        own.set(event)
        self._send(own)

    def retract(self, key: StateKey) -> None:
        """Have no value for this state any more."""
        if not self._owned(key.eid):
            self.counters.unowned += 1
            return
        own = self._own(key)
        if own.event is None and own.settled:
            return
        own.set(None)
        self._send(own)

    def own_value(self, key: StateKey) -> Event | None:
        """The last value that this client published, whether it is on the stream already or not."""
        own = self._states.get(key.eid, {}).get(key)
        return None if own is None else own.event

    @property
    def idle(self) -> bool:
        """Whether all that was published is on the stream."""
        return not self._unsettled and not len(self.outbox)

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
            for states in self._states.values():
                for own in states.values():
                    own.sequence = 0
                    self._unsettle(own)
            for claim in list(self.claims.values()):
                claim.forget_sequences()
            for eid in list(self._states):
                self._resume(eid)

    def replay_ended(self) -> None:
        """Publish again what the stream should hold and does not."""
        for states in self._states.values():
            for own in [own for own in states.values() if own.settled]:
                state = self.view.states.get(own.key)
                on_stream = state is not None and state.on_stream
                if own.event is None:
                    wrong = on_stream
                else:
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
        states = self._states.get(key.eid)
        own = states.get(key) if states is not None else None
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
        states = self._states.get(key.eid)
        own = states.get(key) if states is not None else None
        return own.sent if own is not None and own.body == body else None

    def tick(self) -> None:
        """Once every `FederationSettings.tick`: renewals, corrections that had to wait, leases."""
        now = self.clock()
        was_late = now - self.last_tick > self.settings.stall
        self.last_tick = now
        for claim in list(self.claims.values()):
            claim.evaluate()
        if was_late:  # until now no claim counted as held
            for eid in list(self._unsettled):
                self._resume(eid)
        due = [own for own in self._corrections.values() if own.corrected_at + self.settings.correction_interval <= now]
        for own in due:
            del self._corrections[own.key]
            if own.settled:
                self._correct(own)
        self._renew()

    # What claims and own states ask

    def epoch(self, eid: EID) -> int | None:
        """The epoch to publish a server's states under, or None while that must wait."""
        claim = self.claims.get(eid)
        if claim is not None:
            return claim.epoch if claim.held and claim.confirmed else None
        if not self.view.synced:
            return None
        if eid not in self._epochs:
            self._epochs[eid] = max(int(self.wall_clock() * 1000), self.view.highest_epoch(eid) + 1)
        return self._epochs[eid]

    def next_sequence(self) -> int:
        self._sequence += 1
        return self._sequence

    def ttl(self, kind: EventType) -> float | None:
        """How long a state stays on the stream; None for ever."""
        keep = kind_of(kind).may_be_kept and self.settings.mailboxes is MailboxDeparture.KEEP
        return None if keep else self.settings.state_ttl

    def all_stored(self, eid: EID) -> bool:
        return eid not in self._unsettled

    def claim_confirmed(self, claim: Claim) -> None:
        for own in self._states.get(claim.eid, {}).values():
            if own.settled and own.sent is not None and own.sent.epoch != claim.epoch:
                self._unsettle(own)
        self._resume(claim.eid)

    def claim_ended(self, claim: Claim) -> None:
        if claim.state is ClaimState.LOST:
            self.counters.leases_lost += 1
        for own in self._states.pop(claim.eid, {}).values():
            self.outbox.withdraw(own.subject)
            self._corrections.pop(own.key, None)
            own.settled = True
        self._unsettled.pop(claim.eid, None)

    def settle(self, own: OwnState) -> None:
        """It is on the stream as it should be."""
        own.settled = True
        unsettled = self._unsettled.get(own.key.eid)
        if unsettled is not None:
            unsettled.discard(own.key)
            if not unsettled:
                del self._unsettled[own.key.eid]
                self.leases_changed(own.key.eid)

    def drop(self, own: OwnState) -> None:
        """Forget it."""
        self._states.get(own.key.eid, {}).pop(own.key, None)
        self.settle(own)

    # Within

    def _owned(self, eid: EID) -> bool:
        claim = self.claims.get(eid)
        return claim is None or claim.state not in (ClaimState.LOST, ClaimState.RELEASED)

    def _own(self, key: StateKey) -> OwnState:
        states = self._states.setdefault(key.eid, {})
        own = states.get(key)
        if own is None:
            own = states[key] = OwnState(self, key, self.subjects.state(key))
            self._renewals.append(own)
        return own

    def _unsettle(self, own: OwnState) -> None:
        own.settled = False
        self._unsettled.setdefault(own.key.eid, set()).add(own.key)

    def _send(self, own: OwnState) -> None:
        self._unsettle(own)
        if self.epoch(own.key.eid) is not None:
            self.outbox.put(own)

    def _resume(self, eid: EID) -> None:
        states = self._states.get(eid, {})
        if self.epoch(eid) is not None:
            for key in self._unsettled.get(eid, ()):
                self.outbox.put(states[key])

    def _resume_unclaimed(self) -> None:
        for eid in [eid for eid in self._unsettled if eid not in self.claims]:
            self._resume(eid)

    def _correct(self, own: OwnState) -> None:
        if own.key.eid not in self.claims and own.key.eid in self.view.leases:
            self.drop(own)  # a third party gives way to the owner
            return
        now = self.clock()
        if now - own.corrected_at < self.settings.correction_interval:
            self._corrections[own.key] = own
            return
        own.corrected_at = now
        self.counters.corrected += 1
        self._send(own)

    def _renew(self) -> None:
        """Walk through all own states once in a third of their TTL, a few at each tick."""
        self._renewal_debt += len(self._renewals) * 3 * self.settings.tick / self.settings.state_ttl
        while self._renewal_debt >= 1 and self._renewals:
            self._renewal_debt -= 1
            own = self._renewals.popleft()
            if self._states.get(own.key.eid, {}).get(own.key) is not own:
                continue
            if own.event is None and own.settled and own.key not in self.view.states:
                del self._states[own.key.eid][own.key]
                continue
            self._renewals.append(own)
            if own.event is not None and own.settled and self.ttl(own.key.type) is not None:
                self.counters.renewed += 1
                if self.epoch(own.key.eid) is None:
                    self._send(own)
                else:
                    self.outbox.put(own)  # it is on the stream already, so the lease need not say that it lacks
