"""An EventFederation that is deleted leaves nothing behind, whatever is away at that moment, and can be made again."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest
import pytest_asyncio

from eventfed import DeviceState
from eventfed_lab import Cluster, ClusterPbx, LabError, MailboxCounts, install_chart
from tests.ground.fixture_types import Measure
from tests.ground.kind_ground import APART, CHART, CHECKOUT, PbxFactory
from tests.ground.kind_nats import away, stream_info

pytestmark = pytest.mark.asyncio(loop_scope="session")

NAMESPACE = "voice-deletion"
STREAM = f"EVENTFED_{NAMESPACE}_pbx_local"
WITHDRAWAL = 30.0
"""``operator.withdrawal`` of the chart: no deletion waits longer for NATS or agents, in seconds."""
OWNED = ("daemonset/pbx-agent", "service/pbx-agent", "serviceaccount/pbx-agent", "networkpolicy/pbx-agent")
SECRETS = ("secret/pbx-agent", "secret/pbx-asterisk")
AGENTS = "app.kubernetes.io/name=eventfed-agent"
BOX = "1001@default"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shared(chart: Cluster) -> AsyncIterator[ClusterPbx]:
    async with ClusterPbx(chart, CHECKOUT, NAMESPACE, spec={"departure": {"gracePeriod": 5}}) as pbx:
        yield pbx


@pytest_asyncio.fixture(loop_scope="session")
async def pbx(shared: ClusterPbx) -> ClusterPbx:
    """Two pods on two nodes, and their EventFederation; both are made again where a test has left none."""
    if await shared.cluster.get("evfed", shared.name, shared.namespace) is None:
        await make_again(shared)
    return shared


async def make_again(pbx: ClusterPbx) -> None:
    """The EventFederation, and other pods: the old ones would wait for the kubelet to bring their Secret."""
    await pbx.cluster.apply(pbx.federation_document())
    await pbx.cluster.until("the Secret", lambda: pbx.cluster.get("secret", "pbx-asterisk", pbx.namespace))
    await asyncio.gather(*(pod.restart() for pod in pbx.pods))
    await pbx.wait_ready()


async def share_states(pbx: ClusterPbx) -> None:
    """A provider's device, a phone's device and a mailbox cross from the first server to the second."""
    first, second = pbx.pods
    for pod, count in ((first, 2), (second, 1)):
        await pod.delete_voicemail(BOX)
        await pod.leave_voicemail(BOX, count, by="spool")
    await first.set_device("Custom:lamp1", DeviceState.BUSY)
    await pbx.wait_device("Custom:lamp1", DeviceState.BUSY)
    await pbx.wait_mailbox(BOX, MailboxCounts(3, 0))
    assert await second.hint("2000") == "Busy"


async def shows_only_its_own(pbx: ClusterPbx) -> None:
    first, second = pbx.pods
    assert await second.device_state("Custom:lamp1") is not DeviceState.BUSY
    assert await second.hint("2000") != "Busy"
    assert await second.device_state("PJSIP/1001") is DeviceState.UNAVAILABLE
    assert await second.mailbox_counts(BOX) == (1, 0)
    assert await first.device_state("Custom:lamp1") is DeviceState.BUSY
    assert await first.mailbox_counts(BOX) == (2, 0)


async def delete(pbx: ClusterPbx, within: float = 60.0) -> float:
    """``kubectl delete evfed``; seconds until it was gone."""
    began = time.monotonic()
    await pbx.cluster.delete("evfed", pbx.name, pbx.namespace, f"--timeout={within:.0f}s")
    return time.monotonic() - began


async def all_gone(cluster: Cluster, namespace: str) -> bool:
    left = await cluster.kubectl("get", *OWNED, *SECRETS, "-n", namespace, "--ignore-not-found", "-o", "name")
    left += "".join(pod["metadata"]["name"] for pod in await cluster.list("pods", namespace, AGENTS))
    if left:
        raise LabError(f"left: {left.split()}")
    return True


async def test_a_deletion_gives_every_server_its_own_states_back_and_removes_all_that_it_owned(
    pbx: ClusterPbx, measure: Measure
) -> None:
    first, second = pbx.pods
    await share_states(pbx)
    async with first.phone_in_use("1001"):
        await second.wait_device("PJSIP/1001", DeviceState.INUSE)
        took = await delete(pbx)
        await shows_only_its_own(pbx)
        assert await first.device_state("PJSIP/1001") is DeviceState.INUSE
    measure("EventFederation deleted: withdrawn and gone", took)
    began = time.monotonic()
    ended = await pbx.cluster.until("all that belonged to it gone", lambda: all_gone(pbx.cluster, pbx.namespace))
    measure("EventFederation gone: agents, Service and Secrets gone too", ended - began)
    assert await stream_info(pbx.cluster, STREAM) is None
    await shows_only_its_own(pbx)


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_servers_drop_their_lines_after_a_deletion_and_are_members_again_when_it_is_made_again(
    pbx: ClusterPbx, measure: Measure
) -> None:
    await share_states(pbx)
    await delete(pbx)
    began = time.monotonic()

    async def dropped() -> bool:
        for pod in pbx.pods:
            if "eventfed" in await pod.cli("pjsip show endpoints"):
                raise LabError(f"{pod.name} has the endpoint still")
        return True

    ended = await pbx.cluster.until("no server has the lines", dropped, within=240)
    measure(
        "EventFederation deleted: the kubelet took the Secret away and Asterisk dropped its lines 2 min later",
        ended - began,
    )
    await shows_only_its_own(pbx)
    began = time.monotonic()
    await pbx.cluster.apply(pbx.federation_document())
    ended = await pbx.wait_ready(within=150)
    measure("EventFederation made again: the same pods are members again", ended - began)
    await pbx.wait_device("Custom:lamp1", DeviceState.BUSY)
    await pbx.wait_mailbox(BOX, MailboxCounts(3, 0))


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_a_retained_stream_is_taken_over_by_the_next_of_the_name(pbx: ClusterPbx, measure: Measure) -> None:
    await pbx.cluster.patch("evfed", pbx.name, pbx.namespace, {"spec": {"deletionPolicy": "Retain"}})
    await share_states(pbx)
    before = await stream_info(pbx.cluster, STREAM)
    measure("EventFederation that retains its stream deleted: withdrawn and gone", await delete(pbx))
    await shows_only_its_own(pbx)
    kept = await stream_info(pbx.cluster, STREAM)
    assert kept["created"] == before["created"]
    assert kept["config"]["metadata"]["eventfed.io/owner"] == f"{NAMESPACE}/pbx"
    await make_again(pbx)
    after = await stream_info(pbx.cluster, STREAM)
    assert after["created"] == before["created"]
    assert (await pbx.status())["stream"]["name"] == STREAM
    await delete(pbx)
    assert await stream_info(pbx.cluster, STREAM) is None


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_a_deletion_while_nats_is_away_ends_after_the_time_of_withdrawal(
    pbx: ClusterPbx, measure: Measure
) -> None:
    async with away(pbx.cluster):
        took = await delete(pbx, within=WITHDRAWAL + 20)
    measure("EventFederation deleted while NATS is away: gone", took)
    assert took < WITHDRAWAL + 5
    # Nobody was there to delete it. The next of the name takes it over.
    kept = await stream_info(pbx.cluster, STREAM)
    await make_again(pbx)
    assert (await stream_info(pbx.cluster, STREAM))["created"] == kept["created"]
    await share_states(pbx)


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_a_deletion_ends_though_somebody_deletes_the_agents_meanwhile(pbx: ClusterPbx, measure: Measure) -> None:
    await share_states(pbx)
    began = time.monotonic()
    await pbx.cluster.delete("daemonset", "pbx-agent", pbx.namespace, "--wait=false")
    await delete(pbx)
    took = time.monotonic() - began
    measure("EventFederation deleted after the agents' DaemonSet: gone", took)
    assert took < WITHDRAWAL + 5
    await pbx.cluster.until("all that belonged to it gone", lambda: all_gone(pbx.cluster, pbx.namespace))
    await gone(stream_info(pbx.cluster, STREAM))


async def gone(question: Awaitable[Any]) -> None:
    assert await question is None


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_a_namespace_that_is_deleted_at_once_is_gone_soon_and_its_stream_too(
    make_pbx: PbxFactory, measure: Measure
) -> None:
    pbx = await make_pbx()
    await pbx.__aenter__()
    for pod in pbx.pods:
        await pod.close()
    began = time.monotonic()
    await pbx.cluster.delete("namespace", pbx.namespace, None, "--timeout=120s")
    took = time.monotonic() - began
    measure("namespace deleted with an EventFederation and two servers: gone", took)
    assert took < WITHDRAWAL + 30
    assert await stream_info(pbx.cluster, f"EVENTFED_{pbx.namespace}_pbx_local") is None


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_without_an_operator_a_deletion_waits_and_the_documented_way_out_ends_it(
    pbx: ClusterPbx, measure: Measure
) -> None:
    cluster = pbx.cluster
    await cluster.helm("uninstall", "eventfed", "--namespace", "eventfed", "--wait")
    try:
        await cluster.delete("evfed", pbx.name, pbx.namespace, "--wait=false")
        await asyncio.sleep(3)
        assert (await pbx.document())["metadata"]["deletionTimestamp"]
        began = time.monotonic()
        await cluster.patch("evfed", pbx.name, pbx.namespace, {"metadata": {"finalizers": None}})
        assert await cluster.get("evfed", pbx.name, pbx.namespace) is None
        ended = await cluster.until("all that belonged to it gone", lambda: all_gone(cluster, pbx.namespace))
        measure("without an operator, finalizers patched away: all that belonged to it gone", ended - began)
    finally:
        await install_chart(cluster, CHART, *APART)


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_an_uninstalled_chart_leaves_federations_running_and_its_next_install_has_them_back_without_a_blink(
    pbx: ClusterPbx, measure: Measure
) -> None:
    cluster = pbx.cluster
    await share_states(pbx)
    before = {pod["metadata"]["uid"] for pod in await cluster.list("pods", pbx.namespace, AGENTS)}
    with pbx.pods[1].ami.events("DeviceStateChange") as devices, pbx.pods[1].ami.events("MessageWaiting") as boxes:
        await cluster.helm("uninstall", "eventfed", "--namespace", "eventfed", "--wait")
        assert await cluster.get("crd", "eventfederations.eventfed.io") is not None
        assert (await pbx.document())["metadata"].get("deletionTimestamp") is None
        # Longer than leases and grace, without NATS and operator.
        await asyncio.sleep(40)
        began = time.monotonic()
        await install_chart(cluster, CHART, *APART)
        measure("chart installed again, with an EventFederation that ran on: installed", time.monotonic() - began)
        await asyncio.sleep(1)
        ended = await pbx.wait_ready()
        measure("chart installed again, with an EventFederation that ran on: ready", ended - began)
        await asyncio.sleep(10)
        # The same once more is no blink.
        shown = {event["State"] for _, event in devices.drain() if event["Device"] == "Custom:lamp1"}
        counts = {(event["New"], event["Old"]) for _, event in boxes.drain() if event["Mailbox"] == BOX}
    assert shown <= {"BUSY"}
    assert counts <= {("3", "0")}
    after = {pod["metadata"]["uid"] for pod in await cluster.list("pods", pbx.namespace, AGENTS)}
    assert after == before
    await pbx.pods[0].set_device("Custom:lamp1", DeviceState.RINGING)
    await pbx.wait_device("Custom:lamp1", DeviceState.RINGING)
