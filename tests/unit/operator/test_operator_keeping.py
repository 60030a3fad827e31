"""The operator's shell on a Kubernetes API and a NATS in memory."""

import base64
from dataclasses import replace
from typing import Any

import pytest

from eventfed import Credentials
from eventfed.wire.report import MemberState
from eventfed_operator.crd.resource import KIND
from eventfed_operator.kubernetes_api import ApiError
from eventfed_operator.reconcile import reconcile
from eventfed_operator.resources import FINALIZER, Settings


async def all_well(api: Any, bus: Any, until: Any) -> None:
    """Two members on two nodes with their agents, synced."""
    pods = [api.pod(0, node="node-0"), api.pod(1, node="node-1")]
    api.agent("node-0")
    api.agent("node-1")
    api.federation()
    await until(lambda: ("DaemonSet", "voice", "pbx-agent") in api.objects)
    api.schedule(2)
    for pod in pods:
        bus.report(pod["metadata"]["uid"], MemberState.SYNCED)
    await until(lambda: api.condition("Ready").get("status") == "True")


async def test_a_federation_becomes_ready_and_gets_all_that_belongs_to_it(
    api: Any, bus: Any, until: Any, supervised: Any
) -> None:
    async with supervised():
        await all_well(api, bus, until)
        assert {(kind, name) for kind, _, name in api.objects if kind not in ("Pod", "Event", KIND)} == {
            ("ServiceAccount", "pbx-agent"),
            ("NetworkPolicy", "pbx-agent"),
            ("Secret", "pbx-agent"),
            ("Secret", "pbx-asterisk"),
            ("Service", "pbx-agent"),
            ("DaemonSet", "pbx-agent"),
        }
        federation = api.objects[KIND, "voice", "pbx"]
        assert federation["metadata"]["finalizers"] == [FINALIZER]
        assert federation["status"]["members"]["summary"] == "2/2"
        assert {node: len(roster.members) for node, roster in bus.rosters.items()} == {"node-0": 1, "node-1": 1}
        await until(lambda: "Synced" in [one["reason"] for one in api.of("Event")])


async def test_nothing_is_written_once_all_is_well(api: Any, bus: Any, until: Any, supervised: Any) -> None:
    async with supervised(resync=0.05) as supervisor:
        await all_well(api, bus, until)
        await until(lambda: supervisor.counters.rounds > 10)
        seen, rounds = len(api.requests), supervisor.counters.rounds
        await until(lambda: supervisor.counters.rounds > rounds + 5)
        verbs = {verb for verb, _, _ in api.requests[seen:]}
        assert verbs <= {"get", "list", "watch"}, "a resync of what is well only reads"


async def test_pods_that_come_and_go_change_the_rosters(api: Any, bus: Any, until: Any, supervised: Any) -> None:
    async with supervised(resync=60.0):
        await all_well(api, bus, until)
        api.pod(2, node="node-1")
        await until(lambda: len(bus.rosters["node-1"].members) == 2)
        api.pod(9, app="other", node="node-1")
        api.remove("Pod", "asterisk-2")
        await until(lambda: len(bus.rosters["node-1"].members) == 1)
        assert api.objects[KIND, "voice", "pbx"]["status"]["members"]["summary"] == "2/2"


async def test_a_pod_that_the_watch_missed_is_found_by_the_next_list(
    api: Any, bus: Any, until: Any, supervised: Any
) -> None:
    async with supervised(resync=60.0):
        await all_well(api, bus, until)
        api.deaf = True
        api.pod(2, node="node-1")
        api.deaf = False
        api.expire()
        await until(lambda: len(bus.rosters["node-1"].members) == 2)


@pytest.mark.parametrize("name", ["pbx-agent", "pbx-asterisk"])
async def test_a_deleted_secret_comes_back_with_the_same_token(
    api: Any, bus: Any, until: Any, supervised: Any, name: str
) -> None:
    async with supervised(resync=0.2):
        await all_well(api, bus, until)
        data = api.objects["Secret", "voice", name]["data"]
        api.remove("Secret", name)
        await until(lambda: ("Secret", "voice", name) in api.objects)
        assert api.objects["Secret", "voice", name]["data"] == data


async def test_a_lost_service_is_made_again_with_its_address(api: Any, bus: Any, until: Any, supervised: Any) -> None:
    async with supervised(resync=0.2):
        await all_well(api, bus, until)
        api.remove("Service", "pbx-agent")
        await until(lambda: ("Service", "voice", "pbx-agent") in api.objects)
        assert api.objects["Service", "voice", "pbx-agent"]["spec"]["clusterIP"] == "10.96.0.7"


async def test_a_lost_service_whose_address_another_one_took_gets_a_new_one(
    api: Any, bus: Any, until: Any, supervised: Any
) -> None:
    async with supervised(resync=0.2):
        api.taken = {"10.96.0.6"}
        status = {"agents": {"address": "10.96.0.6:5066"}}
        api.put(KIND, "pbx", metadata={"generation": 1}, spec=api.federation("other")["spec"], status=status)
        api.remove(KIND, "other")
        await until(lambda: ("Service", "voice", "pbx-agent") in api.objects)
        assert api.objects["Service", "voice", "pbx-agent"]["spec"]["clusterIP"] == "10.96.0.7"


async def test_a_deletion_withdraws_deletes_the_stream_and_lets_go(
    api: Any, bus: Any, until: Any, supervised: Any
) -> None:
    async with supervised() as supervisor:
        await all_well(api, bus, until)
        present = api.objects[KIND, "voice", "pbx"]
        metadata = {**present["metadata"], "deletionTimestamp": "2026-03-01T11:00:00Z"}
        api.put(KIND, "pbx", **{**present, "metadata": metadata})
        supervisor.concerns("voice", "pbx")
        await until(lambda: (KIND, "voice", "pbx") not in api.objects)
        assert bus.stream is None
        await until(lambda: not supervisor.reconcilers)


async def test_one_that_is_made_again_at_once_is_another_one(api: Any, bus: Any, until: Any, supervised: Any) -> None:
    async with supervised(resync=60.0):
        await all_well(api, bus, until)
        assert bus.subjects.federation == "voice_pbx"
        api.deaf = True
        api.remove(KIND, "pbx")
        api.deaf = False
        bus.stream = None
        api.federation(federation="voice_next")
        bus.on_change()
        await until(lambda: bus.subjects.federation == "voice_next")
        await until(lambda: api.objects[KIND, "voice", "pbx"].get("status", {}).get("federation") == "voice_next")


async def test_a_spec_that_cannot_be_read_is_told_and_its_deletion_does_not_hang(
    api: Any, bus: Any, until: Any, supervised: Any
) -> None:
    async with supervised(resync=0.1) as supervisor:
        api.federation(events=[{"type": "mwi"}])
        await until(lambda: api.condition("Ready").get("reason") == "InvalidSpec")
        assert "voicemailStorage" in api.condition("Ready")["message"]
        present = api.objects[KIND, "voice", "pbx"]
        deleted = {"deletionTimestamp": "2026-03-01T11:00:00Z", "finalizers": [FINALIZER]}
        api.put(KIND, "pbx", **{**present, "metadata": {**present["metadata"], **deleted}})
        supervisor.concerns("voice", "pbx")
        await until(lambda: (KIND, "voice", "pbx") not in api.objects)


async def test_an_object_that_is_refused_is_told_and_keeps_no_other_out(
    api: Any, bus: Any, until: Any, supervised: Any
) -> None:
    async with supervised(resync=0.1):
        api.refuse = {"Service": ApiError(403, "exceeded quota: services")}
        api.federation()
        await until(lambda: api.condition("AgentsReady").get("reason") == "ObjectRefused")
        assert "Service pbx-agent: " in api.condition("AgentsReady")["message"]
        assert "exceeded quota" in api.condition("AgentsReady")["message"]
        assert ("DaemonSet", "voice", "pbx-agent") in api.objects
        api.refuse = {}
        await until(lambda: api.condition("AgentsReady").get("reason") == "AgentsStarting")
        assert ("Secret", "voice", "pbx-asterisk") in api.objects


async def test_an_outage_of_the_api_server_is_waited_out(api: Any, bus: Any, until: Any, supervised: Any) -> None:
    async with supervised(resync=0.1) as supervisor:
        await all_well(api, bus, until)
        api.fail = ApiError(0, "no answer")
        await until(lambda: supervisor.counters.failures > 0)
        api.fail = None
        api.pod(2, node="node-1")
        api.expire()
        await until(lambda: len(bus.rosters["node-1"].members) == 2)


async def test_two_federations_are_kept_apart_and_the_older_has_a_contended_pod(
    api: Any, bus: Any, until: Any, supervised: Any
) -> None:
    async with supervised() as supervisor:
        await all_well(api, bus, until)
        api.put(
            KIND,
            "younger",
            metadata={"generation": 1, "creationTimestamp": "2026-03-02T11:00:00Z"},
            spec=api.objects[KIND, "voice", "pbx"]["spec"],
        )
        supervisor.concerns("voice", "younger")
        await until(lambda: api.condition("MembersConfigured", "younger").get("reason") == "MemberContended")
        assert api.condition("Ready")["status"] == "True"


async def test_credentials_from_a_secret_are_used_and_used_again_when_they_change(
    api: Any, bus: Any, until: Any, supervised: Any
) -> None:
    async with supervised(resync=0.1):
        credentials = {"user": "op", "password": {"name": "nats", "key": "password"}}
        api.federation(nats={"servers": ["nats://other:4222"], "credentials": credentials})
        await until(lambda: api.condition("BusReachable").get("reason") == "SecretMissing")
        assert not bus.opened
        api.put("Secret", "nats", data={"password": "b25l"})
        await until(lambda: bus.opened)
        api.put("Secret", "nats", data={"password": "dHdv"})
        await until(lambda: len(bus.opened) == 2)
        assert [one.password for _, one in bus.opened] == ["one", "two"]


async def test_a_bug_in_one_federation_does_not_stop_the_others(
    api: Any, bus: Any, until: Any, supervised: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from eventfed_operator import reconciler as reconciler

    def broken(resource: Any, *more: Any) -> Any:
        if resource.name == "broken":
            raise RuntimeError("a bug")
        return reconcile(resource, *more)

    monkeypatch.setattr(reconciler, "reconcile", broken)
    async with supervised(resync=0.2) as supervisor:
        api.federation("broken", members={"selector": {"matchLabels": {"app": "other"}}})
        await all_well(api, bus, until)
        await until(lambda: supervisor.counters.failures > 1)
    assert "voice/broken: failed, and is started again" in caplog.text


async def test_a_new_password_of_the_charts_nats_reaches_the_connection_and_the_agents(
    api: Any, bus: Any, until: Any, supervised: Any
) -> None:
    passwords = {"operator": "first", "agent": "first"}

    def renew(settings: Settings, operator: Credentials | None) -> tuple[Settings, Credentials | None]:
        assert settings.nats is not None
        assert operator is not None
        nats = replace(settings.nats, password=passwords["agent"])
        return replace(settings, nats=nats), replace(operator, password=passwords["operator"])

    async with supervised(renew=renew, resync=0.1):
        await all_well(api, bus, until)
        assert bus.opened[-1][1].password == "first"
        passwords |= {"operator": "second", "agent": "third"}
        await until(lambda: bus.opened[-1][1].password == "second")
        third = base64.b64encode(b"third").decode()
        await until(lambda: api.objects["Secret", "voice", "pbx-agent"]["data"]["nats-password"] == third)


async def test_a_bus_that_takes_no_roster_is_told_in_the_condition_until_it_does(
    api: Any, bus: Any, until: Any, supervised: Any
) -> None:
    async with supervised(resync=0.2):
        await all_well(api, bus, until)
        bus.refusal = "insufficient resources"
        api.pod(2, node="node-1")
        await until(lambda: api.condition("BusReachable").get("reason") == "BusTrouble")
        assert "insufficient resources (10023)" in api.condition("BusReachable")["message"]
        assert api.condition("BusReachable")["status"] == "False"
        bus.refusal = ""
        await until(lambda: api.condition("BusReachable").get("status") == "True", within=10)
        await until(lambda: len(bus.rosters["node-1"].members) == 2)
