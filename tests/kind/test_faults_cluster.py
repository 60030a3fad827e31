"""The API server and the cluster's DNS are away for a minute while states change: events flow all the same."""

import statistics
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from eventfed_lab import Cluster, ClusterPbx, LabError, Lamps
from tests.ground.fixture_types import Measure
from tests.ground.kind_faults import change_something, crossings, federation_of, on_bus, taken_note_of, truth_after

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(400), pytest.mark.long]

AWAY = 60.0
MANIFEST = "/etc/kubernetes/manifests/kube-apiserver.yaml"
ASIDE = "/etc/kubernetes/kube-apiserver.yaml"
DNS = ("deployment/coredns", "-n", "kube-system")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def pbx(chart: Cluster) -> AsyncIterator[ClusterPbx]:
    async with federation_of(chart) as pbx:
        yield pbx


async def events_flow(pbx: ClusterPbx, seconds: float) -> list[float]:
    """What each crossing took, all of them within so many seconds."""
    until, times = time.monotonic() + seconds, list[float]()
    while time.monotonic() < until:
        times += await crossings(pbx.pods, 4, pause=0.5)
    return times


async def test_events_flow_without_the_api_server_and_the_operator_acts_within_60_s_of_its_return(
    pbx: ClusterPbx, measure: Measure
) -> None:
    (node,) = {node["metadata"]["name"] for node in await pbx.cluster.list("nodes")} - set(await pbx.cluster.workers())
    times: list[float] = []

    async def answers() -> bool:
        return bool(await pbx.cluster.kubectl("get", "--raw", "/readyz", "--request-timeout=2s"))

    async def is_away() -> bool:
        try:
            return not await answers()
        except LabError:
            return True

    async def fault(pbx: ClusterPbx) -> float:
        await pbx.cluster.on_node(node, "mv", MANIFEST, ASIDE)
        try:
            await pbx.cluster.until("the API server is away", is_away)
            times.extend(await events_flow(pbx, AWAY))
            assert await is_away()
        finally:
            await pbx.cluster.on_node(node, "mv", ASIDE, MANIFEST)
            await pbx.cluster.until("the API server is back", answers, within=120)
        return time.monotonic()

    took, shown = await truth_after(pbx, fault, within=10)
    assert took < 10
    assert shown.gone() == []
    back = time.monotonic()
    await change_something(pbx)
    acted = await taken_note_of(pbx)
    assert acted - back < 60
    await pbx.wait_ready()
    assert len(times) > 20
    # One that took longer than this would have been a repetition of somebody's.
    assert statistics.median(times) < 0.5
    measure(
        "API server away for 60 s, pod to the last of two pods, median",
        statistics.median(times) * 1000,
        "ms",
    )
    measure("API server away for 60 s, pod to the last of two pods, worst", max(times) * 1000, "ms")
    measure("API server back, until the operator has acted on a change", acted - back)


async def test_without_cluster_dns_events_flow_leases_live_and_nobody_is_taken_for_dead(
    pbx: ClusterPbx, measure: Measure
) -> None:
    replicas = (await pbx.cluster.get("deployment", "coredns", "kube-system"))["spec"]["replicas"]
    times: list[float] = []

    async def no_dns() -> bool:
        return not await pbx.cluster.list("pods", "kube-system", "k8s-app=kube-dns")

    async def fault(pbx: ClusterPbx) -> float:
        await pbx.cluster.kubectl("scale", *DNS, "--replicas=0")
        try:
            await pbx.cluster.until("there is no DNS", no_dns)
            times.extend(await events_flow(pbx, AWAY))
        finally:
            await pbx.cluster.kubectl("scale", *DNS, f"--replicas={replicas}")
        await pbx.cluster.kubectl("rollout", "status", *DNS, "--timeout=90s")
        return time.monotonic()

    async with on_bus(pbx) as bus, Lamps(pbx.pods, "1002") as lamps:
        before = {eid: (lease.epoch, lease.instance) for eid, lease in bus.view.leases.items()}
        assert set(before) == {pod.eid for pod in pbx.pods}
        lapsed: list[object] = []
        stop = bus.view.listen(lambda: lapsed.extend(set(before) - set(bus.view.leases)))
        took, shown = await truth_after(pbx, fault, within=10)
        stop()
        # Nobody leaves a message for 1002, so its lamp has nothing to tell.
        assert all(len(lamps.history(pod.name)) == 1 for pod in pbx.pods)
        assert lapsed == []
        assert {eid: (lease.epoch, lease.instance) for eid, lease in bus.view.leases.items()} == before
    assert took < 10
    assert shown.gone() == []
    assert len(times) > 20
    assert statistics.median(times) < 0.5
    await pbx.wait_ready()
    measure("DNS away for 60 s, pod to the last of two pods, median", statistics.median(times) * 1000, "ms")
    measure("DNS away for 60 s, pod to the last of two pods, worst", max(times) * 1000, "ms")
