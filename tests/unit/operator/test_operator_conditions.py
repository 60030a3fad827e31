"""Conditions, their messages, and the events about their transitions."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from eventfed import EID, Lease
from eventfed.jetstream.connection import explain
from eventfed.wire.report import MemberState
from eventfed_operator.crd.status import MAX_NOTED_MEMBERS, ConditionType, EventFederationStatus
from eventfed_operator.resources import Settings
from eventfed_operator.snapshot import AgentPod, BusSnapshot, ObjectKey, Rival, Stream
from eventfed_operator.statuses import differs, invalid_status

DAEMON_SET = ObjectKey("DaemonSet", "pbx-agent")
OWN_NATS = {"servers": ["nats://n:4222"], "credentials": {"token": {"name": "nats", "key": "token"}}}


@pytest.fixture
def world(operator_world: Any) -> Any:
    """Two members on two nodes, all well."""
    world = operator_world()
    world.run()
    return world


def verdict(world: Any, kind: str) -> tuple[str, str]:
    world.settle()
    return world.condition(kind).status, world.condition(kind).reason


def message(world: Any, kind: str) -> str:
    text: str = world.condition(kind).message
    return text


def test_when_all_is_well_every_condition_is_true(world: Any) -> None:
    assert {one.type for one in world.status.conditions} == set(ConditionType)
    assert {one.status for one in world.status.conditions if one.type != "Stalled"} == {"True"}
    assert verdict(world, "Stalled") == ("False", "NotStalled")
    assert {one.observed_generation for one in world.status.conditions} == {1}
    assert verdict(world, "Ready") == ("True", "Synced")
    assert world.status.members.summary == "2/2"
    assert world.status.agents.summary == "2/2"
    assert world.status.federation == "voice_pbx"
    assert world.status.noted_members == ()


def test_a_pod_without_the_snippet_is_told_which_lines_it_lacks(world: Any) -> None:
    world.report(("uid-1", MemberState.NOT_CONFIGURED))
    assert verdict(world, "MembersConfigured") == ("False", "NotConfigured")
    assert verdict(world, "Ready") == ("False", "NotConfigured")
    text = message(world, "MembersConfigured")
    assert "asterisk-1" in text
    assert "Secret pbx-asterisk (optional: true)" in text
    assert '#tryinclude "/etc/asterisk-eventfed/pjsip_eventfed.conf"' in text
    assert world.status.members.not_configured == 1
    assert [(one.name, one.reason) for one in world.status.noted_members] == [("asterisk-1", "NotConfigured")]
    assert "#tryinclude" in world.status.noted_members[0].message


def test_a_pod_that_is_not_configured_is_told_what_its_agent_saw(world: Any) -> None:
    seen = "it answers our PUBLISH 501: res_pjsip_pubsub is not loaded"
    world.report(("uid-1", MemberState.NOT_CONFIGURED), reason=seen)
    assert verdict(world, "MembersConfigured") == ("False", "NotConfigured")
    assert f"asterisk-1: {seen}. " in message(world, "MembersConfigured")
    assert "publishes nothing" not in message(world, "MembersConfigured")
    assert world.status.noted_members[0].message.startswith(f"{seen}. ")


def no_pods(world: Any) -> None:
    world.pods = []


def other_owner(world: Any) -> None:
    older = world.resource.created - timedelta(days=1)
    world.rivals = [Rival("first", "uid-first", older, world.resource.spec.members)]


def wrong_port(world: Any) -> None:
    world.pods[1] = replace(world.pods[1], ports=frozenset({(5080, "UDP")}))
    world.report(("uid-1", MemberState.CONNECTING))


def duplicate(world: Any) -> None:
    world.report(("uid-1", MemberState.DUPLICATE), eid="02:00:00:00:00:0a")


def lost(world: Any) -> None:
    world.report(("uid-1", MemberState.LOST))


def syncing(world: Any) -> None:
    world.report(("uid-0", MemberState.SYNCING), ("uid-1", MemberState.CONNECTING))


def unreported(world: Any) -> None:
    world.pods.append(world.pod(2))


def polling(world: Any) -> None:
    world.report(("uid-1", MemberState.SYNCED), contended_mailboxes=3)


def two_announce(world: Any) -> None:
    world.bus = replace(world.bus, contended_names=("Custom:night",))


def agent_down(world: Any) -> None:
    world.agents[1] = replace(world.agents[1], ready=False)
    world.schedule(2, ready=1)


def tainted(world: Any) -> None:
    world.pods[1] = replace(world.pods[1], node="node-tainted")


def nowhere(world: Any) -> None:
    world.pods, world.agents = [world.pod(0, node="")], []
    world.schedule(0)


def bus_away(world: Any) -> None:
    world.bus = BusSnapshot(connected=False, problem="connection refused")


def refused(world: Any) -> None:
    world.bus = BusSnapshot(connected=False, problem=explain(Exception("nats: 'Authorization Violation'")))


def stolen(world: Any) -> None:
    world.bus = replace(world.bus, stream=Stream("other/pbx", {}))


def trouble(world: Any) -> None:
    world.bus = replace(world.bus, problem="STREAM.UPDATE: insufficient resources (10047)")


def agents_trouble(world: Any) -> None:
    world.bus = replace(world.bus, agent_problems={"node-1": "NATS refuses x: maximum bytes exceeded (10077)"})


def no_right(world: Any) -> None:
    world.manifest["spec"]["federation"] = "everybody"


def no_nats(world: Any) -> None:
    world.settings = Settings("image")


def not_looked_at(world: Any) -> None:
    del world.objects[DAEMON_SET]["status"]


def taken(world: Any) -> None:
    world.objects[ObjectKey("Service", "pbx-agent")]["metadata"]["ownerReferences"] = [
        {"uid": "somebody", "controller": True}
    ]


TROUBLES: list[tuple[Any, str, str, str, str]] = [
    (no_pods, "MembersConfigured", "False", "NoPodMatches", "No pod of namespace voice has the labels app=asterisk"),
    (other_owner, "MembersConfigured", "False", "MemberContended", "asterisk-0 (of first)"),
    (wrong_port, "MembersConfigured", "False", "PortNotDeclared", "No container has port 5060/UDP in asterisk-1"),
    (duplicate, "EntityIDsUnique", "False", "DuplicateEntityID", "asterisk-1 (02:00:00:00:00:0a)"),
    (lost, "MembersSynced", "False", "MembersLost", "1 of 2 members synced; no answer from asterisk-1"),
    (syncing, "MembersSynced", "False", "Syncing", "0 of 2 members synced; not yet: asterisk-0, asterisk-1"),
    (unreported, "MembersSynced", "False", "Syncing", "2 of 3 members synced; not yet: asterisk-2"),
    (polling, "NamesUncontended", "False", "MailboxContended", "Set pollmailboxes=no in voicemail.conf"),
    (two_announce, "NamesUncontended", "False", "NameContended", "Custom:night: let one do it"),
    (agent_down, "AgentsReady", "False", "AgentsNotReady", "1 of 2 agents are ready; not: pbx-agent-1"),
    (tainted, "AgentsReady", "False", "NodesWithoutAgent", "spec.agent.placement.tolerations"),
    (nowhere, "AgentsReady", "False", "NoNodeForAgents", "look at spec.agent.placement"),
    (not_looked_at, "AgentsReady", "Unknown", "AgentsStarting", "has not looked at the DaemonSet"),
    (taken, "AgentsReady", "False", "NameTaken", "Service pbx-agent. Delete it, or choose another name"),
    (bus_away, "BusReachable", "False", "BusUnreachable", "connection refused. Members keep what they have"),
    (refused, "BusReachable", "False", "CredentialsRefused", "Restart the chart's NATS if"),
    (stolen, "BusReachable", "False", "StreamOwnedByAnother", "belongs to EventFederation other/pbx"),
    (trouble, "BusReachable", "False", "BusTrouble", "insufficient resources"),
    (agents_trouble, "BusReachable", "False", "BusTrouble", "NATS, for agent node-1: NATS refuses x: maximum bytes"),
    (no_right, "BusReachable", "False", "FederationNotAllowed", "add it to allowFederations"),
    (no_nats, "BusReachable", "False", "NoNats", "name your servers"),
]
UNBLOCKING = {"NamesUncontended"}


@pytest.mark.parametrize(
    ("cause", "kind", "status", "reason", "text"), TROUBLES, ids=[cause.__name__ for cause, *_ in TROUBLES]
)
def test_a_trouble_is_told_with_what_to_do(
    world: Any, cause: Any, kind: str, status: str, reason: str, text: str
) -> None:
    cause(world)
    assert verdict(world, kind) == (status, reason)
    assert text in message(world, kind)
    if kind not in UNBLOCKING:
        assert verdict(world, "Ready") == (status, reason)
        assert message(world, "Ready") == message(world, kind)
    else:
        assert verdict(world, "Ready")[0] == "True"
    final = reason in {"NameTaken", "StreamOwnedByAnother", "FederationNotAllowed", "NoNats"}
    assert verdict(world, "Stalled") == (("True", reason) if final else ("False", "NotStalled"))
    kinds = [one.type for one in world.notices if one.reason == reason]
    assert status == "Unknown" or kinds == ["Normal" if reason == "Syncing" else "Warning"]


@pytest.mark.parametrize("cause", [bus_away, lost, duplicate, agent_down, polling], ids=lambda one: one.__name__)
def test_a_trouble_that_went_heals(world: Any, cause: Any) -> None:
    well = {one.type: one.status for one in world.status.conditions}
    agents, bus = list(world.agents), world.bus
    cause(world)
    world.settle()
    assert {one.type: one.status for one in world.status.conditions} != well
    world.notices.clear()
    world.agents, world.bus = agents, bus
    world.schedule(2)
    world.settle()
    assert {one.type: one.status for one in world.status.conditions} == well
    assert world.notices
    assert {one.type for one in world.notices} == {"Normal"}


def test_refused_credentials_of_a_nats_of_ones_own_are_told_by_the_field_that_names_them(operator_world: Any) -> None:
    world = operator_world(nats={"servers": ["nats://n:4222"]})
    world.run()
    refused(world)
    assert verdict(world, "BusReachable") == ("False", "CredentialsRefused")
    assert "NATS refuses our credentials" in message(world, "BusReachable")
    assert "Check spec.nats.credentials" in message(world, "BusReachable")


def test_a_missing_secret_is_named_and_the_agents_stay_as_they_are(operator_world: Any) -> None:
    world = operator_world(nats=OWN_NATS)
    world.secrets = {"nats": {"metadata": {"resourceVersion": "1"}, "data": {"token": "eA=="}}}
    world.run()
    before = world.objects[DAEMON_SET]
    keyless: dict[str, Any] = {"nats": {"metadata": {}, "data": {}}}
    for secrets, missing in (({}, "Secret nats"), (keyless, "key token of Secret nats")):
        world.secrets = secrets
        assert verdict(world, "BusReachable") == ("False", "SecretMissing")
        assert message(world, "BusReachable") == f"Missing: {missing}"
        assert world.objects[DAEMON_SET] == before
    world.secrets = {"nats": {"metadata": {"resourceVersion": "2"}, "data": {"token": "eQ=="}}}
    assert verdict(world, "BusReachable") == ("True", "Connected")
    assert world.objects[DAEMON_SET] != before


def test_while_nats_is_away_nobody_knows_of_members(world: Any) -> None:
    bus_away(world)
    world.settle()
    for kind in ("MembersSynced", "EntityIDsUnique", "NamesUncontended", "MembersConfigured"):
        assert verdict(world, kind) == ("Unknown", "BusUnreachable")


def test_a_stream_that_somebody_made_by_hand_will_do(world: Any) -> None:
    world.bus = replace(world.bus, stream=Stream("", {"name": "EVENTFED_voice_pbx_local"}))
    assert verdict(world, "BusReachable") == ("True", "Connected")


def test_of_two_servers_with_one_eid_both_are_named(world: Any) -> None:
    eid = EID.parse("02:00:00:00:00:0a")
    lease = Lease(eid, uid="uid-0", name="asterisk-0", agent="a", instance="i", epoch=1)
    world.bus = replace(world.bus, leases=(lease,))
    duplicate(world)
    world.settle()
    assert message(world, "EntityIDsUnique") == (
        "Two servers with one EID: asterisk-1 and asterisk-0 (02:00:00:00:00:0a). "
        "Give each an entityid of its own in asterisk.conf"
    )


def test_a_rollout_does_not_make_a_federation_unready(world: Any) -> None:
    world.objects[DAEMON_SET]["status"]["updatedNumberScheduled"] = 1
    assert verdict(world, "AgentsReady") == ("True", "RollingOut")
    world.schedule(2)
    world.objects[DAEMON_SET]["metadata"]["generation"] += 1
    assert verdict(world, "AgentsReady") == ("True", "RollingOut")
    assert verdict(world, "Ready")[0] == "True"


def test_paused_is_told(world: Any) -> None:
    world.change(paused=True)
    assert verdict(world, "Ready") == ("True", "Paused")


def test_the_time_of_a_transition_stands_until_the_next(world: Any) -> None:
    began = world.condition("Ready").last_transition_time
    world.now += timedelta(minutes=1)
    world.report(("uid-1", MemberState.SYNCED), contended_mailboxes=1)
    world.settle()
    assert world.condition("Ready").last_transition_time == began
    world.report(("uid-1", MemberState.LOST))
    world.settle()
    assert world.condition("Ready").last_transition_time == "2026-03-01T12:01:00Z"
    world.now += timedelta(minutes=1)
    world.report(("uid-1", MemberState.SYNCING))
    world.settle()
    assert world.condition("Ready").reason == "Syncing"
    assert world.condition("Ready").last_transition_time == "2026-03-01T12:01:00Z", "it is false for another reason"


def test_a_fault_that_is_there_from_the_first_look_is_told(operator_world: Any) -> None:
    world = operator_world(nats=OWN_NATS)
    world.manifest["metadata"]["creationTimestamp"] = world.now.isoformat()
    world.settle()
    assert [(one.type, one.reason) for one in world.notices] == [("Warning", "SecretMissing")]


def test_what_was_well_once_is_told_at_once_however_new_the_federation_is(operator_world: Any) -> None:
    world = operator_world()
    world.manifest["metadata"]["creationTimestamp"] = world.now.isoformat()
    world.run()
    world.notices.clear()
    agent_down(world)
    assert verdict(world, "AgentsReady") == ("False", "AgentsNotReady")
    bus_away(world)
    assert verdict(world, "BusReachable") == ("False", "BusUnreachable")
    assert [(one.type, one.reason) for one in world.notices] == [
        ("Warning", "AgentsNotReady"),
        ("Warning", "BusUnreachable"),
    ]


def test_events_are_made_at_transitions_only(world: Any) -> None:
    world.notices.clear()
    for minute in range(5):
        world.now += timedelta(minutes=minute)
        world.settle()
    assert world.notices == []
    world.report(("uid-1", MemberState.LOST))
    world.settle()
    world.settle()
    assert [(one.type, one.reason) for one in world.notices] == [("Warning", "MembersLost")]


def test_a_member_that_is_being_deleted_is_no_loss_to_warn_of(world: Any) -> None:
    world.notices.clear()
    world.pods[1] = replace(world.pods[1], terminating=True)
    world.report(("uid-1", MemberState.LOST))
    assert verdict(world, "MembersSynced") == ("False", "Syncing")
    assert message(world, "MembersSynced") == "1 of 2 members synced; no answer from asterisk-1, being deleted"
    assert [one.type for one in world.notices] == ["Normal"]


def test_nats_that_lets_us_in_is_given_a_minute_to_have_the_stream(world: Any) -> None:
    stream = world.bus.stream
    refused(world)
    world.settle()
    world.notices.clear()
    judged = []
    for _ in range(4):
        # The world makes the stream that we ask for: too late each time.
        world.bus = replace(world.bus, connected=True, problem=None, stream=None)
        world.step()
        judged.append((world.condition("BusReachable").status, world.condition("BusReachable").reason))
        world.now += timedelta(seconds=25)
    assert judged == [("Unknown", "StreamMissing")] * 3 + [("False", "StreamMissing")]
    world.bus = replace(world.bus, stream=stream)
    assert verdict(world, "BusReachable") == ("True", "Connected")
    assert [one.reason for one in world.notices if one.type == "Warning"] == ["StreamMissing"]


def test_a_status_names_a_few_members_however_many_there_are(operator_world: Any) -> None:
    world = operator_world()
    world.run(nodes=20, members=2_000, state=MemberState.SYNCING)
    world.report(("uid-1500", MemberState.DUPLICATE))
    world.settle()
    assert world.status.members.total == 2_000
    assert len(world.status.noted_members) == MAX_NOTED_MEMBERS
    assert world.status.noted_members[0].name == "asterisk-1500", "the gravest comes first"
    assert len(world.status.model_dump_json()) < 8_000
    assert "and 1997 more" in message(world, "MembersSynced")


def test_members_without_an_agent_are_counted_and_noted(world: Any) -> None:
    world.pods.append(world.pod(2, node="node-tainted"))
    world.settle()
    assert world.status.members.without_agent == 1
    assert [(one.name, one.reason) for one in world.status.noted_members] == [("asterisk-2", "NoAgent")]


def test_a_stream_that_grows_a_little_is_no_news(world: Any) -> None:
    world.bus = replace(world.bus, stream=replace(world.bus.stream, messages=100, bytes=20_000))
    world.settle()
    assert world.status.stream.messages == 100
    world.bus = replace(world.bus, stream=replace(world.bus.stream, messages=105, bytes=21_000))
    assert world.step() == ()
    world.bus = replace(world.bus, stream=replace(world.bus.stream, messages=150, bytes=30_000))
    world.settle()
    assert world.status.stream.messages == 150


def test_a_status_is_worth_a_write_when_it_differs() -> None:
    one = EventFederationStatus(federation="a")
    assert not differs(one, EventFederationStatus(federation="a"))
    assert differs(one, EventFederationStatus(federation="b"))


def test_an_invalid_spec_is_told_and_the_rest_stays(world: Any) -> None:
    before = {one.type: one for one in world.status.conditions}
    status = invalid_status(world.status, generation=7, message="spec.events: is missing: write a list", now=world.now)
    after = {one.type: one for one in status.conditions}
    assert (after["Ready"].status, after["Ready"].reason) == ("False", "InvalidSpec")
    assert after["Ready"].message == "spec.events: is missing: write a list"
    assert (after["Stalled"].status, after["Stalled"].reason) == ("True", "InvalidSpec")
    assert after["AgentsReady"].status == before["AgentsReady"].status
    assert after["AgentsReady"].last_transition_time == before["AgentsReady"].last_transition_time
    assert (status.observed_generation, status.members) == (7, world.status.members)


def test_an_agent_that_is_not_ready_is_named(world: Any) -> None:
    world.agents = [AgentPod(f"pbx-agent-{i}", f"node-{i}", ready=False) for i in range(6)]
    world.schedule(6, ready=0)
    world.settle()
    assert message(world, "AgentsReady") == (
        "0 of 6 agents are ready; not: pbx-agent-0, pbx-agent-1, pbx-agent-2 and 3 more"
    )
