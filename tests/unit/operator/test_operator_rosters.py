"""Which pods are members, and on whose roster they stand."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventfed.wire.roster import MAX_RULES, Roster, RosterMember
from eventfed_operator.actions import PublishRoster
from eventfed_operator.crd.resource import MembersSpec
from eventfed_operator.rosters import changed_rosters, roster_rules, select_members, wanted_rosters
from eventfed_operator.snapshot import AgentPod, Pod, Rival, read_agent, read_pod, read_rival


def rival(world: Any, name: str, *, older_by: float, **labels: str) -> Rival:
    members = MembersSpec.model_validate({"selector": {"matchLabels": labels or {"app": "asterisk"}}})
    return Rival(name, f"uid-of-{name}", world.resource.created - timedelta(seconds=older_by), members)


def names(pods: Any) -> list[str]:
    return [pod.name for pod in pods]


def test_selected_pods_are_members_in_the_order_of_their_names(operator_world: Any) -> None:
    world = operator_world()
    pods = [world.pod(2), world.pod(0), world.pod(1, labels={"app": "kamailio"})]
    assert names(select_members(world.resource, pods, []).members) == ["asterisk-0", "asterisk-2"]


@pytest.mark.parametrize(
    ("requirement", "labels", "selected"),
    [
        ({"operator": "In", "values": ["a", "b"]}, {"x": "b"}, True),
        ({"operator": "In", "values": ["a", "b"]}, {}, False),
        ({"operator": "NotIn", "values": ["a"]}, {"x": "b"}, True),
        ({"operator": "NotIn", "values": ["a"]}, {}, True),
        ({"operator": "NotIn", "values": ["a"]}, {"x": "a"}, False),
        ({"operator": "Exists"}, {"x": ""}, True),
        ({"operator": "Exists"}, {"y": ""}, False),
        ({"operator": "DoesNotExist"}, {"y": ""}, True),
        ({"operator": "DoesNotExist"}, {"x": ""}, False),
    ],
)
def test_expressions_select_as_kubernetes_does(
    operator_world: Any, requirement: dict[str, Any], labels: dict[str, str], selected: bool
) -> None:
    selector = {"matchLabels": {"app": "asterisk"}, "matchExpressions": [{"key": "x", **requirement}]}
    world = operator_world(members={"selector": selector})
    pods = [world.pod(0, labels={"app": "asterisk", **labels}), world.pod(1, labels=labels)]
    assert names(select_members(world.resource, pods, []).members) == (["asterisk-0"] if selected else [])


def test_a_selector_is_written_as_the_api_server_wants_it(operator_world: Any) -> None:
    expressions = [
        {"key": "tier", "operator": "In", "values": ["a", "b"]},
        {"key": "zone", "operator": "NotIn", "values": ["c"]},
        {"key": "sip", "operator": "Exists"},
        {"key": "old", "operator": "DoesNotExist"},
    ]
    selector = {"matchLabels": {"b": "2", "a": "1"}, "matchExpressions": expressions}
    members = operator_world(members={"selector": selector}).resource.spec.members
    assert members.selector.expression == "a=1,b=2,tier in (a,b),zone notin (c),sip,!old"


def test_a_pod_that_has_ended_is_no_member(operator_world: Any) -> None:
    world = operator_world()
    assert select_members(world.resource, [world.pod(0, ended=True)], []).members == ()


def test_a_pod_of_two_federations_belongs_to_the_older(operator_world: Any) -> None:
    world = operator_world()
    pods = [world.pod(0), world.pod(1)]
    selection = select_members(world.resource, pods, [rival(world, "older", older_by=5)])
    assert selection.members == ()
    assert [(pod.name, owner) for pod, owner in selection.contended] == [
        ("asterisk-0", "older"),
        ("asterisk-1", "older"),
    ]
    assert names(select_members(world.resource, pods, [rival(world, "newer", older_by=-5)]).members) == names(pods)


def test_of_two_made_in_the_same_second_the_lower_name_has_it(operator_world: Any) -> None:
    world = operator_world()
    assert select_members(world.resource, [world.pod(0)], [rival(world, "a", older_by=0)]).contended
    assert not select_members(world.resource, [world.pod(0)], [rival(world, "z", older_by=0)]).contended


def test_an_older_federation_takes_only_what_it_selects(operator_world: Any) -> None:
    world = operator_world()
    pods = [world.pod(0), world.pod(1, labels={"app": "asterisk", "tier": "trunk"})]
    selection = select_members(world.resource, pods, [rival(world, "older", older_by=5, tier="trunk")])
    assert names(selection.members) == ["asterisk-0"]
    assert names(pod for pod, _ in selection.contended) == ["asterisk-1"]


def test_a_federation_is_no_rival_of_its_own(operator_world: Any) -> None:
    world = operator_world()
    itself = rival(world, "pbx", older_by=5)
    itself = Rival(itself.name, world.resource.uid, itself.created, itself.members)
    assert select_members(world.resource, [world.pod(0)], [itself]).members


@settings(max_examples=100)
@given(ages=st.permutations([0, 1, 2]), labelled=st.lists(st.sampled_from(["a", "b", "c"]), max_size=8))
def test_each_pod_has_exactly_one_federation(
    operator_world: Callable[..., Any], ages: list[int], labelled: list[str]
) -> None:
    worlds = []
    for name, age in zip(("one", "two", "three"), ages, strict=True):
        world = operator_world(members={"selector": {"matchLabels": {"app": "asterisk"}}})
        world.manifest["metadata"] |= {"name": name, "uid": name, "creationTimestamp": f"2026-03-01T11:00:0{age}Z"}
        worlds.append(world)
    pods = [worlds[0].pod(i, labels={"app": "asterisk", "x": label}) for i, label in enumerate(labelled)]
    rivals = [Rival(w.resource.name, w.resource.uid, w.resource.created, w.resource.spec.members) for w in worlds]
    taken = [name for w in worlds for name in names(select_members(w.resource, pods, rivals).members)]
    assert sorted(taken) == sorted(names(pods))


@pytest.mark.parametrize(
    ("ports", "lacking"),
    [
        (frozenset(), False),
        (frozenset({(5060, "UDP")}), False),
        (frozenset({(5060, "UDP"), (8088, "TCP")}), False),
        (frozenset({(5060, "TCP")}), True),
        (frozenset({(5080, "UDP")}), True),
    ],
)
def test_pods_that_declare_other_ports_are_told(
    operator_world: Any, ports: frozenset[tuple[int, str]], lacking: bool
) -> None:
    world = operator_world()
    selection = select_members(world.resource, [world.pod(0, ports=ports)], [])
    assert bool(selection.without_port) is lacking
    assert selection.members, "what containers declare is a hint, so it is a member all the same"


def test_each_node_has_a_roster_of_its_members(operator_world: Any) -> None:
    world = operator_world(members={"selector": {"matchLabels": {"app": "asterisk"}}, "port": 5070})
    pods = [
        world.pod(1, node="node-a"),
        world.pod(0, node="node-a", terminating=True, ready=False),
        world.pod(2, node="node-b", address=""),
        world.pod(3, node="", address=""),
    ]
    agents = [AgentPod("x", "node-b", ready=False), AgentPod("y", "", ready=False)]
    assert wanted_rosters(world.resource, pods, agents) == {
        "node-a": Roster(
            "node-a",
            (
                RosterMember("asterisk-0", "uid-0", "10.1.0.1", 5070, "udp", leaving=True),
                RosterMember("asterisk-1", "uid-1", "10.1.0.2", 5070, "udp"),
            ),
        ),
        "node-b": Roster("node-b"),
    }


def test_rosters_bring_filters_and_departure_and_keep_them_while_paused(operator_world: Any) -> None:
    def rules() -> set[str]:
        return {one.rules for one in world.bus.rosters.values()}

    world = operator_world()
    world.run()
    world.settle()
    (before,) = rules()
    world.change(events=[{"type": "device_state", "exclude": ["^Custom:x"]}], departure={"gracePeriod": 7})
    published = [action for action in world.step() if isinstance(action, PublishRoster)]
    assert len(published) == len(world.bus.rosters) > 1
    (changed,) = rules()
    assert json.loads(changed)["events"] == [{"type": "device_state", "exclude": ["^Custom:x"]}]
    assert json.loads(changed)["departure"]["grace_period"] == 7
    world.change(paused=True, events=[{"type": "device_state"}])
    world.pods.append(world.pod(9, node="node-9"))
    world.settle()
    assert rules() == {changed}, "the new node's too"
    world.change(paused=False)
    world.settle()
    assert changed not in rules()
    assert before not in rules()


def test_rules_too_long_for_a_roster_are_left_to_the_agents_file(operator_world: Any) -> None:
    patterns = [f"^Custom:{number:03}{'x' * 240}$" for number in range(32)]
    world = operator_world(events=[{"type": "device_state", "include": patterns}])
    assert 0 < len(roster_rules(world.resource, ())) <= MAX_RULES
    world.change(events=[{"type": "device_state", "include": patterns, "exclude": [f"{one}y" for one in patterns]}])
    assert roster_rules(world.resource, ()) == ""


def test_only_what_changed_is_written() -> None:
    same, other = Roster("a"), Roster("b", (RosterMember("x", "u", "10.0.0.1"),))
    wanted = {"a": same, "b": other, "c": Roster("c")}
    present = {"a": Roster("a"), "b": Roster("b"), "gone": Roster("gone")}
    assert changed_rosters(wanted, present) == {"b": other, "c": Roster("c"), "gone": None}
    assert changed_rosters(wanted, wanted) == {}


POD: dict[str, Any] = {
    "metadata": {"name": "asterisk-0", "uid": "u", "labels": {"app": "asterisk"}},
    "spec": {
        "nodeName": "node-a",
        "containers": [{"ports": [{"containerPort": 5060, "protocol": "UDP"}, {"containerPort": 8088}]}, {}],
    },
    "status": {
        "phase": "Running",
        "podIP": "10.1.0.1",
        "conditions": [{"type": "Initialized", "status": "True"}, {"type": "Ready", "status": "True"}],
    },
}


def test_a_pod_is_read() -> None:
    assert read_pod(POD) == Pod(
        "asterisk-0",
        "u",
        {"app": "asterisk"},
        "node-a",
        "10.1.0.1",
        frozenset({(5060, "UDP"), (8088, "TCP")}),
        ready=True,
    )


def test_a_pod_that_was_just_made_is_read() -> None:
    assert read_pod({"metadata": {"name": "a", "uid": "u"}}) == Pod("a", "u", {})


@pytest.mark.parametrize(("phase", "ended"), [("Running", False), ("Succeeded", True), ("Failed", True)])
def test_a_pod_that_ended_or_ends_is_read(phase: str, ended: bool) -> None:
    manifest = {
        "metadata": {**POD["metadata"], "deletionTimestamp": "2026-03-01T12:00:00Z"},
        "spec": POD["spec"],
        "status": {**POD["status"], "phase": phase},
    }
    assert (read_pod(manifest).ended, read_pod(manifest).terminating) == (ended, True)
    assert read_agent(manifest) == AgentPod("asterisk-0", "node-a", ready=False)
    assert read_agent(POD) == AgentPod("asterisk-0", "node-a", ready=True)


def test_a_rival_is_read(operator_world: Any) -> None:
    world = operator_world()
    assert read_rival(world.manifest) == Rival("pbx", "uid-pbx", world.resource.created, world.resource.spec.members)
