"""`reconcile`: what it asks for, that it comes to rest, and that it puts right whatever somebody broke."""

import base64
import copy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventfed.wire.report import MemberState
from eventfed_operator.actions import (
    AddFinalizer,
    Apply,
    Delete,
    EmitEvent,
    EnsureStream,
    PublishRoster,
    WriteStatus,
)
from eventfed_operator.drift import matches
from eventfed_operator.snapshot import AgentPod, BusSnapshot, ObjectKey, Stream
from tests.ground.narrowing import present

SERVICE = ObjectKey("Service", "pbx-agent")
DAEMON_SET = ObjectKey("DaemonSet", "pbx-agent")
AGENTS = ObjectKey("Secret", "pbx-agent")
ASTERISK = ObjectKey("Secret", "pbx-asterisk")
OURS = {
    SERVICE,
    DAEMON_SET,
    AGENTS,
    ASTERISK,
    ObjectKey("ServiceAccount", "pbx-agent"),
    ObjectKey("NetworkPolicy", "pbx-agent"),
}


@pytest.fixture
def world(operator_world: Any) -> Any:
    """Two members on two nodes, all well."""
    world = operator_world()
    world.run()
    return world


def snippet(world: Any) -> str:
    return base64.b64decode(world.objects[ASTERISK]["data"]["pjsip_eventfed.conf"]).decode()


def kinds(actions: Any) -> list[type]:
    return [type(action) for action in actions]


def applied(actions: Any) -> list[ObjectKey]:
    return [action.key for action in actions if isinstance(action, Apply)]


# --- coming to rest ----------------------------------------------------------------------------------------------


def test_a_new_federation_gets_all_it_needs_and_then_there_is_rest(operator_world: Any) -> None:
    world = operator_world()
    first = world.step()
    assert kinds(first)[0] is AddFinalizer, "before anything that a deletion would have to undo"
    assert set(applied(first)) == OURS - {ASTERISK}, "the snippet names the Service's address, which is not known yet"
    world.settle()
    assert world.objects.keys() == OURS
    assert world.bus.stream.owner == "voice/pbx"
    assert world.actions() == ()


def test_everything_can_come_in_any_order(operator_world: Any) -> None:
    pods_first, resource_first = operator_world(), operator_world()
    pods_first.run()
    resource_first.settle()
    resource_first.run()
    assert pods_first.status.members == resource_first.status.members
    assert pods_first.condition("Ready").status == resource_first.condition("Ready").status == "True"
    assert pods_first.bus.rosters == resource_first.bus.rosters


def test_reconcile_changes_nothing_that_it_is_given(world: Any) -> None:
    observed, resource = world.observed, world.resource
    before = copy.deepcopy((observed, resource))
    world.actions()
    assert (observed, resource) == before


def test_the_same_state_gives_the_same_actions(world: Any) -> None:
    world.pods.append(world.pod(2))
    del world.objects[SERVICE]
    first = world.actions()
    world.tokens -= 1
    assert first == world.actions()


@settings(max_examples=100)
@given(
    lost=st.sets(st.sampled_from(sorted(OURS, key=str))),
    pods=st.integers(0, 5),
    nodes=st.integers(0, 3),
    connected=st.booleans(),
    stream=st.booleans(),
    paused=st.booleans(),
    rosters=st.booleans(),
)
def test_from_any_state_there_is_rest_after_a_few_rounds(
    operator_world: Any,
    lost: set[ObjectKey],
    pods: int,
    nodes: int,
    connected: bool,
    stream: bool,
    paused: bool,
    rosters: bool,
) -> None:
    world = operator_world()
    world.run()
    for key in lost:
        del world.objects[key]
    world.change(paused=paused)
    world.pods = [world.pod(i, node=f"node-{i}") for i in range(pods)]
    world.agents = [AgentPod(f"agent-{i}", f"node-{i}", ready=True) for i in range(nodes)]
    world.bus = replace(
        world.bus,
        connected=connected,
        stream=world.bus.stream if stream and connected else None,
        rosters=world.bus.rosters if rosters else {},
    )
    world.settle(rounds=4)
    if not paused:
        assert world.objects.keys() == OURS
    if connected and world.bus.stream is not None:
        assert world.bus.rosters.keys() == {f"node-{i}" for i in range(max(pods, nodes))}


# --- drift -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", sorted(OURS, key=str), ids=lambda key: f"{key.kind} {key.name}")
def test_an_object_that_was_deleted_is_made_again_as_it_was(world: Any, key: ObjectKey) -> None:
    before = world.objects.pop(key)
    assert applied(world.step()) == [key]
    for part in ("spec", "data"):
        assert matches(world.objects[key].get(part), before.get(part)), part
    assert applied(world.step()) == []


EDITS: list[tuple[ObjectKey, Any]] = [
    (DAEMON_SET, lambda one: one["spec"]["template"]["spec"]["containers"][0].update(image="other")),
    (DAEMON_SET, lambda one: one["spec"]["updateStrategy"]["rollingUpdate"].update(maxUnavailable=1)),
    (DAEMON_SET, lambda one: one["spec"]["template"]["spec"]["volumes"].clear()),
    (SERVICE, lambda one: one["spec"].update(internalTrafficPolicy="Cluster")),
    (SERVICE, lambda one: one["spec"]["selector"].clear()),
    (ASTERISK, lambda one: one["data"].update({"pjsip_eventfed.conf": "aGVsbG8="})),
    (AGENTS, lambda one: one["data"].pop("agent.toml")),
    (AGENTS, lambda one: one["data"].update(token="c29tZWJvZHktZWxzZXM=")),
    (ObjectKey("NetworkPolicy", "pbx-agent"), lambda one: one["spec"]["ingress"].append({})),
    (ObjectKey("ServiceAccount", "pbx-agent"), lambda one: one.update(automountServiceAccountToken=True)),
]


@pytest.mark.parametrize(("key", "edit"), EDITS, ids=[f"{key.kind} {key.name} {i}" for i, (key, _) in enumerate(EDITS)])
def test_an_object_that_was_edited_is_put_right(world: Any, key: ObjectKey, edit: Any) -> None:
    before = copy.deepcopy(world.objects)
    edit(world.objects[key])
    assert applied(world.step()) == [key]
    for part in ("spec", "data", "automountServiceAccountToken"):
        assert world.objects[key].get(part) == before[key].get(part), part
    assert applied(world.step()) == []


def test_what_the_user_no_longer_asks_for_goes(world: Any) -> None:
    world.change(agent={"placement": {"nodeSelector": {"pool": "voice"}}})
    world.settle()
    assert "nodeSelector" in world.objects[DAEMON_SET]["spec"]["template"]["spec"]
    world.change(agent={})
    world.settle()
    assert "nodeSelector" not in world.objects[DAEMON_SET]["spec"]["template"]["spec"]


def test_objects_of_somebody_else_are_left_alone(operator_world: Any) -> None:
    world = operator_world()
    somebodys = {"metadata": {"name": "pbx-agent", "uid": "x", "labels": {}}, "spec": {}}
    world.objects[SERVICE] = copy.deepcopy(somebodys)
    world.settle()
    assert world.objects == {SERVICE: somebodys}
    assert world.condition("AgentsReady").reason == "NameTaken"
    del world.objects[SERVICE]
    world.settle()
    assert world.objects.keys() == OURS


# --- the address that members know -------------------------------------------------------------------------------


def test_a_lost_service_is_made_again_with_its_address(world: Any) -> None:
    address = world.objects[SERVICE]["spec"]["clusterIP"]
    assert address in snippet(world)
    del world.objects[SERVICE]
    world.settle()
    assert world.objects[SERVICE]["spec"]["clusterIP"] == address
    assert world.status.agents.address == f"{address}:5066"


def test_a_service_that_somebody_made_again_is_replaced(world: Any) -> None:
    address = world.objects[SERVICE]["spec"]["clusterIP"]
    world.objects[SERVICE]["spec"]["clusterIP"] = "10.96.9.9"
    actions = world.step()
    assert kinds(actions)[0] is Delete
    assert applied(actions) == [SERVICE]
    assert world.objects[SERVICE]["spec"]["clusterIP"] == address
    world.settle()


def test_an_address_that_another_service_has_by_now_is_given_up(world: Any) -> None:
    old = world.objects.pop(SERVICE)["spec"]["clusterIP"]
    world.address_refused = old
    world.settle()
    new = world.objects[SERVICE]["spec"]["clusterIP"]
    assert new != old
    assert world.status.agents.address == f"{new}:5066"
    assert new in snippet(world)
    assert old not in snippet(world)


def test_an_ipv6_address_is_kept_too(world: Any) -> None:
    world.objects[SERVICE]["spec"]["clusterIP"] = "fd00::7"
    world.manifest["status"]["agents"]["address"] = ""
    world.settle()
    assert world.status.agents.address == "[fd00::7]:5066"
    assert "sip:eventfed@[fd00::7]:5066" in snippet(world)
    del world.objects[SERVICE]
    world.settle()
    assert world.objects[SERVICE]["spec"]["clusterIP"] == "fd00::7"


# --- changes -----------------------------------------------------------------------------------------------------


def test_filters_change_the_file_and_roll_nobody(world: Any) -> None:
    world.change(events=[{"type": "device_state", "exclude": ["^Custom:"]}])
    assert applied(world.actions()) == [AGENTS]


def test_another_image_rolls_the_agents_and_nothing_else(world: Any) -> None:
    world.change(agent={"image": "registry.example/eventfed:2"})
    assert applied(world.actions()) == [DAEMON_SET]


def test_another_selector_changes_rosters_and_who_may_reach_the_agents(world: Any) -> None:
    world.pods.append(world.pod(7, labels={"app": "trunk"}, node="node-0"))
    world.change(members={"selector": {"matchLabels": {"app": "trunk"}}})
    actions = world.step()
    assert applied(actions) == [ObjectKey("NetworkPolicy", "pbx-agent")]
    rosters = {action.node: action.roster for action in actions if isinstance(action, PublishRoster)}
    assert [one.name for one in present(rosters["node-0"]).members] == ["asterisk-7"]
    assert present(rosters["node-1"]).members == ()


def test_scaling_changes_only_the_rosters_concerned(world: Any) -> None:
    world.pods.append(world.pod(2, node="node-1"))
    actions = world.step()
    assert [action.node for action in actions if isinstance(action, PublishRoster)] == ["node-1"]
    assert applied(actions) == []
    world.report(("uid-2", MemberState.SYNCED))
    world.settle()
    assert world.status.members.summary == "3/3"
    world.pods.pop()
    world.settle()
    assert world.status.members.summary == "2/2"


def test_a_node_without_members_and_agent_has_no_roster(world: Any) -> None:
    world.pods.pop()
    world.agents.pop()
    assert PublishRoster("node-1", None) in world.step()
    assert world.bus.rosters.keys() == {"node-0"}


def test_while_paused_only_rosters_and_status_are_written(world: Any) -> None:
    world.change(paused=True, agent={"logLevel": "debug"})
    del world.objects[SERVICE]
    world.pods.append(world.pod(2))
    actions = world.step()
    assert set(kinds(actions)) == {PublishRoster, WriteStatus, EmitEvent}
    world.change(paused=False)
    assert set(applied(world.step())) == {SERVICE, DAEMON_SET, AGENTS}


def test_a_rotation_reaches_both_secrets_and_the_agents(world: Any) -> None:
    before = base64.b64decode(world.objects[AGENTS]["data"]["token"]).decode()
    world.manifest["metadata"]["annotations"] = {"eventfed.io/rotate-token": "monday"}
    assert set(applied(world.step())) == {AGENTS, ASTERISK}, "agents take it over by themselves"
    assert base64.b64decode(world.objects[AGENTS]["data"]["previous-token"]).decode() == before
    assert snippet(world).count("match_header") == 2
    world.settle()
    world.report(("uid-0", MemberState.SYNCED), ("uid-1", MemberState.SYNCED), accepts_current=True)
    world.settle()
    assert "previous-token" not in world.objects[AGENTS]["data"]
    assert snippet(world).count("match_header") == 1


def test_a_rotation_does_not_end_while_one_member_has_not_answered(world: Any) -> None:
    world.manifest["metadata"]["annotations"] = {"eventfed.io/rotate-token": "monday"}
    world.settle()
    world.report(("uid-0", MemberState.SYNCED), accepts_current=True)
    world.report(("uid-1", MemberState.SYNCED), accepts_current=False)
    world.settle()
    assert "previous-token" in world.objects[AGENTS]["data"]


# --- the stream --------------------------------------------------------------------------------------------------


def test_the_stream_is_made_as_federations_need_it(operator_world: Any) -> None:
    world = operator_world(nats={"stream": {"replicas": 3, "storage": "Memory", "maxBytes": 2_000_000}})
    made = next(action for action in world.step() if isinstance(action, EnsureStream))
    assert made.exists is False
    wanted = {
        "name": "EVENTFED_voice_pbx_local",
        "num_replicas": 3,
        "storage": "memory",
        "max_bytes": 2_000_000,
        "discard": "new",
        "max_msgs_per_subject": 1,
        "metadata": {"eventfed.io/owner": "voice/pbx"},
    }
    assert wanted.items() <= dict(made.configuration).items()


def test_a_stream_of_ours_is_changed_and_what_nats_adds_let_be(world: Any) -> None:
    there = {**world.bus.stream.configuration, "consumer_limits": {}}
    there["metadata"] = {**there["metadata"], "_nats.level": "1"}
    there.pop("max_age")
    world.bus = replace(world.bus, stream=replace(world.bus.stream, configuration=there))
    assert world.step() == ()
    world.change(nats={"stream": {"replicas": 3}})
    changed = next(action for action in world.step() if isinstance(action, EnsureStream))
    assert changed.exists is True
    assert changed.configuration["num_replicas"] == 3


@pytest.mark.parametrize(("owner", "writes"), [("other/pbx", False), ("", True)])
def test_a_stream_of_somebody_else_is_not_changed(world: Any, owner: str, writes: bool) -> None:
    world.bus = replace(world.bus, stream=Stream(owner, {"num_replicas": 5}), rosters={})
    actions = world.step()
    assert EnsureStream not in kinds(actions)
    assert (PublishRoster in kinds(actions)) is writes


def test_while_nats_is_away_nothing_is_asked_of_it(world: Any) -> None:
    world.bus = BusSnapshot(problem="connection refused")
    assert not set(kinds(world.step())) & {EnsureStream, PublishRoster}
    assert world.objects.keys() == OURS


def test_a_federation_that_may_not_be_has_nothing(operator_world: Any) -> None:
    world = operator_world(federation="everybody")
    world.pods, world.agents = [world.pod(0)], [AgentPod("a", "node-0", ready=True)]
    world.settle()
    assert world.objects == {}
    assert (world.bus.stream, world.bus.rosters) == (None, {})
    world.settings = replace(world.settings, allow_federations=frozenset({"everybody"}))
    world.settle()
    assert world.objects.keys() == OURS


def test_on_servers_of_their_own_tenants_name_federations_as_they_like(operator_world: Any) -> None:
    world = operator_world(federation="everybody", nats={"servers": ["nats://n:4222"]})
    world.settle()
    assert world.objects.keys() == OURS
