"""The whole client without I/O, against a stream that is a dict: any faults, then peace, and all must agree.

The simulated clock is shared. A server that was stopped, a cut line and a lost store are steps of a generated script.
"""

from hypothesis import given, settings
from hypothesis import strategies as st

from eventfed import StateKey
from eventfed.core.claims import ClaimState
from eventfed.core.departures import Departures
from eventfed.jetstream.acknowledgements import read_acknowledgement
from tests.ground.federation_world import EIDS, SETTINGS, Node, World, device
from tests.ground.narrowing import present


def test_a_state_reaches_the_other_node_and_goes_with_its_owner() -> None:
    world = World(3)
    a, b, c = world.nodes
    a.claim(EIDS[0]).complete()
    a.ownership.publish(device(EIDS[0], 1, 2))
    world.run(1)
    assert a.shown() == b.shown() == c.shown() != {}
    a.stopped = True
    world.run(SETTINGS.lease_ttl + SETTINGS.grace_period - 3)
    assert b.shown() != {}
    world.run(10)
    assert b.shown() == c.shown() == {}
    assert b.counters.tombstones + c.counters.tombstones == 1


def test_an_owner_that_was_hung_while_its_member_moved_never_shows_its_own_value() -> None:
    world = World(3)
    a, b, c = world.nodes
    claim = a.claim(EIDS[0])
    a.ownership.publish(device(EIDS[0], 1, 2))
    world.run(1)
    a.ownership.publish(device(EIDS[0], 1, 3))
    a.send()
    a.stopped = True
    b.claim(EIDS[0])
    b.ownership.publish(device(EIDS[0], 1, 5))
    world.run(60)
    assert not claim.held
    a.stopped = False
    revision = c.view.revision
    world.run(5)
    assert claim.state is ClaimState.LOST
    assert c.shown() == {device(EIDS[0], 1, 5).state_key: device(EIDS[0], 1, 5).elements}
    assert c.view.revision == revision
    assert c.counters.received > 0


def test_an_answer_from_before_a_standstill_does_not_say_that_the_lease_is_held_still() -> None:
    world = World(2)
    a, b = world.nodes
    claim = a.claim(EIDS[0])
    world.run(1)
    claim.complete()  # The lease is written again.
    ((token, subject, message),) = a.outbox.take(world.now)
    answer = world.server.store(subject, message, world.now)
    a.stopped = True
    b.claim(EIDS[0])
    world.run(30)
    assert b.holds(EIDS[0])
    a.ownership.last_tick = world.now
    assert a.ownership.stalled()
    a.outbox.answer(token, read_acknowledgement(answer, None), world.now)
    assert not claim.held
    a.stopped = False
    world.run(5)
    assert claim.state is ClaimState.LOST


def test_nothing_is_written_while_nothing_changes_but_leases() -> None:
    world = World(2)
    a, b = world.nodes
    a.claim(EIDS[0]).complete()
    for number in range(20):
        a.ownership.publish(device(EIDS[0], number, 2))
    world.run(5)
    before = world.server.sequence
    world.run(10)
    leases = 10 / SETTINGS.lease_renewal
    renewals = 20 * 3 * 10 / SETTINGS.state_ttl
    assert world.server.sequence - before <= leases + renewals + 2
    assert b.shown() == a.shown()


def test_a_clock_behind_anothers_is_no_reason_to_be_ignored() -> None:
    world = World(2)
    a, b = world.nodes
    claim = a.claim(EIDS[0])
    a.ownership.publish(device(EIDS[0], 1, 2))
    world.run(1)
    claim.release()
    world.run(1)
    world.server.messages.clear()
    a.ownership.context.wall_clock = lambda: 1.0
    a.start()
    a.ownership.context.wall_clock = lambda: 1.0
    again = a.claim(EIDS[0])
    a.ownership.publish(device(EIDS[0], 1, 3))
    world.run(2)
    assert again.held
    assert again.epoch < claim.epoch
    assert b.shown() == {device(EIDS[0], 1, 3).state_key: device(EIDS[0], 1, 3).elements}


def test_a_third_party_that_published_in_the_owners_very_millisecond_gives_way_too() -> None:
    world = World(2)
    a, b = world.nodes
    key = device(EIDS[0], 1, 2).state_key
    a.ownership.publish(device(EIDS[0], 1, 2))
    claim = b.claim(EIDS[0])
    b.ownership.publish(device(EIDS[0], 1, 3))
    world.run(2)
    assert claim.held
    assert a.ownership.own_value(key) is None
    assert a.shown() == b.shown() == {key: device(EIDS[0], 1, 3).elements}


few = st.integers(0, 2)
steps = st.one_of(
    st.tuples(st.just("publish"), few, few, few, st.integers(1, 8)),
    st.tuples(st.sampled_from(["claim", "release", "retract"]), few, few, few),
    st.tuples(st.sampled_from(["stop", "resume", "restart", "cut", "heal", "send"]), few),
    st.tuples(st.just("run"), st.sampled_from([1, 1, 2, 7, 40])),
    st.tuples(st.sampled_from(["wipe", "late write", "power cut"]), st.integers(0, 30)),
)


def play(world: World, script: list[tuple[object, ...]]) -> None:
    for step, *arguments in script:
        number, which, name, state, *_ = [int(n) for n in arguments if isinstance(n, int)] + [0, 0, 0, 1]
        node, eid = world.nodes[number % len(world.nodes)], EIDS[which % len(EIDS)]
        claim = node.ownership.claims.get(eid)
        match step:
            case "run":
                world.run(number)
            case "wipe":
                world.server.wipe()
            case "late write":
                world.server.late_write(number)
            case "power cut":
                connected = [node for node in world.nodes if node.connected]
                for node in connected:
                    node.disconnect()
                world.server.roll_back(number % 7)
                for node in connected:
                    if not node.stopped:
                        node.connect()
            case "stop" | "resume":
                node.stopped = step == "stop"
            case "restart" | "cut" | "heal" | "send" if not node.stopped:
                {"restart": node.restart, "cut": node.disconnect, "heal": node.connect, "send": node.send}[step]()
            case "claim" if not node.stopped and (
                claim is None or claim.state in (ClaimState.LOST, ClaimState.RELEASED)
            ):
                node.claim(eid)
            case "publish" if not node.stopped and claim is not None:
                node.ownership.publish(device(eid, name, state))
            case "retract" if not node.stopped and claim is not None:
                node.ownership.retract(device(eid, name, 1).state_key)
            case "release" if not node.stopped and claim is not None:
                claim.release()


@given(st.lists(steps, max_size=40))
@settings(max_examples=settings().max_examples // 4)
def test_after_any_faults_everybody_shows_what_the_owners_say(script: list[tuple[object, ...]]) -> None:
    world = World(3)
    play(world, script)
    for node in world.nodes:
        node.stopped = False
        node.connect()
    world.run(5)
    for eid in EIDS:
        holders = [node for node in world.nodes if node.holds(eid)]
        assert len(holders) <= 1, f"{eid} is held by {[node.name for node in holders]}"
        for holder in holders:
            holder.ownership.claims[eid].complete()
    for node in world.nodes:
        for eid, claim in node.ownership.claims.items():
            assert claim.state is not ClaimState.WAITING
            assert claim.held == (claim.state is ClaimState.HELD), eid
    world.run(SETTINGS.lease_ttl + SETTINGS.grace_period + 3 * SETTINGS.deputy_delay + 2 * Departures._LOOK_AGAIN)
    truth: dict[StateKey, object] = {}
    held = {eid: node for eid in EIDS for node in world.nodes if node.holds(eid)}
    for eid, node in held.items():
        own = [key for key in node.view.of(eid) if node.ownership.own_value(key) is not None]
        truth |= {key: present(node.ownership.own_value(key)).elements for key in own}
    for node in [*world.nodes, Node(world, "late")]:
        # What an owner before left behind, the holder may take back: it is no departed server's.
        assert {key: value for key, value in node.shown().items() if key in truth or key.eid not in held} == truth
        assert node.view.leases.keys() == held.keys()
        assert node.ownership.idle
