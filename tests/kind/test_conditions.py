"""What is wrong at run time becomes a condition that says what to do, is told once, and heals when it is mended."""

import asyncio
import contextlib
import dataclasses
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from typing import Any

import pytest
import pytest_asyncio

from eventfed import DeviceState
from eventfed_lab import Cluster, ClusterPbx, LabError, Lamps, federation
from tests.ground.fixture_types import Measure
from tests.ground.kind_conditions import Told, lone_pod, told_of
from tests.ground.kind_ground import CHECKOUT, PbxFactory

pytestmark = pytest.mark.asyncio(loop_scope="session")

NAMESPACE = "voice-conditions"
births: list[Told] = []
"""The Events from the birth of the shared federation until it was ready."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shared(chart: Cluster) -> AsyncIterator[ClusterPbx]:
    async with ClusterPbx(chart, CHECKOUT, NAMESPACE, spec={"departure": {"gracePeriod": 5}}) as pbx:
        births[:] = await told_of(pbx)
        yield pbx


@pytest_asyncio.fixture(loop_scope="session")
async def pbx(shared: ClusterPbx) -> AsyncIterator[ClusterPbx]:
    """Two pods on two nodes, whose EventFederation is as it was after each test."""
    yield shared
    await as_it_was(shared)
    await shared.wait_ready()


async def as_it_was(pbx: ClusterPbx) -> None:
    """Its spec, without what was patched into it."""
    patch = json.dumps([{"op": "replace", "path": "/spec", "value": pbx.federation_document()["spec"]}])
    await pbx.cluster.kubectl("patch", "evfed", pbx.name, "-n", pbx.namespace, "--type", "json", "-p", patch)


async def went_wrong_and_healed(
    pbx: ClusterPbx,
    kind: str,
    reason: str,
    wrong: Callable[[], Awaitable[Any]],
    mend: Callable[[], Awaitable[Any]],
    *,
    within: float = 30.0,
    beside: Collection[str] = (),
) -> tuple[Any, float]:
    """Do something wrong and mend it; the condition meanwhile, and how long it took to be ready again, in seconds.

    One Event of type Warning tells of it, and none of anything else, unless for the reasons `beside`.
    """
    before = await told_of(pbx)
    await wrong()
    found = await pbx.wait_condition(reason, kind, status="False", within=within)
    if kind != "NamesUncontended":
        ready = await pbx.condition()
        assert (ready["status"], ready["reason"]) == ("False", reason)
    await mend()
    began = time.monotonic()

    async def is_true() -> bool:
        now = await pbx.condition(kind)
        if now["status"] != "True":
            raise LabError(f"it is {now}")
        return True

    await pbx.cluster.until(f"{kind} is true again", is_true, within=100)
    ended = await pbx.wait_ready()
    # Their times are whole seconds, so their order tells nothing.
    news = list((Counter(await told_of(pbx)) - Counter(before)).elements())
    assert [one.reason for one in news if one.type == "Warning" and one.reason not in beside] == [reason], news
    return found, ended - began


async def test_a_new_federation_makes_no_event_but_that_it_is_ready(pbx: ClusterPbx) -> None:
    assert births == [Told("Normal", "Synced", "2 members synced")]


async def test_a_selector_that_no_pod_matches(pbx: ClusterPbx, measure: Measure) -> None:
    async def select(app: str) -> None:
        patch = {"spec": {"members": {"selector": {"matchLabels": {"app": app}}}}}
        await pbx.cluster.patch("evfed", pbx.name, pbx.namespace, patch)

    found, took = await went_wrong_and_healed(
        pbx, "MembersConfigured", "NoPodMatches", lambda: select("asterix"), lambda: select("asterisk")
    )
    assert found["message"] == f"No pod of namespace {NAMESPACE} has the labels app=asterix"
    measure("a selector that matched no pod is mended, until ready", took)


@pytest.mark.long
async def test_two_pods_with_one_eid_are_told(pbx: ClusterPbx, measure: Measure) -> None:
    twin = lone_pod(pbx, "twin", app="asterisk", environment={"POD": "asterisk-0"})

    found, took = await went_wrong_and_healed(
        pbx,
        "EntityIDsUnique",
        "DuplicateEntityID",
        lambda: pbx.cluster.apply(twin),
        lambda: pbx.cluster.delete("pod", "twin", pbx.namespace, "--grace-period=1"),
    )
    assert "twin" in found["message"]
    assert "asterisk-0" in found["message"]
    assert str(pbx.pods[0].eid) in found["message"]
    assert "entityid" in found["message"]
    measure("the second pod with one EID is deleted, until ready", took)


@pytest.mark.long
@pytest.mark.timeout(240)
async def test_a_custom_device_that_two_servers_announce(pbx: ClusterPbx, measure: Measure) -> None:
    async def announce() -> None:
        for pod in pbx.pods:
            await pod.set_device("Custom:night", DeviceState.INUSE)

    async def exclude() -> None:
        events = [
            {"type": "mwi", "voicemailStorage": "Separate"},
            {"type": "device_state", "exclude": ["Custom:night"]},
        ]
        await pbx.cluster.patch("evfed", pbx.name, pbx.namespace, {"spec": {"events": events}})

    try:
        found, took = await went_wrong_and_healed(pbx, "NamesUncontended", "NameContended", announce, exclude)
    finally:
        for pod in pbx.pods:
            await pod.cli("database deltree CustomDevstate night")
            await pod.restart()  # Asterisk remembers the device until then, and would announce it once it may again.
    assert "Custom:night" in found["message"]
    assert "exclude" in found["message"]
    measure("a Custom: device of two servers is excluded, until the condition is true (the kubelet brings it)", took)


@pytest.mark.long
async def test_the_stream_of_another_eventfederation(pbx: ClusterPbx) -> None:
    cluster, place = pbx.cluster, pbx.namespace
    second = ClusterPbx(cluster, CHECKOUT, place, name="second", app="nobody", replicas=0)
    second.spec = {"federation": f"{place}_pbx"}
    await cluster.apply(second.federation_document())
    found = await second.wait_condition("StreamOwnedByAnother", "BusReachable")
    assert f"belongs to EventFederation {place}/pbx" in found["message"]
    assert "another spec.federation" in found["message"]
    await cluster.delete("evfed", "second", place)
    second.spec = {}
    await cluster.apply(second.federation_document())
    await second.wait_condition("Connected", "BusReachable")
    await cluster.delete("evfed", "second", place)
    assert (await pbx.condition())["status"] == "True"


@pytest.mark.long
async def test_pods_without_the_declared_port(pbx: ClusterPbx, measure: Measure) -> None:
    async def expect(port: int) -> None:
        await pbx.cluster.patch("evfed", pbx.name, pbx.namespace, {"spec": {"members": {"port": port}}})

    found, took = await went_wrong_and_healed(
        pbx, "MembersConfigured", "PortNotDeclared", lambda: expect(5070), lambda: expect(5060)
    )
    assert "No container has port 5070/UDP in asterisk-" in found["message"]
    assert "set spec.members.port" in found["message"]
    measure("a wrong port of the members is mended, until ready", took)


@pytest.mark.long
async def test_a_server_that_polls_its_mailboxes(pbx: ClusterPbx, measure: Measure) -> None:
    cluster, place = pbx.cluster, pbx.namespace
    configuration = dataclasses.replace(pbx.configuration, poll_mailboxes=True, poll_frequency=1)
    polling = ClusterPbx(cluster, CHECKOUT, place, app="poller", replicas=1, configuration=configuration)
    both = {"matchExpressions": [{"key": "app", "operator": "In", "values": ["asterisk", "poller"]}]}

    async def poll() -> None:
        await cluster.apply(*polling.asterisk_documents())
        await polling.attach()
        await cluster.patch(
            "evfed", pbx.name, place, {"spec": {"members": {"selector": {"matchLabels": None, **both}}}}
        )
        await cluster.until("three members", lambda: has_members(pbx, "3/3"))
        # A server polls what a phone watches.
        await lamps.enter_async_context(Lamps(polling.pods))
        await pbx.pods[0].leave_voicemail("1001@default", by="spool")

    async def end() -> None:
        await lamps.aclose()
        await as_it_was(pbx)
        await cluster.delete("statefulset", "poller", place)

    async with contextlib.AsyncExitStack() as lamps:
        try:
            found, took = await went_wrong_and_healed(pbx, "NamesUncontended", "MailboxContended", poll, end)
        finally:
            await end()
            for pod in polling.pods:
                await pod.close()
    assert "poller-0" in found["message"]
    assert "pollmailboxes=no in voicemail.conf" in found["message"]
    measure("a server with pollmailboxes=yes taken away, until the condition is true", took)


async def has_members(pbx: ClusterPbx, summary: str) -> bool:
    members = (await pbx.status()).get("members", {}).get("summary")
    if members != summary:
        raise LabError(f"members {members}")
    return True


@pytest.mark.long
async def test_nats_away_and_back(pbx: ClusterPbx, measure: Measure) -> None:
    async def nats(replicas: int) -> None:
        await pbx.cluster.kubectl("scale", "statefulset/eventfed-nats", f"--replicas={replicas}", "-n", "eventfed")

    began = time.monotonic()
    found, took = await went_wrong_and_healed(
        pbx, "BusReachable", "BusUnreachable", lambda: nats(0), lambda: nats(1), within=60
    )
    assert "Members keep what they have" in found["message"]
    assert took < time.monotonic() - began
    measure("the chart's NATS is scaled to 1 again, until ready", took)


@pytest.mark.long
@pytest.mark.timeout(240)
async def test_a_node_where_no_agent_may_run(pbx: ClusterPbx, measure: Measure) -> None:
    cluster, node = pbx.cluster, pbx.pods[1].node

    async def taint() -> None:
        await cluster.kubectl("taint", "node", node, "calls=only:NoSchedule")
        (agent,) = [one for one in await cluster.list("pods", pbx.namespace, AGENTS) if one["spec"]["nodeName"] == node]
        await cluster.delete("pod", agent["metadata"]["name"], pbx.namespace)

    async def tolerate() -> None:
        toleration = {"key": "calls", "operator": "Exists", "effect": "NoSchedule"}
        spec = {"agent": {"placement": {"tolerations": [toleration]}}}
        await cluster.patch("evfed", pbx.name, pbx.namespace, {"spec": spec})

    try:
        # On its way there an agent is missing; on the way back one is not ready yet.
        found, took = await went_wrong_and_healed(
            pbx, "AgentsReady", "NodesWithoutAgent", taint, tolerate, beside=("AgentsNotReady", "MembersLost")
        )
    finally:
        await cluster.kubectl("taint", "node", node, "calls-")
    assert f"Members run on {node}, where no agent may" in found["message"]
    assert "spec.agent.placement.tolerations" in found["message"]
    measure("agents are given the toleration that they lacked, until ready", took)


AGENTS = "app.kubernetes.io/name=eventfed-agent"


@pytest.mark.long
async def test_of_two_federations_the_older_has_a_pod_and_the_younger_gets_it_when_that_goes(
    make_pbx: PbxFactory, measure: Measure
) -> None:
    pbx = await make_pbx(replicas=1)
    cluster, place = pbx.cluster, pbx.namespace
    await cluster.apply(pbx.namespace_document(), federation("elder", place, pbx.app))
    await asyncio.sleep(1.1)  # times of creation are told in whole seconds
    await cluster.apply(pbx.federation_document(), *pbx.asterisk_documents())
    await pbx.attach()
    found = await pbx.wait_condition("MemberContended", "MembersConfigured", status="False")
    assert "An older EventFederation has these pods: asterisk-0 (of elder)" in found["message"]
    assert "Make the selectors differ" in found["message"]
    status = await pbx.status()
    assert status["members"]["contended"] == 1
    assert [(one["name"], one["reason"]) for one in status["notedMembers"]] == [("asterisk-0", "MemberContended")]
    began = time.monotonic()
    await cluster.delete("evfed", "elder", place)
    ended = await pbx.wait_ready()
    measure("the older of two federations is deleted, until the younger is ready", ended - began)


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_a_fault_that_stays_is_told_once(pbx: ClusterPbx) -> None:
    cluster, place = pbx.cluster, pbx.namespace
    nowhere = {"nats": {"servers": ["nats://nowhere.invalid:4222"]}}
    astray = ClusterPbx(cluster, CHECKOUT, place, name="astray", app="asterix", replicas=0, spec=nowhere)
    await cluster.apply(astray.federation_document())

    async def warned() -> bool:
        told = await told_of(astray)
        if {"BusUnreachable", "NoPodMatches"} - {one.reason for one in told}:
            raise LabError(f"{told}")
        return True

    # Its first minute is given to it. The operator looks again each 30 s.
    await cluster.until("both are told", warned, within=100)
    before = await told_of(astray)
    await asyncio.sleep(35)
    assert await told_of(astray) == before
    assert sorted((one.type, one.reason) for one in before) == [
        ("Warning", "BusUnreachable"),
        ("Warning", "NoPodMatches"),
    ]
    ready = await astray.condition()
    assert ready["reason"] == "BusUnreachable"
    assert "No connection to NATS: " in ready["message"]
    began = time.monotonic()
    await cluster.delete("evfed", "astray", place)
    assert time.monotonic() - began < 35
