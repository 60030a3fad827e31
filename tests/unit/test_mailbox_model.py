"""The slot model against Asterisk servers with one slot per mailbox, and messages that take their time."""

from collections import deque
from dataclasses import dataclass, field, replace
from typing import ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from eventfed import EID, MAX_COUNT, Event, Mailbox
from eventfed.spec import Injection, VoicemailStorage
from eventfed_agent.members.dumps import Dumps
from eventfed_agent.members.mailboxes import MailboxSlots
from eventfed_agent.members.shared_order import latest_count, next_order

A, B, C = (EID.parse(f"02:00:00:00:00:0{digit}") for digit in "abc")
BOX = "1001@default"
SEPARATE, SHARED = VoicemailStorage.SEPARATE, VoicemailStorage.SHARED
IN_PLACE, BESIDE = Injection.IN_PLACE, Injection.BESIDE
EMPTY = Mailbox(0, 0)


@dataclass(frozen=True)
class Dumped:
    """What a dump says of the mailbox; None is the probe that ends it."""

    counts: Mailbox | None


@dataclass
class Server:
    """One Asterisk server with one mailbox, and what its agent knows of it."""

    eid: EID
    slots: MailboxSlots
    spool: Mailbox = EMPTY
    slot: Mailbox = EMPTY
    beside: Mailbox = EMPTY
    owned: bool = False
    """Whether the server itself wrote its slot last."""
    dumps: Dumps = field(default_factory=Dumps)
    outbound: deque["Mailbox | Dumped | None"] = field(default_factory=deque)
    """Announcements on their way to the agent; None is the `refresh` of a restart."""
    sent: tuple[str, Mailbox, int] | None = None
    """An injection on its way to the server."""
    answered: tuple[Mailbox, int] | None = None
    """An answer on its way to the agent."""

    def announce(self) -> None:
        self.slot, self.owned = self.spool, True
        self.outbound.append(self.spool)


counts = st.builds(Mailbox, st.sampled_from([0, 1, 2, MAX_COUNT - 1, MAX_COUNT]), st.sampled_from([0, 1, MAX_COUNT]))
which = st.integers(0, 2)


class Federation(RuleBasedStateMachine):
    """Three servers, one bus that is as fast as light, SIP that is not and that loses messages."""

    injection: ClassVar[Injection]
    storage: ClassVar[VoicemailStorage] = SEPARATE

    @initialize()
    def start(self) -> None:
        self.servers = [Server(eid, MailboxSlots(eid, self.storage, self.injection)) for eid in (A, B, C)]
        self.states: dict[EID, Event] = {}
        self.now = 0.0

    @rule(index=which, spool=counts)
    def voicemail_changes(self, index: int, spool: Mailbox) -> None:
        self.servers[index].spool = spool
        self.servers[index].announce()

    @rule(index=which)
    def voicemail_says_it_again(self, index: int) -> None:
        self.servers[index].announce()

    @rule(index=which, configured=st.booleans())
    def restart(self, index: int, configured: bool) -> None:
        server = self.servers[index]
        server.slot = server.beside = EMPTY
        server.owned = False
        server.outbound.append(None)
        if configured or server.spool != EMPTY:
            server.announce()

    @rule(index=which)
    def dump(self, index: int) -> None:
        """Its words queue behind all others; the probe behind them."""
        server = self.servers[index]
        if server.dumps.window is None:
            server.dumps.begin()
            if server.owned:
                server.outbound.append(Dumped(server.slot))
            server.outbound.append(Dumped(None))

    @rule(index=which)
    def hear(self, index: int) -> None:
        server = self.servers[index]
        if not server.outbound:
            return
        said = server.outbound.popleft()
        self.now += 0.01
        if said is None:
            server.slots.forget()
            return
        if isinstance(said, Dumped):
            if said.counts is None:
                server.dumps.echoed(set(), self.now)
            else:
                before = latest_count(self.states)
                self.take(server, said.counts)
                after = latest_count(self.states)
                assert before is not None
                assert after is not None
                assert after.counts == before.counts, "what a dump says is no news"
            return
        self.take(server, said)

    def take(self, server: Server, said: Mailbox) -> None:
        before = self.states.get(server.eid)
        news = before.order if before else 0
        if before is None or before.counts != said or (server.slots.overwritten(BOX) and not server.dumps.draining):
            news = next_order(self.states.values())
        server.slots.announced(BOX, said, self.now)
        event = Event.mailbox(BOX, said.new, said.old, server.eid, time=self.now)
        self.states[server.eid] = replace(event, order=news)

    @rule(index=which)
    def send(self, index: int) -> None:
        server = self.servers[index]
        if server.sent is None and server.answered is None:
            spoken = server.slots.announcements(BOX)
            due = server.slots.due(BOX, self.states, self.now)
            server.sent = (*due, spoken) if due else None

    @rule(index=which)
    def arrive(self, index: int) -> None:
        server = self.servers[index]
        if server.sent is not None:
            mailbox, injected, spoken = server.sent
            if mailbox == BOX:
                server.slot, server.owned = injected, False
            else:
                server.beside = injected
            server.sent, server.answered = None, (injected, spoken)

    @rule(index=which)
    def answer(self, index: int) -> None:
        server = self.servers[index]
        if server.answered is not None:
            injected, spoken = server.answered
            server.answered = None
            self.now += 0.01
            server.slots.injected(BOX, injected, self.now, spoken)

    @rule(index=which)
    def lose(self, index: int) -> None:
        self.servers[index].sent = self.servers[index].answered = None

    @precondition(lambda self: hasattr(self, "servers"))
    @rule(seconds=st.floats(0.1, 100.0))
    def wait(self, seconds: float) -> None:
        for index, server in enumerate(self.servers):
            while server.outbound:  # nothing is under way for that long
                self.hear(index)
        self.now += seconds

    def teardown(self) -> None:
        for _ in range(12):
            self.wait(100.0)
            for index in range(3):
                for step in (self.arrive, self.answer, self.send, self.arrive, self.answer):
                    step(index)
        self.check()

    def check(self) -> None:
        everything = sum((event.counts for event in self.states.values()), start=EMPTY)
        for server in self.servers:
            own = self.states[server.eid].counts if server.eid in self.states else EMPTY
            if server.eid in self.states:
                assert own == server.spool
            if self.storage is SHARED:
                assert server.slot == server.slots.wanted(BOX, self.states)
            elif self.injection is IN_PLACE:
                assert server.slot == everything
            else:
                assert server.slot == server.spool
                # A phone shows what PJSIP adds up, in a C int.
                assert Mailbox(own.new + server.beside.new, own.old + server.beside.old) == everything


@pytest.mark.parametrize(
    ("storage", "injection"), [(SEPARATE, IN_PLACE), (SEPARATE, BESIDE), (SHARED, IN_PLACE)], ids=str
)
def test_every_slot_ends_with_what_is_wanted(storage: VoicemailStorage, injection: Injection) -> None:
    model = type("Model", (Federation,), {"storage": storage, "injection": injection})
    run_state_machine_as_test(model, settings=settings(max_examples=200, stateful_step_count=40))
