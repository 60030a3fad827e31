"""What hangs on a member's EID: the claim on its lease, and what it is given while the claim holds."""

import asyncio
import contextlib
from collections.abc import Callable

from eventfed import EID, Claim, ClaimState, Event, Federation, Lease, StateKey, kind_of
from eventfed.model.device_kinds import LONGEST_ANNOUNCED, is_probably_cut
from eventfed.pace import Backoff

from ..configuration import MemberConfiguration
from ..event_log import Journal
from .dumps import DumpResult
from .injection import Injector
from .mailboxes import MailboxSlots, mailbox_event
from .member_status import Registry
from .names import Filters

__all__ = ["Identity"]

_SHORTEN = (
    f"Asterisk announces names of {LONGEST_ANNOUNCED} bytes at most and cuts longer ones, "
    "which hints and queues of other servers do not match: shorten the name of this device"
)

_RIVAL_FLOOR, _RIVAL_CHECK = 2.0, 10.0
_RIVAL_TRIES = 3
_RETRANSMISSIONS = 32.0 + 4.0
"""For how long what a server repeats may come, in seconds: it repeats for 32 s (Timer F, RFC 3261 17.1.2.2), and its
last repetition is under way for a while."""


class Identity:
    """One member under one EID.

    Several agents may list a server, and it answers each of them that asks. Whose it is, only what it publishes
    tells: so nothing but that lays claim to its lease.

    Args:
        registry: the agent, which knows whether the server of a rival's lease is gone, or answers.
        on_held: called each time the lease has become ours.
        on_free: the agent that took the member over has let go of it; it may be talking to us.
    """

    def __init__(
        self,
        eid: EID,
        configuration: MemberConfiguration,
        federation: Federation,
        slots: MailboxSlots,
        injector: Injector,
        *,
        registry: Registry,
        journal: Journal,
        on_held: Callable[[], None],
        on_free: Callable[[], None],
    ) -> None:
        self.eid = eid
        self.slots = slots
        self.injector = injector
        self.duplicate_of: str | None = None
        self.outdated = False
        """Whether another agent has served the member since: what this one remembers of it is worth nothing."""
        self._configuration = configuration
        self._federation = federation
        self._registry = registry
        self._journal = journal
        self._on_held = on_held
        self._on_free = on_free
        self._claim: Claim | None = None
        self._parted_at = float("-inf")
        self._was_moved = False
        self._waiting: dict[StateKey, Event] = {}
        self._alive = False
        self._withdrawal: asyncio.Timeout | None = None
        self._contested = asyncio.Event()
        self._look_again = asyncio.Event()
        self._contests = Backoff(_RIVAL_FLOOR, _RIVAL_CHECK)

    @property
    def held(self) -> bool:
        """Whether the lease is ours at this moment, to the best of our knowledge."""
        return self._claim is not None and self._claim.undisputed

    @property
    def moved(self) -> bool:
        """Whether another agent serves the member."""
        if self._claim is None or not self.parted:
            return False
        lease = self._federation.view.leases.get(self.eid)
        return (
            lease is not None
            and lease.uid == self._configuration.identity
            and lease.instance != self._federation.instance
        )

    @property
    def parted(self) -> bool:
        """Whether there is no claim, or none any more: nothing that the member says is published by us."""
        return self._claim is None or self._claim.state in (ClaimState.LOST, ClaimState.RELEASED)

    def rosters_changed(self) -> None:
        """A rival may be known to be gone now."""
        self._look_again.set()

    def hears(self) -> bool:
        """Whether to take in what the member publishes.

        Soon after it went to another agent, what it publishes here may be a repetition from before.
        """
        return not self.moved or _now() >= self._parted_at + _RETRANSMISSIONS

    def spoke(self) -> None:
        """The member has published something to us: lay claim to its lease, unless that was done."""
        if self.parted:
            self._claim = self._federation.claim(
                self.eid,
                uid=self._configuration.identity,
                name=self._configuration.name,
                address=self._configuration.address,
                on_change=self._claim_changed,
            )
            self._claim_changed(self._claim)

    def appear(self) -> None:
        """The member is there: inject while its lease is held."""
        self._alive = True
        self._update_gate()

    def disappear(self) -> None:
        """The member is away: give the lease back, which starts the grace everywhere."""
        self._alive = False
        self.duplicate_of = None
        self.injector.close()
        if self._claim is not None:
            self._parted_at = _now()
            self._claim.release()

    def publish(self, event: Event) -> None:
        """Bring one of the member's own states onto the bus, now or once the lease is held."""
        if not kind_of(event.type).is_counted and is_probably_cut(event.key):
            self._journal.warn("name_probably_cut", event.key, member=self._configuration.name, advice=_SHORTEN)
        # What waits is sent when we are told that the lease is ours, a moment after it is; nothing may overtake it.
        if self._claim is not None and self._claim.state is ClaimState.HELD and not self._waiting:
            self._federation.publish(event)
        else:
            self._waiting[event.state_key] = event

    def repeat_mailboxes(self, filters: Filters) -> None:
        """Publish what the member said of mailboxes and the bus lacks; its dumps leave out those injected into."""
        for mailbox in self.slots.known():
            counts = self.slots.own(mailbox)
            event = mailbox_event(mailbox, counts, self.eid) if counts is not None else None
            if event is None or not filters.publishes(event.type, mailbox):
                continue
            if self.last_word(event.state_key) is None:
                self.publish(event)

    def last_word(self, key: StateKey) -> Event | None:
        """What the member said last of one state."""
        return self._waiting.get(key) or self._federation.own_value(key) or self._federation.get(key)

    def is_on_bus(self, key: StateKey) -> bool:
        """Whether nothing that the member said of a state has yet to reach the stream and come back."""
        if key in self._waiting:
            return False
        own, state = self._federation.own_value(key), self._federation.view.states.get(key)
        return own is None or (
            state is not None and state.on_stream and state.event is not None and own.same_value(state.event)
        )

    def retract(self, keys: list[StateKey]) -> None:
        """Take back own states that are no more."""
        for key in keys:
            self._waiting.pop(key, None)
            if self._claim is not None and self._claim.state is ClaimState.HELD:
                self._federation.retract(key)

    def forget(self, mailbox: StateKey) -> None:
        """Take back what the member said of a mailbox, until it names it again; does nothing where it is not ours."""
        if self.held:
            self._journal.info("mailbox_forgotten", self._configuration.name, mailbox=mailbox.key)
            self.slots.forget_mailbox(mailbox.key)
            self.retract([mailbox])
            self.injector.touch(mailbox.key)

    def dump_ended(self, result: DumpResult) -> None:
        """Take back devices that the member has no more; after a dump without gaps nothing is left to come."""
        self.retract(sorted(result.missing))
        if result.whole and self._claim is not None and self._claim.state is ClaimState.HELD:
            self._claim.complete()

    def open_states(self) -> set[StateKey]:
        """What is on the bus under this EID and stands in each dump: all but mailboxes."""
        view = self._federation.view
        return {key for key in view.of(self.eid) if not kind_of(key.type).is_counted and not view.states[key].tombstone}

    async def withdraw(self, within: float) -> bool:
        """Take back everything that was injected, within `within` seconds; whether that was done."""
        if not self.held:
            return False
        self.injector.withdraw()
        try:
            async with asyncio.timeout(within) as self._withdrawal:
                await self.injector.wait_idle()
        except TimeoutError:
            self._journal.warn("withdrawal_incomplete", self._configuration.name, left=self.injector.backlog)
            return False
        finally:
            self._withdrawal = None
        return True

    def hurry(self) -> None:
        """End a withdrawal that is under way: there is nobody to withdraw from, or no time."""
        if self._withdrawal is not None and not self._withdrawal.expired():
            self._withdrawal.reschedule(_now())

    async def run(self) -> None:
        """Inject, and settle contests, until cancelled."""
        unlisten = self._federation.view.listen(self._look)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.injector.run())
                while True:
                    await self._contested.wait()
                    self._contested.clear()
                    await self._contest()
        finally:
            unlisten()

    def _look(self) -> None:
        """See whether another agent has the member now, or has it no more."""
        before, self._was_moved = self._was_moved, self.moved
        self.outdated = self.outdated or self._was_moved
        if before and not self._was_moved and self.parted:
            self._on_free()

    def _claim_changed(self, claim: Claim) -> None:
        if self._claim is not None and claim is not self._claim:
            return
        self._journal.debug("claim", self._configuration.name, state=claim.state.value, held=claim.held)
        if claim.held:
            self.duplicate_of = None
            for key in self._federation.view.of(self.eid):
                event = self._federation.get(key)
                if kind_of(key.type).is_counted and event is not None:
                    # The server leaves a mailbox out of its dump once somebody else's count stands in its slot, so
                    # what it said last is ours to keep on the bus now.
                    self.slots.remember_own(key.key, event.counts)
                    # After a standstill the member may have said something newer before we hear that the lease is ours.
                    if self._federation.own_value(key) is None:
                        self._waiting.setdefault(key, event)
            waiting, self._waiting = self._waiting, {}
            for event in waiting.values():
                self._federation.publish(event)
            self._on_held()
        elif claim.state is ClaimState.CONTESTED:
            self._contested.set()
        elif claim.state is ClaimState.LOST:
            self.outdated = True
            self._parted_at = _now()
            self._look()
            rival = claim.rival
            # The same server at another agent is what each rollout does; another server under its EID is not.
            say = self._journal.info if rival and rival.uid == self._configuration.identity else self._journal.warn
            say("member_moved", self._configuration.name, eid=str(self.eid), agent=rival.agent if rival else None)
        self._update_gate()

    def _update_gate(self) -> None:
        if self.held and self._alive and self.duplicate_of is None:
            self.injector.open()
        else:
            self.injector.close()

    async def _contest(self) -> None:
        """Another server holds our EID: a duplicate if it answers, a predecessor if it does not."""
        while (rival := self._rival()) is not None:
            self._look_again.clear()
            gone = self._registry.is_gone(rival.uid)
            # Two agents that cannot reach each other's member would take the lease from each other in turn.
            if not gone and not self._contests.left(_now()):
                gone = not await self._rival_answers(rival.address)
                self._contests.rest(_now())
                if not gone:
                    self._journal.warn("duplicate_eid", self._configuration.name, eid=str(self.eid), holder=rival.name)
                    self.duplicate_of = f"{rival.name} ({rival.address}, agent {rival.agent})"
            if gone:
                self._journal.info("member_replaces", self._configuration.name, predecessor=rival.name)
                if self._claim is not None and self._rival() is not None:
                    self._claim.force()
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._contests.left(_now())):
                    await self._look_again.wait()
                self._contests.hurry(_now())

    def _rival(self) -> Lease | None:
        claim = self._claim
        return claim.rival if claim is not None and claim.state is ClaimState.CONTESTED else None

    async def _rival_answers(self, address: str) -> bool:
        for _ in range(_RIVAL_TRIES):
            if await self._registry.answers(address):
                return True
        return False


def _now() -> float:
    return asyncio.get_running_loop().time()
