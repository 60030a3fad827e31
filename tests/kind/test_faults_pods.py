"""Agents, operators and NATS are taken away while states change: afterwards every server shows the owners' truth."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from eventfed_lab import Cluster, ClusterPbx
from tests.ground.fixture_types import Measure
from tests.ground.kind_faults import (
    NATS,
    OPERATOR,
    PLACE,
    agents,
    agents_replaced,
    change_something,
    crossings,
    federation_of,
    on_bus,
    ready_uids,
    signal_container,
    taken_note_of,
    truth_after,
    uids,
)

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

FORCED = ("--force", "--grace-period=0")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def pbx(chart: Cluster) -> AsyncIterator[ClusterPbx]:
    async with federation_of(chart) as pbx:
        yield pbx


async def take_agent(pbx: ClusterPbx, *options: str) -> None:
    """Delete the agent of the node that has the most servers and wait for the next one."""
    nodes = [pod.node for pod in pbx.pods]
    before = await agents(pbx)
    (one,) = [pod for pod in before if pod["spec"]["nodeName"] == max(nodes, key=nodes.count)]
    await pbx.cluster.kubectl("delete", "pod", one["metadata"]["name"], "-n", pbx.namespace, "--wait=false", *options)
    await agents_replaced(pbx, uids([one]), count=len(before))


async def test_nothing_goes_and_all_servers_show_the_truth_within_30_s_of_an_agents_deletion(
    pbx: ClusterPbx, measure: Measure
) -> None:
    took, shown = await truth_after(pbx, take_agent, within=30)
    assert took < 30
    assert shown.gone() == []
    measure("agent deleted, until all show the truth", took)


@pytest.mark.long
async def test_nothing_goes_and_all_servers_show_the_truth_within_30_s_of_an_agents_deletion_by_force(
    pbx: ClusterPbx, measure: Measure
) -> None:
    async def fault(pbx: ClusterPbx) -> None:
        await take_agent(pbx, *FORCED)

    took, shown = await truth_after(pbx, fault, within=30)
    assert took < 30
    assert shown.gone() == []
    measure("agent deleted by force, until all show the truth", took)


async def test_events_flow_while_both_operators_are_gone_and_another_one_acts_within_60_s(
    pbx: ClusterPbx, measure: Measure
) -> None:
    times: list[float] = []
    acted: list[float] = []

    async def fault(pbx: ClusterPbx) -> float:
        pods = await pbx.cluster.list("pods", PLACE, OPERATOR)
        before = uids(pods)
        assert len(before) == 2
        # Killed: neither gives its Lease back. Deleted: the next ones have other names, and so have to wait for it.
        await asyncio.gather(*(signal_container(pod, "operator", "SIGKILL", pbx.cluster) for pod in pods))
        await pbx.cluster.kubectl("delete", "pod", "-n", PLACE, "-l", OPERATOR, "--wait=false", *FORCED)
        began = time.monotonic()
        assert not before & ready_uids(await pbx.cluster.list("pods", PLACE, OPERATOR))
        await change_something(pbx)
        crossing = asyncio.create_task(crossings(pbx.pods, 10))
        acted.append(await taken_note_of(pbx) - began)
        times.extend(await crossing)
        return time.monotonic()

    took, shown = await truth_after(pbx, fault, within=10)
    assert took < 10
    assert acted[0] < 60
    assert shown.gone() == []
    measure("both operators killed, until another one acts", acted[0])
    measure(
        "without operators, pod to the last of two pods, median of 10",
        statistics.median(times) * 1000,
        "ms",
    )
    measure("without operators, pod to the last of two pods, worst of 10", max(times) * 1000, "ms")


async def test_nothing_goes_and_all_servers_show_the_truth_within_30_s_of_the_deletion_of_nats(
    pbx: ClusterPbx, measure: Measure
) -> None:
    took, shown = await truth_after(pbx, take_nats, within=30)
    assert took < 30
    assert shown.gone() == []
    measure("NATS deleted, its volume kept, until all show the truth", took)


async def take_nats(pbx: ClusterPbx) -> None:
    """Delete NATS's pod and wait for the next one."""
    before = uids(await pbx.cluster.list("pods", PLACE, NATS))
    await pbx.cluster.kubectl("delete", "pod", "-n", PLACE, "-l", NATS, "--wait=false")
    await nats_other_than(pbx, before)


async def nats_other_than(pbx: ClusterPbx, before: set[str]) -> None:
    async def is_ready() -> bool:
        return bool(ready_uids(await pbx.cluster.list("pods", PLACE, NATS)) - before)

    await pbx.cluster.until("another NATS is ready", is_ready, within=120)


@pytest.mark.long
async def test_nothing_goes_and_all_servers_show_the_truth_within_40_s_of_the_loss_of_natss_volume(
    pbx: ClusterPbx, measure: Measure
) -> None:
    claim = "data-eventfed-nats-0"
    async with on_bus(pbx) as bus:
        before = bus.view.incarnation
    volume = await pbx.cluster.get("pvc", claim, PLACE)

    async def fault(pbx: ClusterPbx) -> None:
        # It is in use, and goes with the pod.
        await pbx.cluster.kubectl("delete", "pvc", claim, "-n", PLACE, "--wait=false")
        await take_nats(pbx)

    took, shown = await truth_after(pbx, fault, within=40)
    assert took < 40
    assert (await pbx.cluster.get("pvc", claim, PLACE))["metadata"]["uid"] != volume["metadata"]["uid"]
    async with on_bus(pbx) as bus:
        assert bus.view.incarnation != before
    assert shown.gone() == []
    await pbx.wait_ready()
    measure("NATS deleted with its volume, until all show the truth", took)
