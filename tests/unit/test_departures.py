"""Departures: who buries what, and when."""

from dataclasses import replace

import pytest

from eventfed import EID, DeviceState, Event, FederationSettings, Lease, MailboxDeparture, View
from eventfed.core.departures import Departures, Expire, Republish, WriteTombstone, rank

A, B = EID.derive("a"), EID.derive("b")
LAMP = Event.device("PJSIP/1", DeviceState.INUSE, A).stamped(epoch=1, sequence=1)
BOX = Event.mailbox("1001@default", 1, 0, A).stamped(epoch=1, sequence=2)
SETTINGS = FederationSettings(grace_period=30, mailbox_grace_period=3600, deputy_delay=2)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def view(clock: Clock) -> View:
    view = View(clock=clock)
    view.begin_replay("one")
    view.put_state(LAMP.state_key, LAMP, 5)
    view.put_state(BOX.state_key, BOX, 6)
    view.end_replay()
    return view


def lease(eid: EID, agent: str = "other") -> Lease:
    return Lease(eid, uid="u", name="n", agent=agent, instance=agent, epoch=1)


def test_devices_are_buried_after_the_grace_and_mailboxes_are_kept(view: View, clock: Clock) -> None:
    departures = Departures(SETTINGS, "me", clock=clock)
    assert departures.step(view) == []
    clock.now = 29.9
    assert departures.step(view) == []
    clock.now = 30
    assert departures.step(view) == [WriteTombstone(LAMP.state_key, 5)]
    assert departures.step(view) == []
    view.put_marker(LAMP.state_key, 7)
    clock.now = 5000
    assert departures.step(view) == []


def test_mailboxes_are_buried_after_their_own_grace_where_that_is_wanted(view: View, clock: Clock) -> None:
    departures = Departures(replace(SETTINGS, mailboxes=MailboxDeparture.REMOVE), "me", clock=clock)
    departures.step(view)
    clock.now = 30
    assert departures.step(view) == [WriteTombstone(LAMP.state_key, 5)]
    view.put_marker(LAMP.state_key, 7)
    clock.now = 3599
    assert departures.step(view) == []
    clock.now = 3600
    assert departures.step(view) == [WriteTombstone(BOX.state_key, 6)]


def test_a_lease_in_between_starts_the_grace_again(view: View, clock: Clock) -> None:
    departures = Departures(SETTINGS, "me", clock=clock)
    departures.step(view)
    clock.now = 29
    view.put_lease(lease(A), 8)
    assert departures.step(view) == []
    view.put_lease_marker(A, 9)
    clock.now = 40
    assert departures.step(view) == []
    clock.now = 69
    assert departures.step(view) == []
    clock.now = 70
    assert departures.step(view) == [WriteTombstone(LAMP.state_key, 5)]


def test_a_broken_session_starts_the_grace_again(view: View, clock: Clock) -> None:
    departures = Departures(SETTINGS, "me", clock=clock)
    departures.step(view)
    clock.now = 29
    view.interrupt()
    departures.step(view)
    view.begin_replay("one")
    view.put_state(LAMP.state_key, LAMP, 5)
    view.end_replay()
    clock.now = 58
    assert departures.step(view) == []
    clock.now = 88
    assert departures.step(view) == [WriteTombstone(LAMP.state_key, 5)]


def test_the_deputies_take_turns(view: View, clock: Clock) -> None:
    view.put_lease(lease(B, "you"), 8)
    mine, yours = rank("me", ["you"], A), rank("you", ["me"], A)
    assert {mine, yours} == {0, 1}
    departures = Departures(SETTINGS, "me", clock=clock)
    departures.step(view)
    clock.now = 30 + 2 * mine - 0.1
    assert departures.step(view) == []
    clock.now = 30 + 2 * mine
    assert departures.step(view) == [WriteTombstone(LAMP.state_key, 5)]


def test_what_was_not_done_is_said_again(view: View, clock: Clock) -> None:
    departures = Departures(SETTINGS, "me", clock=clock)
    departures.step(view)
    clock.now = 30
    assert departures.step(view)
    clock.now = 32
    assert not departures.step(view)
    clock.now = 33
    assert departures.step(view) == [WriteTombstone(LAMP.state_key, 5)]


def test_a_reader_that_is_no_deputy_buries_nothing(view: View, clock: Clock) -> None:
    departures = Departures(replace(SETTINGS, deputy=False), "me", clock=clock)
    departures.step(view)
    clock.now = 10_000
    assert departures.step(view) == []


def test_after_a_lost_store_each_drops_the_devices_and_one_puts_the_mailboxes_back(view: View, clock: Clock) -> None:
    view.begin_replay("two")
    view.end_replay()
    departures = Departures(SETTINGS, "me", clock=clock)
    departures.step(view)
    clock.now = 30
    assert departures.step(view) == [Expire(LAMP.state_key), Republish(BOX.state_key, BOX)]


def test_one_of_many_is_first_and_a_newcomer_moves_only_its_own_share() -> None:
    agents = [f"node-{number}" for number in range(20)]
    eids = [EID.derive(str(number)) for number in range(300)]
    first = {eid: next(a for a in agents if rank(a, agents, eid) == 0) for eid in eids}
    assert all(sorted(rank(a, agents, eid) for a in agents) == list(range(20)) for eid in eids[:20])
    more = [*agents, "newcomer"]
    moved = [eid for eid in eids if rank(first[eid], more, eid) != 0]
    assert 0 < len(moved) < 60
    assert all(rank("newcomer", more, eid) == 0 for eid in moved)
