"""Which agent serves a member that several of them list."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
import structlog.testing

from eventfed import EID, ClaimState, Event, Federation, Lease, StateKey
from eventfed.spec import Injection, VoicemailStorage
from eventfed_agent.configuration import MemberConfiguration
from eventfed_agent.event_log import EventLog
from eventfed_agent.members import contest
from eventfed_agent.members import identity as module
from eventfed_agent.members.dumps import DumpResult
from eventfed_agent.members.identity import Identity, IdentityHost
from eventfed_agent.members.injection import Injector
from eventfed_agent.members.mailboxes import MailboxSlots
from eventfed_agent.members.member_status import Registry

MINE = EID.parse("02:00:00:00:00:0a")
CONFIGURATION = MemberConfiguration(name="a", host="10.0.0.1")
REPEATS = 36.0


class Claim:
    def __init__(self) -> None:
        self.state = ClaimState.WAITING
        self.on_change: Callable[[Claim], None] = lambda claim: None
        self.rival: Lease | None = None
        self.forced = 0
        self.completed = 0

    @property
    def held(self) -> bool:
        return self.state is ClaimState.HELD

    @property
    def undisputed(self) -> bool:
        return self.held

    def become(self, state: ClaimState) -> None:
        self.state = state
        self.on_change(self)

    def force(self) -> None:
        self.forced += 1

    def complete(self) -> None:
        self.completed += 1

    def release(self) -> None:
        self.become(ClaimState.RELEASED)


class View:
    def __init__(self) -> None:
        self.leases: dict[EID, Lease] = {}
        self.states: dict[StateKey, Event] = {}
        self.listeners: list[Callable[[], None]] = []

    def listen(self, callback: Callable[[], None]) -> Callable[[], None]:
        self.listeners.append(callback)
        return lambda: self.listeners.remove(callback)

    def of(self, eid: EID) -> list[StateKey]:
        return [key for key in self.states if key.eid == eid]

    def put(self, lease: Lease | None) -> None:
        self.leases = {} if lease is None else {lease.eid: lease}
        for callback in self.listeners:
            callback()


class Bus:
    instance = "ours"

    def __init__(self) -> None:
        self.view = View()
        self.claims: list[Claim] = []
        self.published: dict[StateKey, Event] = {}

    def claim(self, eid: EID, *, on_change: Callable[[Claim], None], **_: Any) -> Claim:
        claim = Claim()
        claim.on_change = on_change
        self.claims.append(claim)
        return claim

    def get(self, key: StateKey) -> Event | None:
        return self.view.states.get(key)

    def own_value(self, key: StateKey) -> Event | None:
        return self.published.get(key)

    def publish(self, event: Event) -> None:
        self.published[event.state_key] = event


class Ground:
    def __init__(self) -> None:
        # The loop's clock, stopped: its timers stand beside this one, and a machine may be young.
        self.now = asyncio.get_running_loop().time()
        self.bus = Bus()
        self.freed = 0
        self.gone: set[str] = set()
        self.asked: list[str] = []
        self.empty = asyncio.Event()
        self.log = structlog.testing.CapturingLogger()
        self.identity = Identity(
            MINE,
            CONFIGURATION,
            cast(Federation, self.bus),
            MailboxSlots(MINE, VoicemailStorage.SEPARATE, Injection.IN_PLACE),
            cast(
                Injector,
                SimpleNamespace(
                    open=lambda: None,
                    close=lambda: None,
                    withdraw=lambda: None,
                    wait_idle=self.emptied,
                    run=asyncio.Event().wait,
                    backlog=1,
                ),
            ),
            registry=cast(
                Registry,
                SimpleNamespace(
                    answers=self.answers,
                    is_gone=lambda uid: uid in self.gone,
                ),
            ),
            event_log=EventLog(self.log),
            host=cast(
                IdentityHost,
                SimpleNamespace(lease_held=lambda: None, lease_freed=self.free, rivals_changed=lambda: None),
            ),
        )

    async def answers(self, address: str) -> bool:
        self.asked.append(address)
        return True

    async def emptied(self) -> None:
        await self.empty.wait()

    def free(self) -> None:
        self.freed += 1


@pytest.fixture
async def ground(monkeypatch: pytest.MonkeyPatch) -> Any:
    ground = Ground()
    monkeypatch.setattr(module, "_now", lambda: ground.now)
    monkeypatch.setattr(contest, "_now", lambda: ground.now)
    task = asyncio.create_task(ground.identity.run())
    await asyncio.sleep(0)
    yield ground
    task.cancel()
    await asyncio.wait([task])


def lease(instance: str, uid: str = CONFIGURATION.identity) -> Lease:
    return Lease(MINE, uid=uid, name="a", agent="node", instance=instance, epoch=1)


def test_a_member_is_claimed_once_it_publishes_and_not_because_it_answers(ground: Ground) -> None:
    ground.identity.appear()
    assert ground.bus.claims == []
    ground.identity.spoke()
    ground.identity.spoke()
    assert len(ground.bus.claims) == 1


def test_one_that_answers_again_is_claimed_again_only_once_it_publishes(ground: Ground) -> None:
    ground.identity.spoke()
    ground.identity.disappear()
    ground.identity.appear()
    assert len(ground.bus.claims) == 1
    assert ground.identity.hears()
    ground.identity.spoke()
    assert len(ground.bus.claims) == 2


def test_what_a_member_publishes_to_its_former_agent_is_not_heard_while_it_may_be_a_repetition(ground: Ground) -> None:
    ground.identity.spoke()
    ground.bus.claims[0].become(ClaimState.HELD)
    ground.bus.view.put(lease("another"))
    ground.bus.claims[0].become(ClaimState.LOST)
    assert ground.identity.moved
    assert not ground.identity.hears()
    ground.now += REPEATS - 0.1
    assert not ground.identity.hears()
    ground.now += 0.2
    assert ground.identity.hears()
    assert ground.identity.outdated


def test_one_that_said_goodbye_and_went_to_another_agent_is_not_taken_back(ground: Ground) -> None:
    ground.identity.spoke()
    ground.bus.claims[0].become(ClaimState.HELD)
    ground.identity.disappear()
    ground.bus.view.put(lease("another"))
    ground.identity.appear()
    assert ground.identity.moved
    assert ground.identity.outdated
    assert not ground.identity.hears()


def test_the_former_agent_is_told_when_the_other_lets_go_and_hears_at_once(ground: Ground) -> None:
    ground.identity.spoke()
    ground.bus.claims[0].become(ClaimState.HELD)
    ground.bus.view.put(lease("another"))
    ground.bus.claims[0].become(ClaimState.LOST)
    assert ground.freed == 0
    ground.bus.view.put(None)
    assert ground.freed == 1
    assert not ground.identity.moved
    assert ground.identity.hears()
    ground.identity.spoke()
    assert len(ground.bus.claims) == 2


def test_our_own_lease_and_that_of_another_server_do_not_mean_that_it_has_moved(ground: Ground) -> None:
    ground.identity.spoke()
    ground.bus.claims[0].become(ClaimState.HELD)
    ground.identity.disappear()
    for other in (lease("ours"), lease("another", uid="another server")):
        ground.bus.view.put(other)
        assert not ground.identity.moved
        assert ground.identity.hears()


def test_a_duplicate_that_goes_away_is_none_any_more(ground: Ground) -> None:
    ground.identity.spoke()
    ground.identity._contest.duplicate_of = "b"
    ground.identity.disappear()
    assert ground.identity.duplicate_of is None


@pytest.mark.parametrize(("uid", "level"), [(CONFIGURATION.identity, "info"), ("another server", "warning")])
def test_only_an_eid_that_goes_to_another_server_is_a_warning(ground: Ground, uid: str, level: str) -> None:
    ground.identity.spoke()
    claim = ground.bus.claims[0]
    claim.rival = lease("another", uid=uid)
    claim.become(ClaimState.LOST)
    (call,) = (call for call in ground.log.calls if call.args == ("member_moved",))
    assert call.method_name == level
    assert call.kwargs["agent"] == "node"


def test_only_after_a_dump_without_gaps_nothing_is_left_to_come(ground: Ground) -> None:
    ground.identity.spoke()
    claim = ground.bus.claims[0]
    claim.become(ClaimState.HELD)
    ground.identity.dump_ended(DumpResult(3, frozenset(), frozenset(), whole=False))
    assert claim.completed == 0
    ground.identity.dump_ended(DumpResult(3, frozenset(), frozenset(), whole=True))
    assert claim.completed == 1


def test_what_a_predecessor_brought_of_a_mailbox_is_kept_on_the_bus(ground: Ground) -> None:
    before = Event.mailbox("1001@default", 1, 0, MINE)
    ground.bus.view.states[before.state_key] = before
    ground.identity.spoke()
    ground.bus.claims[0].become(ClaimState.HELD)
    assert ground.bus.published == {before.state_key: before}


def test_what_a_member_said_after_a_standstill_is_not_overwritten_by_what_the_bus_has_of_it(ground: Ground) -> None:
    ground.identity.spoke()
    claim = ground.bus.claims[0]
    claim.become(ClaimState.HELD)
    before, after = (Event.mailbox("1001@default", new, 0, MINE) for new in (1, 2))
    ground.identity.publish(before)
    ground.bus.view.states[before.state_key] = before
    ground.identity.publish(after)
    claim.become(ClaimState.HELD)  # the lease was checked, and is ours still
    assert ground.bus.published == {after.state_key: after}


async def test_a_withdrawal_is_hurried_while_it_lasts_and_not_afterwards(ground: Ground) -> None:
    ground.identity.spoke()
    ground.bus.claims[0].become(ClaimState.HELD)
    withdrawal = asyncio.create_task(ground.identity.withdraw(60.0))
    await asyncio.sleep(0)
    ground.identity.hurry()
    assert not await withdrawal
    ground.empty.set()
    assert await ground.identity.withdraw(60.0)
    ground.identity.hurry()


async def contested_with(ground: Ground, uid: str) -> Claim:
    """Another server holds the lease of our EID."""
    rival = Lease(MINE, uid=uid, name="old", agent="node", instance="other", epoch=1, address="udp:10.0.0.9:5060")
    ground.identity.spoke()
    claim = ground.bus.claims[0]
    claim.rival = rival
    claim.become(ClaimState.CONTESTED)
    for _ in range(5):
        await asyncio.sleep(0)
    return claim


async def test_a_predecessor_that_no_roster_lists_is_replaced_without_asking_it(ground: Ground) -> None:
    ground.gone.add("old-uid")
    claim = await contested_with(ground, "old-uid")
    assert claim.forced == 1
    assert ground.asked == []


async def test_a_predecessor_that_answers_is_replaced_once_the_rosters_say_that_it_is_gone(
    ground: Ground,
) -> None:
    # Its address may be another pod's by now, which answers in its place.
    claim = await contested_with(ground, "old-uid")
    assert (claim.forced, ground.asked) == (0, ["udp:10.0.0.9:5060"])
    assert ground.identity.duplicate_of is not None
    ground.gone.add("old-uid")
    ground.identity.rosters_changed()
    for _ in range(5):
        await asyncio.sleep(0)
    assert claim.forced == 1


async def test_one_that_the_rosters_list_is_asked_again_when_they_change_but_not_each_time(ground: Ground) -> None:
    claim = await contested_with(ground, "other-uid")
    for later, asked in ((1.0, 1), (2.0, 2), (0.5, 2), (2.0, 3)):
        ground.now += later
        ground.identity.rosters_changed()
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(ground.asked) == asked
    assert claim.forced == 0
    assert ground.identity.duplicate_of is not None
