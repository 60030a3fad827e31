"""How often a member that refuses, or does not answer, is asked: once a second at most, less while nothing changes."""

import asyncio
import contextlib
from collections.abc import Callable
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import pytest
import structlog

from eventfed import EID, DeviceState, Event, EventType, Federation, View
from eventfed.spec import EventSpec
from eventfed_agent.adapter import Adapter, AdapterOutcome, Delivery
from eventfed_agent.configuration import MemberConfiguration, TimingSection
from eventfed_agent.event_log import EventLog
from eventfed_agent.members.evidence import Strangers
from eventfed_agent.members.injection import Injector
from eventfed_agent.members.member import Member
from eventfed_agent.members.member_status import Registry
from eventfed_agent.members.names import Filters
from eventfed_agent.pjsip.intake import PublishAnswer, take_in
from eventfed_agent.pjsip.refusals import outcome_of
from eventfed_agent.pjsip.sip import Publication, PublicationKind
from tests.ground.fake_time import in_fake_time
from tests.ground.injections import injector_of

OWN, OTHER, FEDERATION = (EID.parse(f"02:00:00:00:00:0{digit}") for digit in "abf")
ACCEPTED = AdapterOutcome(Delivery.ACCEPTED, "200")
UNANSWERED = {
    "silence": AdapterOutcome(Delivery.SILENT),
    "unreachable": AdapterOutcome(Delivery.SILENT, "ICMP"),
}
REFUSALS = {str(status): outcome_of(Delivery.REFUSED, status) for status in range(400, 700)} | UNANSWERED
"""Each status of 4xx to 6xx (RFC 3261, 21.4 to 21.6), and what is no answer."""
MINUTE, MINUTES = 60.0, 600.0


class Server:
    """An adapter whose server answers everything in the same way, and notes when it was asked."""

    lanes = 10

    def __init__(self, answer: AdapterOutcome) -> None:
        self.answer = answer
        self.asked: list[float] = []

    def lane_of(self, kind: EventType, key: str) -> int:
        return int(key.rpartition("/")[2]) % self.lanes

    async def is_alive(self, within: float) -> bool:
        return True

    async def request_dump(self, kind: EventType) -> AdapterOutcome:
        return await self.inject()

    async def probe(self, *_: Any) -> AdapterOutcome:
        return await self.inject()

    async def inject(self, *_: Any) -> AdapterOutcome:
        self.asked.append(asyncio.get_running_loop().time())
        await asyncio.sleep(0.001)
        return self.answer

    def expect_restart(self) -> None:
        pass

    @property
    def pauses(self) -> list[float]:
        return [after - before for before, after in pairwise(self.asked)]


def member(server: Server) -> Member:
    return Member(
        MemberConfiguration(name="a", host="10.0.0.1"),
        cast(Adapter, server),
        cast(Federation, SimpleNamespace()),
        cast(Registry, SimpleNamespace(strangers=Strangers(), federation_eid=FEDERATION)),
        filters=Filters((EventSpec(type="device_state"),)),
        timing=TimingSection(),
        event_log=EventLog(structlog.testing.CapturingLogger()),
    )


async def serve(one: Member, seconds: float, *, meanwhile: Callable[[Member], object], every: float = 0.1) -> None:
    """Let a member live for a time; tell it something `every` so often."""
    life = asyncio.create_task(one.run())
    end = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < end:
        await asyncio.sleep(every)
        meanwhile(one)
    life.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await life


def nothing(one: Member) -> None:
    pass


def it_lost_our_publication(one: Member) -> None:
    initial = Publication(PublicationKind.INITIAL, "a", "asterisk-devicestate", "call", 7, False, None, 60)
    assert take_in(one, cast(Any, one.adapter), initial, None) is PublishAnswer.ACCEPT


def it_lost_a_message(one: Member) -> None:
    gap = Publication(PublicationKind.MODIFY, "a", "asterisk-devicestate", "call", 7, True, None, 60)
    assert take_in(one, cast(Any, one.adapter), gap, None) is PublishAnswer.ACCEPT


def somebody_asks_for_everything(one: Member) -> None:
    one.refresh("requested")


@pytest.mark.parametrize("first", [*range(400, 700, 50), 0])
def test_a_member_that_refuses_is_asked_less_and_less_often(first: int) -> None:
    for refusal in [str(status) for status in range(first, first + 50)] if first else UNANSWERED:
        server = Server(REFUSALS[refusal])
        in_fake_time(serve(member(server), MINUTE, meanwhile=nothing, every=10))
        assert len([at for at in server.asked if at < 10]) <= 5, refusal
        assert min(server.pauses) >= 1, refusal
        assert min(server.pauses[4:]) >= 10, refusal
        assert max(server.pauses) <= 16, "it would take long to notice that the member was mended"


@pytest.mark.parametrize(
    "evidence",
    [it_lost_our_publication, it_lost_a_message, somebody_asks_for_everything],
    ids=lambda told: told.__name__,
)
@pytest.mark.parametrize("refusal", ["401", "403", "404", "500", "503", "silence"])
def test_no_evidence_makes_the_pause_shorter_than_a_second(refusal: str, evidence: Callable[[Member], object]) -> None:
    server = Server(REFUSALS[refusal])
    in_fake_time(serve(member(server), MINUTES, meanwhile=evidence))
    assert min(server.pauses) >= 1
    assert len(server.asked) > MINUTES / 20


def test_a_member_that_was_mended_and_says_so_is_asked_within_a_second_of_the_last_refusal() -> None:
    server = Server(REFUSALS["401"])
    mended: list[float] = []

    def mend(one: Member) -> None:
        if len(server.asked) > 10 and not mended:
            it_lost_our_publication(one)
            mended.append(asyncio.get_running_loop().time())

    in_fake_time(serve(member(server), MINUTES, meanwhile=mend, every=0.3))
    before = max(at for at in server.asked if at < mended[0])
    after = min(at for at in server.asked if at >= mended[0])
    assert after - max(before + 1, mended[0]) < 0.01


def test_dumps_that_each_make_the_server_begin_again_do_not_follow_each_other_at_once() -> None:
    server = Server(ACCEPTED)
    in_fake_time(serve(member(server), MINUTES, meanwhile=it_lost_our_publication, every=0.01))
    assert len(server.asked) <= 4 * MINUTES


async def inject(server: Server, seconds: float, *, states: int = 300) -> Injector:
    view = View()
    view.begin_replay("one")
    for number in range(states):
        event = Event.device(f"PJSIP/{number}", DeviceState.INUSE, OTHER).stamped(epoch=1, sequence=1)
        view.put_state(event.state_key, event, number + 1)
    view.end_replay()
    injector = injector_of(view, server, [EventSpec(type="device_state")], own=OWN, federation=FEDERATION)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await injector.run()
    return injector


@pytest.mark.parametrize("refusal", ["401", "403", "404", "412", "423", "489", "500", "503", "603", *UNANSWERED])
def test_however_many_lanes_there_are_a_member_that_refuses_is_asked_once_a_second_at_most(refusal: str) -> None:
    server = Server(REFUSALS[refusal])
    in_fake_time(inject(server, MINUTES))
    assert len([at for at in server.asked if at < 10]) <= 5
    assert min(server.pauses) >= 1
    assert min(server.pauses[4:]) >= 10


def test_a_state_that_the_server_cannot_read_is_given_up_and_keeps_no_other_one_waiting() -> None:
    class Particular(Server):
        async def inject(self, *sent: Any) -> AdapterOutcome:
            await super().inject()
            return REFUSALS["500"] if sent[0].key == "PJSIP/7" else ACCEPTED

    server = Particular(ACCEPTED)
    injector = in_fake_time(inject(server, MINUTES))
    assert (injector.counters.injected, injector.counters.given_up, injector.counters.refused) == (299, 1, 3)
    # Only its own lane, of ten, waits for it at all.
    assert len([at for at in server.asked if at < 1]) >= 270


def test_one_publication_that_is_refused_does_not_slow_down_the_others() -> None:
    class Half(Server):
        async def inject(self, *sent: Any) -> AdapterOutcome:
            await super().inject()
            return REFUSALS["404"] if sent[1] >= 8 else ACCEPTED

    server = Half(ACCEPTED)
    injector = in_fake_time(inject(server, MINUTES))
    assert injector.counters.injected == 240
    refused_at = sorted(server.asked)[241:]
    assert len(refused_at) < MINUTES / 9
    assert len([at for at in server.asked if at < 2]) >= 240
