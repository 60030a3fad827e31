"""A member's last word of a mailbox reaches the bus, whatever happens to bus, member and lease before: a model test.

A server says a change once. Its dumps leave out a mailbox that was injected into (``main/mwi.c``), so nobody says it
again.
"""

import asyncio
from types import SimpleNamespace
from typing import Any, TypeAlias, cast

import structlog.testing
from hypothesis import example, given, settings
from hypothesis import strategies as st

from eventfed import EID, Event, Federation, Subjects
from eventfed.spec import EventSpec, Injection, VoicemailStorage
from eventfed_agent.configuration import MemberConfiguration
from eventfed_agent.event_log import EventLog
from eventfed_agent.members.identity import Identity, IdentityHost
from eventfed_agent.members.injection import Injector
from eventfed_agent.members.mailboxes import MailboxSlots, mailbox_event, mailbox_key
from eventfed_agent.members.member_status import Registry
from eventfed_agent.members.names import Filters
from tests.ground.fake_time import in_fake_time
from tests.ground.federation_clients import QUICK, until
from tests.ground.memory_bus import MemoryBus, MemoryStore

OWN = EID.parse("02:00:00:00:00:0a")
SUBJECTS = Subjects("pbx")
FILTERS = Filters((EventSpec.model_validate({"type": "mwi", "voicemail_storage": "Separate"}),))
Step: TypeAlias = tuple[str, int, int]


class Ground:
    """One member under its EID, on a real client of the federation."""

    def __init__(self, bus: MemoryBus, federation: Federation) -> None:
        self.bus = bus
        self.federation = federation
        self.said: dict[str, int] = {}

        def idle() -> None:
            return None

        self.identity = Identity(
            OWN,
            MemberConfiguration(name="a", host="10.0.0.1"),
            federation,
            MailboxSlots(OWN, VoicemailStorage.SEPARATE, Injection.IN_PLACE),
            cast(Injector, SimpleNamespace(open=idle, close=idle)),
            registry=cast(Registry, SimpleNamespace()),
            event_log=EventLog(structlog.testing.CapturingLogger()),
            host=cast(IdentityHost, SimpleNamespace(lease_held=self.lease_held, lease_freed=idle, rivals_changed=idle)),
        )

    def lease_held(self) -> None:
        self.identity.repeat_mailboxes(FILTERS)

    def say(self, mailbox: str, new: int) -> None:
        now = asyncio.get_running_loop().time()
        self.identity.spoke()
        event = Event.mailbox(mailbox, new, 0, OWN)
        if self.identity.slots.announced(mailbox, event.counts, now):
            self.said[mailbox] = new
            self.identity.publish(event)

    async def play(self, script: list[Step]) -> None:
        for step, which, new in script:
            match step:
                case "says":
                    self.say(f"100{which}@default", new)
                case "speaks":  # of something else: a device, or nothing
                    self.identity.spoke()
                case "goes":
                    self.identity.disappear()
                case "cut":
                    self.bus.cut()
                case "heal":
                    self.bus.heal()
                case "time":
                    await asyncio.sleep((0.0, 0.3, 5.0)[which])

    async def come_to_rest(self) -> None:
        self.bus.heal()
        self.identity.appear()
        self.identity.spoke()
        await until(lambda: self.identity.held, 30)
        await self.federation.flush(30)
        await asyncio.sleep(1)

    def on_bus(self) -> dict[str, int]:
        view = self.federation.view
        kept = {mailbox: view.get(mailbox_key(mailbox, OWN)) for mailbox in self.said}
        return {mailbox: event.counts.new for mailbox, event in kept.items() if event is not None}


async def played(script: list[Step]) -> tuple[dict[str, int], dict[str, int]]:
    bus, clock = MemoryBus(MemoryStore(), SUBJECTS), asyncio.get_running_loop().time
    async with Federation.over(bus, subjects=SUBJECTS, agent="a", settings=QUICK, clock=clock) as federation:
        assert await federation.wait_synced(20)
        ground = Ground(bus, federation)
        await ground.play(script)
        await ground.come_to_rest()
        return ground.said, ground.on_bus()


few = st.integers(0, 2)
steps = st.tuples(st.sampled_from(["says", "says", "speaks", "goes", "cut", "heal", "time", "time"]), few, few)
OUTAGE: list[Step] = [("cut", 0, 0), ("says", 0, 2), ("goes", 0, 0), ("speaks", 0, 0), ("heal", 0, 0), ("time", 1, 0)]


@example([("says", 0, 1), ("time", 2, 0), *OUTAGE])  # the lease was held when NATS went away
@example([("says", 0, 1), ("time", 2, 0), ("goes", 0, 0), ("time", 1, 0), *OUTAGE])  # it was not
@example(OUTAGE)
@settings(max_examples=150, deadline=None)
@given(st.lists(steps, max_size=30))
def test_the_last_word_of_each_mailbox_ends_on_the_bus(script: list[Step]) -> None:
    said, on_bus = in_fake_time(played(script), at_most=3600)
    assert on_bus == said


async def contested() -> tuple[bool, float]:
    store, clock = MemoryStore(), asyncio.get_running_loop().time
    options: dict[str, Any] = {"subjects": SUBJECTS, "settings": QUICK, "clock": clock}
    async with (
        Federation.over(MemoryBus(store, SUBJECTS), agent="a", **options) as one,
        Federation.over(MemoryBus(store, SUBJECTS), agent="b", **options) as two,
    ):
        assert await one.wait_synced(20)
        assert await two.wait_synced(20)
        first = one.claim(OWN, uid="another", name="another")
        await until(lambda: first.held)
        claim = two.claim(OWN, uid="a", name="a")
        two.publish(mailbox_event("1001@default", Event.mailbox("1001@default", 1, 0, OWN).counts, OWN))
        await until(lambda: claim.state.value == "contested")
        began = clock()
        return await two.flush(20), clock() - began


def test_nobody_who_stops_waits_for_the_end_of_a_contest() -> None:
    done, lasted = in_fake_time(contested(), at_most=600)
    assert done
    assert lasted < 1
