"""What a new EventFederation tells while it starts."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from eventfed_operator.snapshot import AgentPod, BusSnapshot


def verdict(world: Any, kind: str) -> tuple[str, str]:
    world.settle()
    return world.condition(kind).status, world.condition(kind).reason


def test_a_new_federation_tells_of_nothing_but_that_it_is_ready(operator_world: Any) -> None:
    world = operator_world()
    world.manifest["metadata"]["creationTimestamp"] = world.now.isoformat()
    world.pods, world.agents = [world.pod(0)], [AgentPod("pbx-agent-0", "node-0", ready=False)]
    reasons = set()
    for bus in (
        BusSnapshot(problem="no connection to NATS"),
        BusSnapshot(connected=True, problem="stream not found"),
        None,
    ):
        world.bus = bus or replace(world.bus, problem=None)
        world.settle()
        world.schedule(1, ready=0)
        assert verdict(world, "Ready")[0] == "Unknown"
        reasons.add(verdict(world, "Ready")[1])
    assert reasons == {"Connecting", "BusTrouble", "AgentsNotReady"}
    world.run(nodes=1, members=1)
    assert [(one.type, one.reason, one.message) for one in world.notices] == [("Normal", "Synced", "1 member synced")]


def test_what_does_not_pass_within_a_minute_of_the_start_is_told(operator_world: Any) -> None:
    world = operator_world()
    world.manifest["metadata"]["creationTimestamp"] = world.now.isoformat()
    world.pods, world.agents = [world.pod(0)], [AgentPod("pbx-agent-0", "node-0", ready=False)]
    world.settle()
    world.schedule(1, ready=0)
    assert verdict(world, "AgentsReady") == ("Unknown", "AgentsNotReady")
    world.now += timedelta(seconds=60)
    assert verdict(world, "AgentsReady") == ("False", "AgentsNotReady")
    world.settle()
    assert [(one.type, one.reason) for one in world.notices] == [("Warning", "AgentsNotReady"), ("Normal", "Syncing")]
