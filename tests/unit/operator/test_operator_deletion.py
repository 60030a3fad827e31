"""What happens when an EventFederation is deleted: a withdrawal that never hangs."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from eventfed import EID, Lease
from eventfed.wire.roster import Roster
from eventfed_operator.actions import Apply, DeleteStream, PublishRoster, RemoveFinalizer, Requeue
from eventfed_operator.reconcile import reconcile
from eventfed_operator.rosters import roster_rules
from eventfed_operator.snapshot import BusSnapshot, Stream

LEASE = Lease(EID.parse("02:00:00:00:00:0a"), uid="uid-0", name="asterisk-0", agent="a", instance="i", epoch=1)


@pytest.fixture
def world(operator_world: Any) -> Any:
    """Two members on two nodes, all well."""
    world = operator_world()
    world.run()
    return world


def delete(world: Any) -> None:
    world.manifest["metadata"]["deletionTimestamp"] = world.now.isoformat()


def test_a_deletion_waits_for_the_withdrawal_and_then_lets_go(world: Any) -> None:
    world.bus = replace(world.bus, leases=(LEASE,))
    delete(world)
    actions = world.step()
    assert actions == (
        *(PublishRoster(node, Roster(node, rules=roster_rules(world.resource, ()))) for node in ("node-0", "node-1")),
        Requeue(1.0),
    )
    assert world.step() == (Requeue(1.0),)
    world.bus = replace(world.bus, leases=())
    assert world.step() == (DeleteStream("EVENTFED_voice_pbx_local"), RemoveFinalizer())
    assert world.step() == (), "nothing is made again while Kubernetes removes the rest"


def test_the_stream_is_kept_if_the_user_says_so(world: Any) -> None:
    world.change(deletionPolicy="Retain")
    world.settle()
    delete(world)
    assert RemoveFinalizer() in world.step()
    assert world.bus.stream is not None


def test_a_retained_stream_is_taken_over_by_the_next_of_the_name(world: Any) -> None:
    world.manifest["metadata"]["uid"] = "uid-of-the-next"
    world.objects.clear()
    world.settle()
    assert world.condition("BusReachable").status == "True"


@pytest.mark.parametrize(
    "bus", [BusSnapshot(problem="connection refused"), BusSnapshot(connected=True, leases=(LEASE,))]
)
def test_a_deletion_never_waits_longer_than_half_a_minute(world: Any, bus: BusSnapshot) -> None:
    world.bus = bus
    delete(world)
    assert world.step() == (Requeue(1.0),)
    world.now += timedelta(seconds=29)
    assert world.step() == (Requeue(1.0),)
    world.now += timedelta(seconds=1)
    assert world.step() == (RemoveFinalizer(),)


def test_a_stream_that_nats_does_not_delete_is_tried_no_longer_than_half_a_minute(world: Any) -> None:
    delete(world)
    assert DeleteStream("EVENTFED_voice_pbx_local", last_try=False) in world.actions()
    world.now += timedelta(seconds=30)
    assert DeleteStream("EVENTFED_voice_pbx_local", last_try=True) in world.actions()


def test_a_deletion_that_no_operator_saw_is_not_let_go_before_nats_is_asked(world: Any) -> None:
    delete(world)
    world.now += timedelta(minutes=5)
    bus, world.bus = world.bus, BusSnapshot(problem="not connected yet")
    fresh = replace(world.observed, since=world.now)
    assert reconcile(world.resource, world.settings, fresh) == (Requeue(1.0),)
    world.bus = bus
    late = replace(world.observed, since=world.now)
    assert DeleteStream("EVENTFED_voice_pbx_local") in reconcile(world.resource, world.settings, late)


def test_a_deletion_waits_for_nobody_if_there_are_no_agents(world: Any) -> None:
    world.agents, world.bus = [], replace(world.bus, leases=(LEASE,))
    delete(world)
    assert RemoveFinalizer() in world.step()


def test_the_stream_of_another_federation_outlives_a_deletion(world: Any) -> None:
    world.bus = replace(world.bus, stream=Stream("other/pbx", {}))
    delete(world)
    assert world.step() == (RemoveFinalizer(),)


def test_a_federation_that_never_was_allowed_goes_at_once(operator_world: Any) -> None:
    world = operator_world(federation="everybody")
    world.settle()
    delete(world)
    assert world.step() == (RemoveFinalizer(),)


def test_a_deletion_makes_no_object_in_a_namespace_that_ends(world: Any) -> None:
    world.objects.clear()
    world.agents = []
    delete(world)
    assert not any(isinstance(action, Apply) for action in world.step())
