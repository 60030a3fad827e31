"""One member of the federation, as the agent that serves it sees it."""

import asyncio
import random

from eventfed import EID, Event, EventType, Federation, StateKey, kind_of
from eventfed.spec import VoicemailStorage
from eventfed.wire.report import MemberState

from ..adapter import Adapter, AdapterOutcome, Delivery
from ..configuration import MemberConfiguration, TimingSection
from ..event_log import EventLog
from .dump_rounds import DumpRounds
from .dumps import DumpResult, Dumps
from .foreign_states import ForeignStates, Item
from .identity import Identity
from .injection import Injector, tell_dropped
from .intrusions import INTRUSION, IntrusionWatch
from .lifecycle import Input
from .lifetime import Lifetime
from .liveness import Liveness
from .mailboxes import MailboxSlots
from .member_status import OVERWRITES, MemberCounters, Registry, explain
from .names import PROBE_MAILBOX, PROBE_PREFIX, Filters
from .nobody import Nobody
from .shared_order import SharedMailboxOrder
from .standing import Standing
from .turns import MemberTurns

__all__ = ["Member"]

_PROBES_PASS = f"let ^Custom: pass @device_state_filter, and {PROBE_MAILBOX} @mailbox_state_filter"
_SETTLE = 0.1
_LAST_QUESTION = 2.0


class Member:
    """Serves one Asterisk server: its own states onto the bus, the others' states into it.

    `run` is its life; it hears the server as the `Host` of its adapter; `leave` withdraws everything from it.
    """

    def __init__(
        self,
        configuration: MemberConfiguration,
        adapter: Adapter,
        federation: Federation,
        registry: Registry,
        *,
        filters: Filters,
        timing: TimingSection,
        event_log: EventLog,
    ) -> None:
        self.configuration = configuration
        self.counters = MemberCounters()
        self.identity: Identity | Nobody = Nobody()
        self.intrusions = IntrusionWatch(self._intruded)
        self.adapter = adapter
        self._federation = federation
        self._registry = registry
        self._filters = filters
        self._event_log = event_log
        dumps = Dumps(sweep=timing.sweep * random.uniform(0.9, 1.1))
        self._rounds = DumpRounds(dumps, MemberTurns(), adapter, self)
        self._liveness = Liveness(timing, adapter.is_alive, self._appeared, self._disappeared)
        self._shared_order = SharedMailboxOrder()
        self.standing = Standing(configuration, lambda: registry.strangers, event_log)
        self._restart: asyncio.TimerHandle | None = None
        self._life = Lifetime()

    # --- what others see --------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return self.configuration.name

    @property
    def eid(self) -> EID | None:
        return self.identity.eid

    @property
    def dumps(self) -> Dumps:
        """When it is asked for everything, and what came of it."""
        return self._rounds.dumps

    @property
    def turns(self) -> MemberTurns:
        """When it may be asked, while it refuses or does not answer."""
        return self._rounds.turns

    @property
    def alive(self) -> bool:
        return self._liveness.alive

    @property
    def last_heard(self) -> float:
        return self._liveness.last_heard

    @property
    def injector(self) -> Injector | None:
        return self.identity.injector

    @property
    def contended(self) -> list[str]:
        """Mailboxes that the server overwrites after each injection (pollmailboxes=yes)."""
        return self.identity.contended

    @property
    def duplicate_of(self) -> str | None:
        """Which other server has the same EID and answers."""
        return self.standing.refused[1] if self.standing.refused else self.identity.duplicate_of

    @property
    def state(self) -> MemberState:
        state = self.standing.state
        if state is MemberState.SYNCED and self.eid is not None and self._federation.health.trouble_of(self.eid):
            return MemberState.SYNCING
        return state

    @property
    def reason(self) -> str:
        """Why it is not synced, and what to do; empty when it is, and the bus is well."""
        return explain(
            self.state,
            trouble=self.standing.trouble,
            duplicate_of=self.duplicate_of,
            address=self.configuration.address,
            bus=self._federation.health.reason_for(self.eid),
        )

    # --- life -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve the member until cancelled; then give its lease back."""
        try:
            await self._life.run(self._liveness.run(), self._rounds.run(), self._watch_silence())
        finally:
            self.intrusions.close()
            if self._restart is not None:
                self._restart.cancel()
            self.identity.hurry()
            self.identity.disappear()

    async def _watch_silence(self) -> None:
        while True:
            await asyncio.sleep(self._liveness.timing.not_configured_after)
            if self.eid is None and self.alive:
                self.standing.stayed_silent(asyncio.get_running_loop().time())

    async def leave(self, within: float) -> bool:
        """Take everything back that was injected, within `within` seconds; whether that was done."""
        if self.eid is None or not self.alive or not await self.adapter.is_alive(min(within, _LAST_QUESTION)):
            return False
        return await self.identity.withdraw(within)

    def retime(self, timing: TimingSection) -> None:
        """Other times."""
        self._liveness.timing = timing
        self.dumps.sweep = timing.sweep * random.uniform(0.9, 1.1)
        self.identity.retime(timing)

    def refilter(self, filters: Filters) -> None:
        """Other filters: withdraw from bus and member what passes no longer, bring what passes now."""
        self._filters = filters
        self.identity.refilter(filters)
        if self.eid is not None:
            self._rounds.need("filters", changed=False)

    def refresh(self, reason: str) -> None:
        """Somebody asks for everything again."""
        self._rounds.need(reason)

    def inject_transient(self, event: Event) -> None:
        """Give it a device state of another server that Asterisk tells once and does not keep."""
        self.identity.inject_transient(event)

    def release_identity(self) -> None:
        """Another server has the EID now, and this one does not answer."""
        identity, self.identity = self.identity, Nobody()
        identity.disappear()
        self.standing.take(Input.YIELDED)
        self._life.end_identity()

    # --- what the server says ---------------------------------------------------------------------------------

    @property
    def open(self) -> bool:
        """Whether it takes anything in. Outside of its life a repetition finds another member."""
        return self._life.open

    def left(self) -> None:
        """The server said goodbye."""
        self._liveness.said_goodbye()

    def identified(self, eid: EID) -> bool:
        """Whether the server may speak under this EID; a new one becomes its own."""
        if self._is_own(eid):
            return True
        if self.duplicate_of is not None:
            self._rounds.refused()
        return False

    def spoke(self) -> bool:
        """The server published something; whether to take it in."""
        if not self.identity.hears():
            return False
        if self.identity.eid is not None and self.identity.outdated:
            self._identify(self.identity.eid)
        self.identity.spoke()
        self._liveness.spoke()
        return True

    def missed(self) -> None:
        """Something that the server published was lost."""
        self.counters.gaps += 1
        self.dumps.gap()
        self._rounds.need("gap", changed=False)

    def trouble(self, why: str) -> None:
        """Something that the server sent was refused."""
        self.standing.evidence.we_refused(why, asyncio.get_running_loop().time())

    def _is_own(self, eid: EID) -> bool:
        """Whether the member may speak under this EID; a new one becomes its own."""
        if self.eid == eid:
            return self.duplicate_of is None
        configured = self.configuration.eid
        if eid == self._registry.federation_eid or (configured is not None and configured != str(eid)):
            self.counters.foreign += 1
            expected = configured or "one of its own"
            self._event_log.warn("foreign_eid", self.name, eid=str(eid), expected=expected)
            why = f"its EID is {eid}, expected is {expected}: correct entityid in asterisk.conf, or eid of this member"
            self.trouble(why)
            return False
        holder = self._registry.holder(eid)
        if holder is not None and holder is not self:
            if holder.alive:
                self.counters.refused += 1
                self.standing.refuse(eid, f"{holder.name} ({holder.configuration.address})")
                self._event_log.warn("duplicate_eid", self.name, eid=str(eid), holder=holder.name)
                return False
            holder.release_identity()
        self._identify(eid)
        return True

    def heard(self, event: Event) -> None:
        """The server published one of its own states."""
        self.counters.heard += 1
        identity = self.identity
        assert isinstance(identity, Identity)  # a state names its EID, so _is_own has seen to it
        if event.key.startswith(PROBE_PREFIX) or event.key == PROBE_MAILBOX:
            self._rounds.heard_probe(event)
            return
        self.dumps.hear(event)
        if kind_of(event.type).is_counted:
            if self.shares_mailboxes:
                # What answers a request may have been made before the injection arrived.
                overwritten = identity.slots.overwritten(event.key) and not self.dumps.draining
                before, others = (
                    identity.last_word(event.state_key),
                    self._federation.view.by_server(event.type, event.key),
                )
                event = self._shared_order.number(event, before, others, overwritten=overwritten)
            if not identity.slots.announced(event.key, event.counts, asyncio.get_running_loop().time()):
                return
            if identity.slots.is_contended(event.key):
                self._event_log.warn("mailbox_contended", self.name, mailbox=event.key, advice=OVERWRITES)
            identity.injector.mark_dirty(event.key)
        if not self._filters.publishes(event.type, event.key):
            self.counters.filtered += 1
        elif event.cachable:
            self.counters.published += 1
            identity.publish(event)
        elif self._filters.asks_for(event.type, event.key):
            self.counters.published += 1
            self._federation.publish_event(event)
        else:
            self.counters.not_cachable += 1

    # --- evidence ---------------------------------------------------------------------------------------------

    def rivals_changed(self) -> None:
        """Another server, or another agent, has come or gone that claims the EID."""
        self.standing.take(Input.NO_RIVAL if self.identity.duplicate_of is None else Input.RIVAL)
        self.standing.take(Input.MOVED if self.identity.moved else Input.RETURNED)
        self.look()

    def look(self) -> None:
        """See whether the member has caught up: it has told everything and was given everything."""
        if self.standing.state is not MemberState.SYNCING:
            return
        telling = not self.dumps.completed or (self.shares_mailboxes and self.dumps.draining)
        told = not telling and self.identity.held
        if told and self._restart is None and self.identity.idle:
            self.standing.take(Input.CAUGHT_UP)

    def lost_touch(self, reason: str, *, restarted: bool = False) -> None:
        """It restarted, reloaded or lost us: ask it for everything, and give it everything."""
        if restarted:
            self.counters.restarts += 1
            self._shared_order.restarted()
        self.intrusions.explained()
        self.dumps.gap()  # the first part of the dump that is under way may have gone to another agent
        self._rounds.need(reason)
        if self._restart is None:
            # An Asterisk that starts sends an initial PUBLISH for each event package within a moment.
            self._restart = asyncio.get_running_loop().call_later(_SETTLE, self._give_everything)

    def _give_everything(self) -> None:
        self._restart = None
        self.standing.take(Input.BEHIND)
        self.identity.give_everything()

    def _appeared(self) -> None:
        self._event_log.info("member_answers", self.name, address=self.configuration.address)
        self.standing.take(Input.ANSWERS)
        self._rounds.need("connected")
        self.identity.appear()

    def _disappeared(self, why: str) -> None:
        self.standing.take(Input.LOST)
        self._event_log.info("member_lost", self.name, why=why)
        self.identity.hurry()
        self.identity.disappear()

    def _identify(self, eid: EID) -> None:
        self.release_identity()
        filters, pause = self._filters, self._liveness.timing.contended_pause
        slots = MailboxSlots(eid, filters.storage, filters.injection, contended_pause=pause)
        view = self._federation.view
        states = ForeignStates(
            eid=eid,
            federation_eid=self._registry.federation_eid,
            view=view,
            filters=filters,
            slots=slots,
            last_word=self.last_word,
        )
        injector = Injector(states, view, adapter=self.adapter, turns=self.turns, host=self)
        self.identity = Identity(
            eid,
            self.configuration,
            self._federation,
            slots,
            injector,
            registry=self._registry,
            event_log=self._event_log,
            host=self,
        )
        self.standing.identified()
        self._life.start_identity(self.identity.run())
        self._event_log.info("member_identified", self.name, eid=str(eid))
        if self.alive:
            self.identity.appear()
        self._rounds.learned_eid()
        self._rounds.need("identified")

    def lease_held(self) -> None:
        self.standing.take(Input.BEHIND)
        self.identity.repeat_mailboxes(self._filters)
        self._rounds.claimed()

    def lease_freed(self) -> None:
        self.standing.take(Input.BEHIND)
        self._rounds.need("freed")  # if it is us whom the member publishes to, the dump will come here

    def dump_asked(self) -> None:
        self.standing.evidence.it_accepted()

    def went_wrong(self, outcome: AdapterOutcome) -> None:
        label = outcome.label or outcome.delivery.value
        self.counters.failures[label] = self.counters.failures.get(label, 0) + 1
        if outcome.delivery is Delivery.REFUSED and outcome.advice:
            self.standing.lacks(outcome.advice)

    def _intruded(self) -> None:
        self._event_log.warn("possible_intrusion", self.name, **INTRUSION)
        # What was forged under another server's EID ends when that server's state is given again.
        self._give_everything()

    def last_word(self, key: StateKey) -> Event | None:
        return self.identity.last_word(key)

    def may_inject(self) -> bool:
        return self.identity.held

    def delivered(self, event: Event) -> None:
        self._registry.delivered(event)

    def dropped(self, item: Item, why: str) -> None:
        tell_dropped(self._event_log, self.name, item, why)

    # --- dumps ------------------------------------------------------------------------------------------------

    @property
    def can_dump(self) -> bool:
        return self.alive and not self.identity.moved

    def wanted_types(self) -> list[EventType]:
        return self._filters.types()

    @property
    def shares_mailboxes(self) -> bool:
        return self._filters.storage is VoicemailStorage.SHARED

    def is_on_bus(self, key: StateKey) -> bool:
        return self.identity.is_on_bus(key)

    def known_states(self) -> set[StateKey]:
        return self.identity.open_states()

    def suspect_intrusion(self) -> None:
        self.intrusions.suspect()

    def dump_ended(self, result: DumpResult, *, heard_probe: bool) -> None:
        self.standing.mended()
        self.look()
        if not heard_probe:
            self._event_log.warn("probe_unheard", self.name, advice=_PROBES_PASS)
        self.identity.dump_ended(result)
        self.look()
