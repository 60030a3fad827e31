"""Agents, operator and NATS are replaced by others while states change, also where somebody does not answer."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio

from eventfed_lab import AsteriskPod, Cluster, ClusterPbx, install_chart
from tests.ground.fixture_types import Measure
from tests.ground.kind_faults import (
    NATS,
    OPERATOR,
    PLACE,
    agents,
    agents_replaced,
    crossings,
    federation_of,
    set_log_level,
    signal_container,
    truth_after,
    uids,
)
from tests.ground.kind_ground import APART, CHART

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(500), pytest.mark.long]

OTHER_TAG = "0.1.1-test"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def pbx(chart: Cluster) -> AsyncIterator[ClusterPbx]:
    async with federation_of(chart) as pbx:
        yield pbx


async def roll_agents(pbx: ClusterPbx, level: str, within: float = 120.0) -> float:
    """Have all agents replaced; seconds that it took."""
    before = await agents(pbx)
    began = time.monotonic()
    await set_log_level(pbx, level)
    return await agents_replaced(pbx, uids(before), count=len(before), within=within) - began


async def test_nothing_goes_when_the_agents_are_rolled(pbx: ClusterPbx, measure: Measure) -> None:
    rolled: list[float] = []

    async def fault(pbx: ClusterPbx) -> float:
        rolled.append(await roll_agents(pbx, "debug"))
        return time.monotonic()

    took, shown = await truth_after(pbx, fault, within=20)
    assert took < 20
    assert shown.gone() == []
    measure("agents of two nodes rolled", rolled[0])
    measure("agents rolled, until all show the truth, from the last one's start", took)


async def test_a_rollout_of_agents_completes_without_nats_and_all_show_the_truth_within_40_s_of_its_return(
    pbx: ClusterPbx, measure: Measure
) -> None:
    rolled: list[float] = []

    async def fault(pbx: ClusterPbx) -> float:
        async with without_nats(pbx.cluster):
            rolled.append(await roll_agents(pbx, "warning", within=200))
        return time.monotonic()

    took, shown = await truth_after(pbx, fault, within=40)
    assert took < 40
    assert shown.gone() == []
    await pbx.wait_ready()
    measure("agents of two nodes rolled without NATS", rolled[0])
    measure("agents rolled without NATS, until all show the truth, from NATS's return", took)


@asynccontextmanager
async def without_nats(cluster: Cluster) -> AsyncIterator[None]:
    place = ("statefulset/eventfed-nats", "-n", PLACE)
    await cluster.kubectl("scale", *place, "--replicas=0")
    try:
        await cluster.kubectl("wait", "pod", "-n", PLACE, "-l", NATS, "--for=delete", "--timeout=60s")
        yield
    finally:
        await cluster.kubectl("scale", *place, "--replicas=1")
        await cluster.kubectl("rollout", "status", *place, "--timeout=90s")


async def test_a_rollout_of_agents_completes_with_a_server_that_hangs_and_a_pod_that_is_no_server(
    pbx: ClusterPbx, measure: Measure
) -> None:
    *others, hung = pbx.pods
    document = await hung.document()
    await pbx.cluster.apply(no_server(pbx))
    await pbx.cluster.wait("condition=Ready", "pod/no-server", "-n", pbx.namespace)
    rolled: list[float] = []

    async def fault(pbx: ClusterPbx) -> float:
        await signal_container(document, "asterisk", "SIGSTOP", pbx.cluster)
        try:
            rolled.append(await roll_agents(pbx, "info"))
            await crossings(others, 4)
            assert await is_silent(hung)
        finally:
            await signal_container(document, "asterisk", "SIGCONT", pbx.cluster)
        return time.monotonic()

    took, _ = await truth_after(pbx, fault, within=60)
    assert took < 60
    await pbx.cluster.delete("pod", "no-server", pbx.namespace, "--grace-period=1")
    await pbx.wait_ready()
    measure("agents of two nodes rolled beside a server that hangs", rolled[0])
    measure("server hung while agents were rolled, until all show the truth, from its return", took)


async def is_silent(pod: AsteriskPod) -> bool:
    try:
        async with asyncio.timeout(2):
            await pod.cli("core show settings")
    except TimeoutError:
        return True
    return False


def no_server(pbx: ClusterPbx) -> dict[str, object]:
    """A pod that the EventFederation selects, and that runs something else."""
    (pod,) = [one for one in pbx.asterisk_documents() if one["kind"] == "StatefulSet"]
    template = pod["spec"]["template"]
    container = {
        "name": "asterisk",
        "image": template["spec"]["containers"][0]["image"],
        "command": ["sleep", "3600"],
        "securityContext": template["spec"]["containers"][0]["securityContext"],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "no-server", "namespace": pbx.namespace, "labels": {"app": pbx.app}},
        "spec": {
            "automountServiceAccountToken": False,
            "securityContext": template["spec"]["securityContext"],
            "containers": [container],
        },
    }


async def test_nothing_goes_when_operator_nats_and_agents_are_upgraded_by_helm(
    pbx: ClusterPbx, measure: Measure
) -> None:
    cluster, image = pbx.cluster, (await agents(pbx))[0]["spec"]["containers"][0]["image"]
    repository, _, _ = image.partition(":")
    other = f"{repository}:{OTHER_TAG}"
    for node in await cluster.list("nodes"):
        names = [f"docker.io/library/{one}" for one in (image, other)]
        await cluster.on_node(node["metadata"]["name"], "ctr", "-n", "k8s.io", "images", "tag", "--force", *names)
    upgraded: list[float] = []

    async def fault(pbx: ClusterPbx) -> float:
        before, began = await agents(pbx), time.monotonic()
        await install_chart(
            cluster, CHART, *APART, "--set", f"image.tag={OTHER_TAG}", "--set", "operator.logLevel=debug"
        )
        upgraded.append(time.monotonic() - began)
        ended = await agents_replaced(pbx, uids(before), count=len(before))
        upgraded.append(ended - began)
        return ended

    before = await agents(pbx)
    try:
        took, shown = await truth_after(pbx, fault, within=30)
        running = [*await agents(pbx)]
        for labels in (NATS, OPERATOR):
            running += await cluster.list("pods", PLACE, labels)
        assert {one["image"] for pod in running for one in pod["spec"]["containers"]} == {other}
        await pbx.wait_ready()
        before = await agents(pbx)
    finally:
        await install_chart(cluster, CHART, *APART)
        await agents_replaced(pbx, uids(before), count=len(before))
    assert took < 30
    assert shown.gone() == []
    measure("helm upgrade to another image, operator and NATS", upgraded[0])
    measure("helm upgrade to another image, agents as well", upgraded[1])
    measure("helm upgrade, until all show the truth, from the last agent's start", took)
