"""When a member is asked for a dump, what it shows, and the race inside Asterisk between a dump and live changes."""

from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventfed import EID, DeviceState, Event, EventType, StateKey
from eventfed.model.device_kinds import PROBE_PREFIX
from eventfed.pace import Backoff
from eventfed_agent.members.dumps import Dumps, DumpWindow, Phase

INUSE, NOT_INUSE, BUSY = DeviceState.INUSE, DeviceState.NOT_INUSE, DeviceState.BUSY
SWEEP, RETRY = 3600.0, 0.25


A = EID.derive("a")


def device(name: str, state: DeviceState) -> Event:
    return Event.device(name, state, A)


def key(name: str) -> StateKey:
    return StateKey(EventType.DEVICE_STATE_CHANGE, A, name)


def dumps() -> Dumps:
    return Dumps(sweep=SWEEP, backoff=Backoff(RETRY, 4.0, draw=lambda: 0.0))


def test_nothing_is_asked_for_without_evidence() -> None:
    assert dumps().due is None


def test_evidence_asks_at_once_and_is_counted() -> None:
    asker = dumps()
    asker.need("gap", 5.0)
    asker.need("gap", 6.0)
    asker.need("start", 7.0)
    assert asker.due == 5.0
    assert asker.reasons == {"gap": 2, "start": 1}


def test_while_one_is_under_way_no_other_is_due() -> None:
    asker = dumps()
    asker.need("start", 0.0)
    asker.begin()
    assert (asker.phase, asker.due) == (Phase.ASKING, None)
    asker.need("gap", 1.0)
    asker.asked()
    assert (asker.phase, asker.due) == (Phase.DUMPING, None)
    asker.echoed(set(), 2.0)
    assert (asker.phase, asker.due) == (Phase.IDLE, 2.0 + RETRY)


def test_after_a_clean_dump_the_next_is_the_sweep() -> None:
    asker = dumps()
    asker.need("start", 0.0)
    asker.begin()
    asker.asked()
    asker.hear(device("PJSIP/1001", INUSE))
    asker.hear(device("PJSIP/1001", INUSE))
    result = asker.echoed({key("PJSIP/1001"), key("PJSIP/1002")}, 10.0)
    assert (result.heard, result.unsure, result.missing) == (1, frozenset(), frozenset({key("PJSIP/1002")}))
    assert asker.due == 10.0 + SWEEP
    assert asker.completed == 1


def test_a_device_heard_with_two_values_is_unsure_and_another_dump_follows() -> None:
    asker = dumps()
    asker.begin()
    asker.asked()
    asker.hear(device("PJSIP/1001", INUSE))
    asker.hear(device("PJSIP/1002", INUSE))
    asker.hear(device("PJSIP/1001", NOT_INUSE))
    result = asker.echoed({key("PJSIP/1001"), key("PJSIP/1002")}, 10.0)
    assert result.unsure == {key("PJSIP/1001")}
    assert asker.due == 10.0 + RETRY


def test_a_mailbox_heard_with_two_counts_is_unsure_and_is_no_device_that_was_heard() -> None:
    asker = dumps()
    asker.begin()
    asker.asked()
    asker.hear(Event.mailbox("1001@default", 1, 0, A))
    asker.hear(Event.mailbox("1002@default", 1, 0, A))
    asker.hear(Event.mailbox("1001@default", 0, 1, A))
    result = asker.echoed(set(), 0.0)
    assert (result.heard, result.unsure) == (0, frozenset({StateKey(EventType.MWI, A, "1001@default")}))
    assert asker.due == RETRY
    asker.hear(Event.mailbox("1001@default", 2, 0, A))  # Outside of a dump nothing is unsure.


def test_a_value_that_came_back_to_what_it_was_is_unsure_too() -> None:
    asker = dumps()
    asker.begin()
    for state in (INUSE, NOT_INUSE, INUSE):
        asker.hear(device("PJSIP/1001", state))
    assert asker.echoed(set(), 0.0).unsure == {key("PJSIP/1001")}


def test_after_a_lost_message_nothing_is_taken_for_missing() -> None:
    asker = dumps()
    asker.begin()
    asker.asked()
    asker.gap()
    result = asker.echoed({key("PJSIP/1001")}, 10.0)
    assert result.missing == frozenset()
    assert asker.due == 10.0 + RETRY


def test_a_gap_outside_a_dump_is_not_the_dumps_business() -> None:
    asker = dumps()
    asker.gap()
    asker.hear(device("PJSIP/1001", INUSE))
    asker.begin()
    assert asker.echoed({key("PJSIP/1001")}, 0.0).missing == {key("PJSIP/1001")}


def test_failures_are_repeated_later_each_time_and_a_success_that_lasts_forgets_them() -> None:
    asker, now, pauses = dumps(), 0.0, []
    for _ in range(8):
        asker.begin()
        asker.failed(now)
        assert asker.due is not None
        pauses.append(asker.due - now)
        now = asker.due
    assert pauses == [0.25, 0.5, 1.0, 2.0, 4.0, 4.0, 4.0, 4.0]
    asker.begin()
    asker.asked()
    asker.echoed(set(), now)
    asker.need("gap", now, changed=False)
    assert asker.due == now + 4.0
    now += 4.0
    asker.begin()
    asker.failed(now)
    assert asker.due == now + RETRY


def test_evidence_that_the_member_changed_makes_a_long_pause_short_but_does_not_end_it() -> None:
    asker, now = dumps(), 0.0
    for _ in range(6):
        asker.begin()
        asker.failed(now)
        now = asker.due or now
    asker.begin()
    asker.failed(now)
    asker.need("gap", now + 0.1, changed=False)
    assert asker.due == now + 4.0
    asker.need("initial", now + 0.1)
    assert asker.due == now + RETRY


def test_each_dump_has_a_probe_of_its_own() -> None:
    probes = {DumpWindow().probe for _ in range(20)}
    assert len(probes) == 20
    assert all(probe.startswith(PROBE_PREFIX) for probe in probes)


DEVICES = [f"PJSIP/{number}" for number in range(5)]


class RacingServer:
    """An Asterisk whose dump races live changes (``main/stasis_cache.c``).

    A dump is a snapshot of the cache. Entry by entry it goes into the queue from which messages are published, while
    live changes go into the same queue: so the snapshot's old value can follow the new one. What is injected under
    the server's own EID (the probe) is published after the dump.
    """

    def __init__(self) -> None:
        self.truth = dict.fromkeys(DEVICES, NOT_INUSE)
        self.snapshot: deque[tuple[str, DeviceState]] = deque()
        self.queue: deque[tuple[str, DeviceState]] = deque()

    def change(self, device: str, state: DeviceState) -> None:
        if self.truth[device] is not state:
            self.truth[device] = state
            self.queue.append((device, state))

    def refresh(self, probe: str) -> None:
        self.snapshot.extend([*self.truth.items(), (probe, INUSE)])

    def step(self) -> None:
        if self.snapshot:
            self.queue.append(self.snapshot.popleft())


_steps = st.lists(
    st.just("step")
    | st.just("publish")
    | st.tuples(st.sampled_from(DEVICES), st.sampled_from([INUSE, BUSY, NOT_INUSE])),
    max_size=80,
)


@given(_steps)
@settings(max_examples=500)
def test_dumps_end_with_the_servers_truth_whatever_changed_meanwhile(
    steps: list[str | tuple[str, DeviceState]],
) -> None:
    server, asker, now = RacingServer(), dumps(), 0.0
    known: dict[str, DeviceState] = {"PJSIP/gone": BUSY}
    window: DumpWindow | None = None

    def publish() -> None:
        nonlocal window
        if not server.queue:
            return
        device, state = server.queue.popleft()
        if window is not None and device == window.probe:
            window = None
            for missing in asker.echoed({key(name) for name in known}, now).missing:
                del known[missing.key]
        else:
            known[device] = state
            asker.hear(Event.device(device, state, A))

    def ask() -> None:
        nonlocal window
        if asker.due is not None and asker.due <= now:
            window = asker.begin()
            server.refresh(window.probe)
            asker.asked()

    asker.need("start", now)
    for step in steps:
        now += 0.1
        ask()
        match step:
            case "step":
                server.step()
            case "publish":
                publish()
            case (device, state):
                server.change(device, DeviceState(state))
    # No more changes: dumps are asked for until none is unsure.
    deadline = now + 60.0
    while now < deadline:
        now += 0.1
        ask()
        server.step()
        publish()
        publish()
    assert known == server.truth
    assert asker.completed < 40


def test_without_the_window_a_dump_leaves_a_stale_value() -> None:
    # What the rule is for: NEW, then the snapshot's OLD.
    server, known = RacingServer(), dict.fromkeys(DEVICES, NOT_INUSE)
    server.refresh("probe")
    server.change("PJSIP/4", INUSE)
    while server.snapshot:
        server.step()
    for device, state in server.queue:
        known[device] = state
    assert server.truth["PJSIP/4"] is INUSE
    assert known["PJSIP/4"] is NOT_INUSE


def test_an_echo_without_a_dump_is_a_programming_error() -> None:
    with pytest.raises(AssertionError):
        dumps().echoed(set(), 0.0)
