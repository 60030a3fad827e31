"""What hangs on a member's EID: the claim on its lease, and what it is given while the claim holds."""

import asyncio
from typing import Protocol

from eventfed import EID, Claim, ClaimState, Event, Federation, StateKey, kind_of
from eventfed.model.device_kinds import LONGEST_ANNOUNCED, is_probably_cut

from ..configuration import MemberConfiguration, TimingSection
from ..event_log import EventLog
from .contest import Contest
from .dumps import DumpResult
from .injection import Injector
from .mailboxes import MailboxSlots, mailbox_event, mailbox_key
from .member_status import Registry
from .names import Filters

__all__ = ["Identity", "IdentityHost"]

_SHORTEN = (
    f"Asterisk announces names of {LONGEST_ANNOUNCED} bytes at most and cuts longer ones, "
    "which hints and queues of other servers do not match: shorten the name of this device"
)

_RETRANSMISSIONS = 32.0 + 4.0
"""For how long what a server repeats may come, in seconds: it repeats for 32 s (Timer F, RFC 3261 17.1.2.2), and its
last repetition is under way for a while."""


class IdentityHost(Protocol):
    """The member, as its identity sees it."""

    def lease_held(self) -> None:
        """The lease has become ours; told each time."""
        ...

    def lease_freed(self) -> None:
        """The agent that took the member over has let go of it; the member may be talking to us."""
        ...

    def rivals_changed(self) -> None:
        """`Identity.duplicate_of`, `moved` or `held` may have changed."""
        ...


class Identity:
    """One member under one EID.

    Several agents may list a server, and it answers each of them that asks. Whose it is, only what it publishes
    tells: so nothing but that lays claim to its lease.

    Args:
        registry: the agent, which knows whether the server of a rival's lease is gone, or answers.
        host: the member.
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
        event_log: EventLog,
        host: IdentityHost,
    ) -> None:
        self.eid = eid
        self.slots = slots
        self.injector = injector
        self.outdated = False
        """Whether another agent has served the member since: what this one remembers of it is worth nothing."""
        self._configuration = configuration
        self._federation = federation
        self._event_log = event_log
        self._host = host
        self._claim: Claim | None = None
        self._parted_at = float("-inf")
        self._was_moved = False
        self._unheard: dict[StateKey, Event] = {}
        """What the member said of mailboxes and a released claim kept from the bus; until there is another claim."""
        self._alive = False
        self._withdrawal: asyncio.Timeout | None = None
        self._contest = Contest(configuration, registry, event_log, lambda: self._claim, host.rivals_changed)

    @property
    def duplicate_of(self) -> str | None:
        """Which other server has the EID, and answers."""
        return self._contest.duplicate_of

    @property
    def held(self) -> bool:
        """Whether the lease is ours at this moment, to the best of our knowledge."""
        return self._claim is not None and self._claim.undisputed

    @property
    def idle(self) -> bool:
        """Whether the member has been given everything that is due to it."""
        return self.injector.idle

    @property
    def contended(self) -> list[str]:
        """Mailboxes that the server overwrites after each injection (pollmailboxes=yes)."""
        return self.slots.contended

    @property
    def moved(self) -> bool:
        """Whether another agent serves the member."""
        if self._claim is None or not self.parted:
            # A lease that was there before the member spoke to us is no proof that it has left us; a claim that
            # stands is judged by the claim itself.
            return False
        lease = self._federation.view.leases.get(self.eid)
        # Another uid is another server under the same EID: that is a contest, and this member is still ours.
        return (
            lease is not None
            and lease.uid == self._configuration.identity
            and lease.instance != self._federation.instance
        )

    @property
    def parted(self) -> bool:
        """Whether there is no claim, or none any more: nothing that the member says is published by us."""
        return self._claim is None or self._claim.state in (ClaimState.LOST, ClaimState.RELEASED)

    @property
    def _has_lease(self) -> bool:
        """Whether the claim is HELD, though this process may have stood still since."""
        return self._claim is not None and self._claim.state is ClaimState.HELD

    def rosters_changed(self) -> None:
        """A rival may be known to be gone now."""
        self._contest.look_again()

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
            # The same room again: they wait there for the lease, and nothing that comes later overtakes them.
            unheard, self._unheard = self._unheard, {}
            for event in unheard.values():
                self._federation.publish(event)
            self._claim_changed(self._claim)

    def appear(self) -> None:
        """The member is there: inject while its lease is held."""
        self._alive = True
        self._update_gate()

    def disappear(self) -> None:
        """The member is away: give the lease back, which starts the grace everywhere."""
        self._alive = False
        # A duplicate is told so that people give this server another EID; there is nobody to tell it of now.
        self._contest.duplicate_of = None
        self.injector.close()
        if self._claim is not None:
            self._parted_at = _now()
            # The release drops what was not stored. The next dump brings devices again, but leaves out a mailbox that
            # was injected into (main/mwi.c), so its last word is kept here.
            for mailbox in self.slots.known():
                key = mailbox_key(mailbox, self.eid)
                word = self._federation.own_value(key)
                if word is not None and not self.is_on_bus(key):
                    self._unheard[key] = word
            self._claim.release()
        self._host.rivals_changed()

    def retime(self, timing: TimingSection) -> None:
        """Other times."""
        self.slots.contended_pause = timing.contended_pause

    def refilter(self, filters: Filters) -> None:
        """Other filters: withdraw from bus and member what passes no longer, bring what passes now."""
        self.retract([key for key in self._federation.view.of(self.eid) if not filters.publishes(key.type, key.key)])
        self.injector.refilter(filters)
        self.repeat_mailboxes(filters)

    def inject_transient(self, event: Event) -> None:
        """Give it a device state of another server that Asterisk tells once and does not keep."""
        self.injector.inject_transient(event)

    def give_everything(self) -> None:
        """The member may have forgotten everything."""
        self.injector.restart()

    def publish(self, event: Event) -> None:
        """Bring one of the member's own states onto the bus; the federation client keeps it until the lease is held."""
        if not kind_of(event.type).is_counted and is_probably_cut(event.key):
            self._event_log.warn("name_probably_cut", event.key, member=self._configuration.name, advice=_SHORTEN)
        if not self.parted:
            self._federation.publish(event)
        # Else there is no room to wait in. Only mailboxes that other filters let pass come here then, and they are
        # repeated once the lease is held.

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
        return self._unheard.get(key) or self._federation.own_value(key) or self._federation.get(key)

    def is_on_bus(self, key: StateKey) -> bool:
        """Whether nothing that the member said of a state has yet to reach the stream and come back."""
        own, state = self._federation.own_value(key), self._federation.view.states.get(key)
        if own is None:
            return key not in self._unheard
        if not self._has_lease:
            # What stands there was published under another's lease, though it may say the same.
            return False
        return state is not None and state.on_stream and state.event is not None and own.same_value(state.event)

    def retract(self, keys: list[StateKey]) -> None:
        """Take back own states that are no more."""
        for key in keys:
            self._unheard.pop(key, None)
            # Before the lease is held only what waits for it is ours to take back: what stands on the bus is another
            # agent's. The dump that follows the lease takes it back where the member has it no more.
            if self._has_lease or self._federation.own_value(key) is not None:
                self._federation.retract(key)

    def forget(self, mailbox: StateKey) -> None:
        """Take back what the member said of a mailbox, until it names it again; does nothing where it is not ours."""
        if self.held:
            self._event_log.info("mailbox_forgotten", self._configuration.name, mailbox=mailbox.key)
            self.slots.forget_mailbox(mailbox.key)
            self.retract([mailbox])
            self.injector.mark_dirty(mailbox.key)

    def dump_ended(self, result: DumpResult) -> None:
        """Take back devices that the member has no more; after a dump without gaps nothing is left to come."""
        self.retract(sorted(result.missing))
        if result.whole and self._claim is not None and self._has_lease:
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
            self._event_log.warn("withdrawal_incomplete", self._configuration.name, left=self.injector.backlog)
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
                await self._contest.run()
        finally:
            unlisten()

    def _look(self) -> None:
        """See whether another agent has the member now, or has it no more."""
        before, self._was_moved = self._was_moved, self.moved
        # It stays so when the other agent lets go: what that agent published is newer than what is remembered here.
        self.outdated = self.outdated or self._was_moved
        if before and not self._was_moved and self.parted:
            self._host.lease_freed()
        self._host.rivals_changed()

    def _claim_changed(self, claim: Claim) -> None:
        if self._claim is not None and claim is not self._claim:
            # The call was under way when the member spoke again, which made another claim.
            return
        self._event_log.debug("claim", self._configuration.name, state=claim.state.value, held=claim.held)
        if claim.held:
            self._contest.duplicate_of = None
            for key in self._federation.view.of(self.eid):
                event = self._federation.get(key)
                if kind_of(key.type).is_counted and event is not None:
                    # The server leaves a mailbox out of its dump once somebody else's count stands in its slot, so
                    # what it said last is ours to keep on the bus now.
                    self.slots.remember_own(key.key, event.counts)
                    # After a standstill the member may have said something newer before we hear that the lease is ours.
                    if self._federation.own_value(key) is None:
                        self._federation.publish(event)
            self._host.lease_held()
        elif claim.state is ClaimState.CONTESTED:
            self._contest.began()
        elif claim.state is ClaimState.LOST:
            self.outdated = True
            # From now on what comes may be a repetition: see `hears`.
            self._parted_at = _now()
            self._look()
            rival = claim.rival
            # The same server at another agent is what each rollout does; another server under its EID is not.
            say = self._event_log.info if rival and rival.uid == self._configuration.identity else self._event_log.warn
            say("member_moved", self._configuration.name, eid=str(self.eid), agent=rival.agent if rival else None)
        self._update_gate()
        self._host.rivals_changed()

    def _update_gate(self) -> None:
        # A contest may be won a moment before `_claim_changed` is told of it and ends the duplicate.
        if self.held and self._alive and self._contest.duplicate_of is None:
            self.injector.open()
        else:
            self.injector.close()


def _now() -> float:
    return asyncio.get_running_loop().time()
