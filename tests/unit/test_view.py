"""The view: order, tombstones, absence, incarnations, indices, and the log of changes that members share."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventfed import EID, DeviceState, Event, EventType, Lease, Mailbox, StateKey, View
from tests.ground.narrowing import present

A, B = EID.derive("a"), EID.derive("b")
LAMP = StateKey(EventType.DEVICE_STATE_CHANGE, A, "PJSIP/1")

DEVICE, MWI = EventType.DEVICE_STATE_CHANGE, EventType.MWI


def lamp(state: DeviceState, epoch: int = 1, sequence: int = 1, eid: EID = A) -> Event:
    return Event.device("PJSIP/1", state, eid).stamped(epoch=epoch, sequence=sequence)


def lease(eid: EID = A, *, epoch: int = 1, complete: bool = False, stream: str = "one") -> Lease:
    return Lease(eid, uid="u", name="n", agent="x", instance="i", epoch=epoch, complete=complete, stream=stream)


@pytest.fixture
def view() -> View:
    view = View()
    view.begin_replay("one")
    view.end_replay()
    return view


def put(view: View, event: Event, sequence: int) -> bool:
    return view.put_state(event.state_key, event, sequence)


def test_an_older_value_is_dropped_but_its_place_on_the_stream_is_kept(view: View) -> None:
    put(view, lamp(DeviceState.INUSE, 2, 5), 10)
    assert not put(view, lamp(DeviceState.BUSY, 2, 4), 11)
    assert not put(view, lamp(DeviceState.BUSY, 1, 99), 12)
    assert present(view.get(LAMP)).device_state is DeviceState.INUSE
    assert (view.older, view.states[LAMP].stream_sequence) == (2, 12)
    assert put(view, lamp(DeviceState.BUSY, 3, 1), 13)


def test_a_tombstone_keeps_what_it_replaced_and_an_old_value_does_not_come_back(view: View) -> None:
    put(view, lamp(DeviceState.INUSE, 2, 5), 10)
    view.put_marker(LAMP, 11)
    state = view.states[LAMP]
    assert (view.get(LAMP), state.tombstone, state.on_stream) == (None, True, False)
    assert present(state.event).device_state is DeviceState.INUSE
    put(view, lamp(DeviceState.INUSE, 2, 5), 12)
    assert (state.tombstone, state.on_stream, state.stream_sequence) == (True, True, 12)
    view.put_lease(lease(epoch=2), 13)
    put(view, lamp(DeviceState.INUSE, 2, 5), 14)
    assert not state.tombstone


def test_a_marker_for_a_state_never_seen_is_a_tombstone_without_an_event(view: View) -> None:
    view.put_marker(LAMP, 3)
    assert view.states[LAMP].tombstone
    assert view.states[LAMP].event is None
    assert view.cursor().next() == LAMP


def test_the_same_value_under_a_later_number_is_no_change(view: View) -> None:
    put(view, lamp(DeviceState.INUSE, 1, 1), 1)
    revision = view.revision
    put(view, lamp(DeviceState.INUSE, 1, 2), 2)
    assert view.revision == revision
    assert present(view.get(LAMP)).sequence == 2


def test_what_a_replay_of_the_same_stream_lacks_is_gone(view: View) -> None:
    put(view, lamp(DeviceState.INUSE), 1)
    view.put_lease(lease(), 2)
    view.begin_replay("one")
    assert view.get(LAMP)
    view.end_replay()
    assert view.get(LAMP) is None
    assert not view.leases


def test_what_an_empty_new_stream_lacks_stays_until_the_lease_says_complete(view: View) -> None:
    put(view, lamp(DeviceState.INUSE), 1)
    assert view.begin_replay("two")
    view.end_replay()
    assert view.get(LAMP)
    view.put_lease(lease(complete=True, stream="one"), 1)  # said of the old stream, renewed into the new one
    assert view.get(LAMP)
    view.put_lease(lease(complete=True, stream="two"), 2)
    assert view.get(LAMP) is None


def test_complete_in_the_middle_of_a_replay_counts_at_its_end(view: View) -> None:
    put(view, lamp(DeviceState.INUSE), 1)
    view.begin_replay("two")
    view.put_lease(lease(complete=True, stream="two"), 1)
    put(view, lamp(DeviceState.INUSE), 2)
    view.end_replay()
    assert view.get(LAMP)


def test_a_value_of_the_new_stream_counts_whatever_its_number(view: View) -> None:
    put(view, lamp(DeviceState.INUSE, 9, 9), 1)
    view.begin_replay("two")
    assert put(view, lamp(DeviceState.BUSY, 3, 1), 1)
    assert present(view.get(LAMP)).device_state is DeviceState.BUSY


def test_something_unreadable_changes_nothing_but_the_place(view: View) -> None:
    put(view, lamp(DeviceState.INUSE), 1)
    revision = view.revision
    view.put_unreadable(LAMP, 2)
    assert (view.revision, view.states[LAMP].stream_sequence) == (revision, 2)
    view.put_unreadable(StateKey(MWI, B, "1"), 3)
    assert len(view.states) == 1


def test_names_are_found_on_all_servers(view: View) -> None:
    put(view, lamp(DeviceState.INUSE), 1)
    assert set(view.by_server(DEVICE, "PJSIP/1")) == {A}
    put(view, lamp(DeviceState.BUSY, eid=B), 2)
    put(view, lamp(DeviceState.RINGING, 1, 2), 3)
    assert {eid: e.device_state.name for eid, e in view.by_server(DEVICE, "PJSIP/1").items()} == {
        A: "RINGING",
        B: "BUSY",
    }
    view.put_marker(LAMP, 4)
    assert set(view.by_server(DEVICE, "PJSIP/1")) == {B}
    view.put_marker(LAMP._replace(eid=B), 5)
    assert view.by_server(DEVICE, "PJSIP/1") == {}
    put(view, lamp(DeviceState.INUSE, 2, 1), 6)
    assert set(view.by_server(DEVICE, "PJSIP/1")) == {A}
    box = Event.mailbox("1001@default", 2, 1, B)
    put(view, box, 7)
    assert view.by_server(MWI, "1001@default")[B].counts == Mailbox(2, 1)
    assert list(view.of(B)) == [LAMP._replace(eid=B), box.state_key]


def test_an_old_tombstone_is_forgotten() -> None:
    now = [0.0]
    view = View(tombstone_ttl=100, clock=lambda: now[0])
    view.begin_replay("one")
    put(view, lamp(DeviceState.INUSE), 1)
    view.put_marker(LAMP, 2)
    now[0] = 99.0
    view.forget_old_tombstones()
    assert LAMP in view.states
    now[0] = 100.0
    view.forget_old_tombstones()
    assert not view.states
    assert list(view.of(A)) == []


def test_listeners_are_called_once_for_many_changes_and_can_leave() -> None:
    soon: list[Callable[[], None]] = []
    calls: list[int] = []
    view = View(soon=soon.append)
    stop = view.listen(lambda: calls.append(1))
    view.begin_replay("one")
    for sequence in range(10):
        put(view, lamp(DeviceState(sequence % 2 + 1), 1, sequence), sequence)
    assert len(soon) == 1
    soon.pop()()
    assert calls == [1]
    stop()
    put(view, lamp(DeviceState.BUSY, 2, 1), 11)
    assert not soon


def test_a_cursor_gives_each_changed_key_once_and_begins_again_after_rewind(view: View) -> None:
    keys = []
    for number in range(5):
        event = Event.device(f"PJSIP/{number}", DeviceState.INUSE, A)
        put(view, event, number + 1)
        keys.append(event.state_key)
    cursor = view.cursor()
    assert [cursor.next() for _ in range(6)] == [*keys, None]
    for sequence in range(1000):
        put(view, lamp(DeviceState(sequence % 2 + 2), 2, sequence), 10 + sequence)
    assert (cursor.next(), cursor.next(), cursor.behind) == (LAMP, None, 0)
    cursor.rewind()
    assert [cursor.next() for _ in range(6)] == [keys[0], *keys[2:], LAMP, None]
    late = view.cursor()
    late.skip_to_end()
    assert late.next() is None


changes = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 5)),
        st.tuples(st.just("marker"), st.integers(0, 5)),
        st.tuples(st.just("storm"), st.integers(0, 5)),
        st.tuples(st.just("take"), st.integers(0, 9)),
        st.tuples(st.just("rewind"), st.just(0)),
    ),
    max_size=60,
)


@given(changes)
@settings(max_examples=max(20, settings().max_examples // 20))
def test_a_cursor_that_is_read_to_the_end_has_seen_the_newest_of_everything(script: list[tuple[str, int]]) -> None:
    view, sequence = View(), 0
    view.begin_replay("one")
    cursor, seen = view.cursor(), {}
    for step, number in script:
        sequence += 1
        key = StateKey(EventType.DEVICE_STATE_CHANGE, A, f"PJSIP/{number}")
        match step:
            case "put" | "storm":
                for _ in range(1 if step == "put" else 700):  # enough for the log to be rewritten
                    sequence += 1
                    event = Event.device(key.key, DeviceState(sequence % 8 + 1), A)
                    put(view, event.stamped(epoch=1, sequence=sequence), sequence)
            case "marker":
                view.put_marker(key, sequence)
            case "rewind":
                cursor.rewind()
            case "take":
                for _ in range(number):
                    if (taken := cursor.next()) is not None:
                        seen[taken] = view.states[taken].revision
    behind = cursor.behind
    count = 0
    while (taken := cursor.next()) is not None:
        count += 1
        seen[taken] = view.states[taken].revision
    assert count <= behind
    assert seen == {key: state.revision for key, state in view.states.items()}


def _calls(work: Callable[[], None]) -> int:
    """How many functions `work` calls: a measure of what it does that is the same on each machine."""
    count = 0

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def test_what_a_change_costs_does_not_depend_on_how_many_states_there_are() -> None:
    def changes_among(number_of_states: int) -> int:
        view = View()
        view.begin_replay("one")
        view.end_replay()
        events = [Event.device(f"PJSIP/{n}", DeviceState.INUSE, A) for n in range(number_of_states)]
        for sequence, event in enumerate(events, 1):
            put(view, event.stamped(epoch=1, sequence=sequence), sequence)
        cursors = [view.cursor() for _ in range(50)]
        given: list[int] = []

        def work() -> None:
            for cursor in cursors:
                cursor.skip_to_end()
            for number in range(200):
                put(view, events[number].stamped(epoch=2, sequence=number), number)
                put(view, lamp(DeviceState(number % 2 + 1), 3, number), number)
            given.extend(sum(1 for _ in iter(cursor.next, None)) for cursor in cursors)

        calls = _calls(work)
        assert given == [1] * 50
        return calls

    few, many = changes_among(200), changes_among(20_000)
    assert many <= 1.01 * few


def test_followers_are_called_once_what_was_read_has_been_taken_in_and_always_before_the_listeners() -> None:
    soon: list[Callable[[], None]] = []
    calls: list[str] = []
    view = View(soon=soon.append)
    view.listen(lambda: calls.append("listener"))
    stop = view.follow(lambda: calls.append("follower"))
    put(view, lamp(DeviceState.BUSY, 1, 1), 1)
    assert calls == []
    view.tell_followers()
    view.tell_followers()
    assert calls == ["follower"]
    soon.pop()()
    assert calls == ["follower", "listener"]
    put(view, lamp(DeviceState.INUSE, 1, 2), 2)
    soon.pop()()
    assert calls[2:] == ["follower", "listener"]
    stop()
    put(view, lamp(DeviceState.BUSY, 1, 3), 3)
    view.tell_followers()
    assert calls[4:] == []
