"""What an EventFederation says of faults at run time, and that it says so no longer when they have passed."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
import yaml

from eventfed import EID, Credentials, Federation, FederationSettings
from eventfed.wire.report import AgentReport, ReportedMember
from eventfed_lab import NatsServer
from tests.ground.alert_rules import firing, seconds
from tests.ground.cluster_api import Api, eventually, federation, pod
from tests.ground.federations import PASSWORD, agent_pod, condition, connect, on, owned, rounds, run_pod, says, secret
from tests.ground.fixture_types import Measure
from tests.ground.installation import CHART, Installation, Operator


def test_a_missing_secret_is_named_and_agents_wait_for_it(
    api: Api, operator: Operator, namespace: str, own_nats: NatsServer
) -> None:
    api.create(federation(namespace, **on(own_nats)))
    assert says(api, namespace, "BusReachable", "False", "SecretMissing") == "Missing: Secret nats"
    assert says(api, namespace, "Ready", "False", "SecretMissing")
    assert api.find("DaemonSet", namespace, "pbx-agent") is None
    made = secret(namespace, PASSWORD)
    api.create({**made, "data": {"other": made["data"]["password"]}})
    eventually(lambda: condition(api, namespace, "BusReachable")[2] == "Missing: key password of Secret nats")
    api.merge("Secret", namespace, "nats", {"data": made["data"]})
    says(api, namespace, "BusReachable", "True", "Connected")
    eventually(lambda: owned(api, namespace))


def test_credentials_that_nats_refuses_are_told_and_another_secret_heals(
    api: Api, operator: Operator, namespace: str, own_nats: NatsServer
) -> None:
    api.create(secret(namespace, "wrong"))
    api.create(federation(namespace, **on(own_nats)))
    assert "check user, password" in says(api, namespace, "BusReachable", "False", "CredentialsRefused")
    api.merge("Secret", namespace, "nats", {"data": secret(namespace, PASSWORD)["data"]})
    says(api, namespace, "BusReachable", "True", "Connected")


def test_an_nats_that_is_away_is_told_until_it_is_back(
    api: Api, operator: Operator, namespace: str, own_nats: NatsServer, measure: Measure
) -> None:
    connect(api, namespace, own_nats)
    own_nats.kill()
    begin = time.monotonic()
    assert "Members keep what they have" in says(api, namespace, "BusReachable", "False", "BusUnreachable")
    measure("NATS killed, BusUnreachable told", time.monotonic() - begin)
    asyncio.run(own_nats.start())
    begin = time.monotonic()
    says(api, namespace, "BusReachable", "True", "Connected")
    measure("NATS back, Connected told", time.monotonic() - begin)


def test_a_stream_that_somebody_deleted_is_made_again(
    api: Api, operator: Operator, namespace: str, own_nats: NatsServer
) -> None:
    connect(api, namespace, own_nats)
    asyncio.run(own_nats.restart(wipe=True))
    eventually(lambda: "stream" in api.get("EventFederation", namespace, "pbx")["status"])
    says(api, namespace, "BusReachable", "True", "Connected")


def test_a_stream_belongs_to_one_federation_and_to_the_other_when_that_is_gone(
    api: Api, operator: Operator, make_namespace: Callable[..., str], own_nats: NatsServer
) -> None:
    first, second = make_namespace(), make_namespace()
    for one in (first, second):
        api.create(secret(one, PASSWORD))
    api.create(federation(first, federation="shared", **on(own_nats)))
    says(api, first, "BusReachable", "True", "Connected")
    api.create(federation(second, federation="shared", **on(own_nats)))
    told = says(api, second, "BusReachable", "False", "StreamOwnedByAnother")
    assert told.startswith(
        f"Stream EVENTFED_shared_local belongs to EventFederation {first}/pbx: delete one of the two"
    )
    api.delete("EventFederation", first, "pbx")
    says(api, second, "BusReachable", "True", "Connected")


@pytest.mark.parametrize("name", ["other_pbx", "everybody"])
def test_a_name_of_another_namespace_needs_permission_on_the_charts_nats(
    api: Api, operator: Operator, namespace: str, name: str
) -> None:
    api.create(federation(namespace, federation=name))
    if name == "everybody":
        says(api, namespace, "BusReachable", "True", "Connected")
        return
    told = says(api, namespace, "BusReachable", "False", "FederationNotAllowed")
    assert f"name it {namespace}_..., or have who runs the operator add it to allowFederations" in told
    rounds(operator, 1)
    assert api.find("DaemonSet", namespace, "pbx-agent") is None


def test_an_operator_without_nats_wants_servers(
    api: Api, operator: Operator, install: Callable[..., Installation], namespace: str
) -> None:
    release = install({"nats": {"enabled": False}, "operator": {"resync": 1, "namespaces": [namespace]}})
    operator.terminate()
    alone = release.operator().start()
    api.create(federation(namespace))
    assert says(api, namespace, "BusReachable", "False", "NoNats").endswith("name your servers")
    alone.terminate()
    operator.start()
    says(api, namespace, "BusReachable", "True", "Connected")


def test_a_name_that_is_taken_is_not_touched(api: Api, operator: Operator, namespace: str) -> None:
    service = {"metadata": {"name": "pbx-agent", "namespace": namespace}, "spec": {"ports": [{"port": 80}]}}
    before = api.create({"apiVersion": "v1", "kind": "Service", **service})
    api.create(federation(namespace))
    told = says(api, namespace, "AgentsReady", "False", "NameTaken")
    assert told == "Not of this EventFederation: Service pbx-agent. Delete it, or choose another name"
    rounds(operator, 1)
    assert api.get("Service", namespace, "pbx-agent") == before
    api.delete("Service", namespace, "pbx-agent")
    says(api, namespace, "AgentsReady", "Unknown", "AgentsStarting")
    eventually(lambda: owned(api, namespace))


def firing_alerts(operator: Operator, namespace: str) -> set[str]:
    """The chart's alerts that fire of this namespace if what the operator exposes stays as it is."""
    answer = operator.get("/metrics")
    assert answer is not None
    rules = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())["groups"][0]["rules"]
    return {
        rule["alert"]
        for rule in rules
        if any(
            labels.get("resource_namespace") == namespace
            for labels in firing(rule, [(0.0, answer[1]), (seconds(rule.get("for", "0s")), answer[1])])
        )
    }


def test_what_no_rule_of_the_api_server_can_tell_is_told_by_the_operator(
    api: Api, operator: Operator, namespace: str
) -> None:
    api.create(federation(namespace, events=[{"type": "device_state", "include": ["(PJSIP"]}]))
    assert "'(PJSIP' is no regular expression" in says(api, namespace, "Ready", "False", "InvalidSpec")
    assert says(api, namespace, "Stalled", "True", "InvalidSpec")
    alert = firing_alerts(operator, namespace)
    assert alert >= {"EventfedFederationNotReady", "EventfedFederationStalled"}
    api.merge("EventFederation", namespace, "pbx", {"spec": {"events": [{"type": "device_state"}]}})
    says(api, namespace, "BusReachable", "True", "Connected")
    says(api, namespace, "Stalled", "False", "NotStalled")
    eventually(lambda: "EventfedFederationStalled" not in firing_alerts(operator, namespace))
    api.delete("EventFederation", namespace, "pbx")
    eventually(lambda: api.find("EventFederation", namespace, "pbx") is None)


def test_no_pod_and_a_pod_without_the_port_are_told(api: Api, operator: Operator, namespace: str) -> None:
    api.create(federation(namespace))
    # Not known rather than false: its pods may come after it.
    told = says(api, namespace, "MembersConfigured", "Unknown", "NoPodMatches")
    assert told == f"No pod of namespace {namespace} has the labels app=asterisk"
    run_pod(api, pod(namespace, "asterisk-0", port=5080), "10.1.0.1")
    told = says(api, namespace, "MembersConfigured", "False", "PortNotDeclared")
    assert told.startswith("No container has port 5060/UDP in asterisk-0: set spec.members.port")
    api.merge("EventFederation", namespace, "pbx", {"spec": {"members": {"port": 5080}}})
    says(api, namespace, "MembersConfigured", "True", "AllConfigured")
    assert api.get("EventFederation", namespace, "pbx")["status"]["members"]["total"] == 1


def test_a_pod_of_two_federations_belongs_to_the_older(api: Api, operator: Operator, namespace: str) -> None:
    run_pod(api, pod(namespace, "asterisk-0", labels={"app": "asterisk", "site": "east"}), "10.1.0.1")
    api.create(federation(namespace, "older"))
    says(api, namespace, "MembersConfigured", "True", "AllConfigured", "older")
    time.sleep(1.1)  # creation times are in seconds
    api.create(federation(namespace, "lesser", members={"selector": {"matchLabels": {"site": "east"}}}))
    told = says(api, namespace, "MembersConfigured", "False", "MemberContended", "lesser")
    assert told == "An older EventFederation has these pods: asterisk-0 (of older). Make the selectors differ"
    assert condition(api, namespace, "MembersConfigured", "older")[:2] == ("True", "AllConfigured")
    (noted,) = api.get("EventFederation", namespace, "lesser")["status"]["notedMembers"]
    assert (noted["name"], noted["reason"]) == ("asterisk-0", "MemberContended")
    api.delete("EventFederation", namespace, "older")
    says(api, namespace, "MembersConfigured", "True", "AllConfigured", "lesser")


def scheduled(api: Api, namespace: str, ready: int, desired: int) -> None:
    """What the controller of DaemonSets would say."""
    counts = {"desiredNumberScheduled": desired, "currentNumberScheduled": desired, "numberMisscheduled": 0}
    generation = api.get("DaemonSet", namespace, "pbx-agent")["metadata"]["generation"]
    status = {**counts, "numberReady": ready, "updatedNumberScheduled": ready, "observedGeneration": generation}
    api.merge("DaemonSet", namespace, "pbx-agent", {"status": status}, "status")


def test_it_is_ready_when_agents_are_and_every_member_is_synced(
    api: Api, operator: Operator, installation: Installation, namespace: str
) -> None:
    api.create(federation(namespace))
    eventually(lambda: owned(api, namespace))
    member = run_pod(api, pod(namespace, "asterisk-0", node="node-1"), "10.1.0.1")
    scheduled(api, namespace, 0, 0)
    assert "spec.agent.placement" in says(api, namespace, "AgentsReady", "False", "NoNodeForAgents")
    scheduled(api, namespace, 1, 1)
    run_pod(api, agent_pod(namespace, "node-0"), "10.1.0.100")
    told = says(api, namespace, "AgentsReady", "False", "NodesWithoutAgent")
    assert told.startswith("Members run on node-1, where no agent may: give the taints of these nodes")
    api.create(agent_pod(namespace, "node-1"))
    scheduled(api, namespace, 1, 2)
    assert "not: pbx-agent-node-1" in says(api, namespace, "AgentsReady", "False", "AgentsNotReady")
    ready = {"conditions": [{"type": "Ready", "status": "True"}], "podIP": "10.1.0.101"}
    api.merge("Pod", namespace, "pbx-agent-node-1", {"status": ready}, "status")
    scheduled(api, namespace, 2, 2)
    says(api, namespace, "AgentsReady", "True", "AgentsReady")
    says(api, namespace, "Ready", "Unknown", "Syncing")
    uid = member["metadata"]["uid"]
    asyncio.run(_report_synced(installation, f"{namespace}_pbx", uid))
    says(api, namespace, "Ready", "True", "Synced")
    assert {one["reason"] for one in api.list("Event", namespace)} >= {"Synced"}
    heading = api.get("EventFederation", namespace, "pbx")["status"]
    assert (heading["members"]["summary"], heading["agents"]["summary"]) == ("1/1", "2/2")


async def _report_synced(installation: Installation, name: str, uid: str) -> None:
    """What an agent does that has a member: it reads the roster, and tells of it."""
    assert installation.nats is not None
    settings = replace(FederationSettings(), create_stream=False)
    credentials = Credentials("agent", installation.passwords["agent"], inbox_prefix="_INBOX_agent")
    async with Federation.connect(
        installation.nats.url, federation=name, agent="agent-1", settings=settings, credentials=credentials
    ) as client:
        assert await client.wait_synced(10), client.problem
        (listed,) = client.rosters.known["node-1"].members
        assert (listed.uid, listed.host) == (uid, "10.1.0.1")
        client.claim(EID.parse("02:00:00:00:00:0a"), uid=uid, name="asterisk-0")
        for _ in range(10):
            members = (ReportedMember(uid, "synced"),)
            client.report(AgentReport("agent-1", client.instance, "node-1", members=members))
            await asyncio.sleep(0.1)
