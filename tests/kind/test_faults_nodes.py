"""Nodes are drained, stand still and come back, and pods move between them."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio

from eventfed import EID, DeviceState, Event, EventType, StateChanged, StateKey, StateRemoved
from eventfed_lab import AsteriskPod, Cluster, ClusterPbx, Lamps, MailboxCounts
from tests.ground.fixture_types import Measure
from tests.ground.kind_faults import federation_of, histories, on_bus, truth_after

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(400), pytest.mark.long]

GRACE = 5.0
LEASE = 30.0
PAUSE = 60.0


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shared(chart: Cluster) -> AsyncIterator[ClusterPbx]:
    async with federation_of(chart, departure={"gracePeriod": GRACE}) as pbx:
        yield pbx


@pytest_asyncio.fixture(loop_scope="session")
async def pbx(shared: ClusterPbx) -> ClusterPbx:
    """Three servers, on both nodes."""
    if len({pod.node for pod in shared.pods}) == 1:
        await shared.pods[0].restart()
    assert len({pod.node for pod in shared.pods}) == 2
    await shared.wait_ready()
    return shared


def on_fewest(pbx: ClusterPbx) -> list[AsteriskPod]:
    """The servers of the node that has the fewest."""
    nodes = {pod.node for pod in pbx.pods}
    return min(([pod for pod in pbx.pods if pod.node == node] for node in nodes), key=len)


@asynccontextmanager
async def uncordoned_in_the_end(cluster: Cluster, node: str) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await cluster.kubectl("uncordon", node)


async def test_all_servers_show_the_truth_within_30_s_of_a_drained_nodes_servers_start_on_the_other_node(
    pbx: ClusterPbx, measure: Measure
) -> None:
    drained = on_fewest(pbx)
    node = drained[0].node
    first = {pod.name: (pod.uid, await entity_id(pod)) for pod in drained}

    async def fault(pbx: ClusterPbx) -> float:
        options = ("--ignore-daemonsets", "--delete-emptydir-data", "--timeout=90s")
        await pbx.cluster.kubectl("drain", node, *options)
        return max(await asyncio.gather(*(pod.attach(other_than=first[pod.name][0]) for pod in drained)))

    async with uncordoned_in_the_end(pbx.cluster, node):
        took, _ = await truth_after(pbx, fault, within=30)
        assert took < 30
        for pod in drained:
            assert pod.node != node
            assert await entity_id(pod) == first[pod.name][1]
        await pbx.wait_ready()
    assert (await pbx.condition("EntityIDsUnique"))["status"] == "True"
    measure("node drained, until all show the truth, from its servers' start on the other node", took)


async def entity_id(pod: AsteriskPod) -> EID:
    line = next(line for line in (await pod.cli("core show settings")).splitlines() if "Entity ID" in line)
    return EID.parse(line.partition(":")[2].strip())


async def test_a_paused_nodes_states_go_after_lease_and_grace_and_all_show_the_truth_within_60_s_of_its_return(
    pbx: ClusterPbx, measure: Measure
) -> None:
    paused = on_fewest(pbx)
    node = paused[0].node
    others = [pod.name for pod in pbx.pods if pod not in paused]
    await paused[0].set_device("Custom:paused", DeviceState.BUSY)
    await pbx.wait_device("Custom:paused", DeviceState.BUSY)
    gone: list[float] = []

    async def fault(pbx: ClusterPbx) -> float:
        began = time.monotonic()
        await pbx.cluster.run("docker", "pause", node)
        try:
            took = await pbx.wait_device("Custom:paused", DeviceState.UNKNOWN, on=others, within=PAUSE)
            gone.append(took)
            await asyncio.sleep(max(0.0, began + PAUSE - time.monotonic()))
        finally:
            await pbx.cluster.run("docker", "unpause", node)
        return time.monotonic()

    took, _ = await truth_after(pbx, fault, within=60)
    assert took < 60
    # At the earliest: the lease was renewed 5 s before.
    assert LEASE - 5 + GRACE - 1 < gone[0] < LEASE + GRACE + 10
    await pbx.wait_device("Custom:paused", DeviceState.BUSY)
    await pbx.wait_ready()
    measure("node stands still, grace 5 s, until its servers' states have gone elsewhere", gone[0])
    measure("node stood still for 60 s, until all show the truth, from its return", took)


@pytest_asyncio.fixture(loop_scope="session")
async def with_production_times(chart: Cluster) -> AsyncIterator[ClusterPbx]:
    async with federation_of(chart) as pbx:
        yield pbx


async def test_a_pod_that_comes_back_on_the_other_node_is_taken_over_and_nothing_blinks_on_others(
    with_production_times: ClusterPbx, measure: Measure
) -> None:
    pbx = with_production_times
    moving, *others = sorted(pbx.pods, key=lambda pod: pod is not on_fewest(pbx)[0])
    staying = others[0]
    await moving.set_device("Custom:moving", DeviceState.BUSY)
    await staying.set_device("Custom:staying", DeviceState.INUSE)
    await pbx.wait_device("Custom:moving", DeviceState.BUSY)
    await pbx.wait_device("Custom:staying", DeviceState.INUSE)
    await staying.leave_voicemail("1001@default", 2, by="spool")
    await pbx.wait_mailbox("1001@default", MailboxCounts(2, 0))
    eid, uid, node = await entity_id(moving), moving.uid, moving.node
    unique = await pbx.condition("EntityIDsUnique")
    before = {pod.name: await pod.ami.device_states() for pod in others}
    async with (
        on_bus(pbx) as bus,
        Lamps(others) as lamps,
        uncordoned_in_the_end(pbx.cluster, node),
    ):
        changes: list[tuple[StateKey, Event | None]] = []
        following = asyncio.create_task(follow(bus.watch(eid=eid), changes))
        await bus_said(changes)
        first = dict(changes)
        number = len(changes)
        with histories(others) as shown:
            await pbx.cluster.kubectl("cordon", node)
            began = time.monotonic()
            await pbx.cluster.kubectl("delete", "pod", moving.name, "-n", pbx.namespace, "--wait=false")
            booted = await moving.attach(other_than=uid)
            lit = await moving.wait_mailbox("1001@default", MailboxCounts(2, 0))
            await pbx.wait_device("Custom:moving", DeviceState.UNKNOWN)
            await pbx.wait_ready()
            ready = time.monotonic()
            await asyncio.sleep(2)
            told = {pod.name: shown.of(pod.name) for pod in others}
        following.cancel()
        assert moving.node != node
        assert await entity_id(moving) == eid
        after = {pod.name: await pod.ami.device_states() for pod in others}
        for pod in others:
            assert {device for device, states in told[pod.name].items() if states} <= {"Custom:moving"}
            assert told[pod.name]["Custom:moving"] == [DeviceState.UNKNOWN]
            assert before[pod.name] | {"Custom:moving": "UNKNOWN"} == after[pod.name]
            assert lamps.history(pod.name) == [MailboxCounts(2, 0)]
        assert blinks(first, changes[number:]) == {}
        assert dict(changes[number:])[StateKey(EventType.DEVICE_STATE_CHANGE, eid, "Custom:moving")] is None
    # Two servers of one EID would have been told of here.
    assert await pbx.condition("EntityIDsUnique") == unique
    measure(
        "pod moved to the other node with its EID, until its own lamp is right, from its start",
        lit - booted,
    )
    measure("pod moved to the other node with its EID, from its deletion until all are synced", ready - began)


async def follow(watching: AsyncIterator[object], changes: list[tuple[StateKey, Event | None]]) -> None:
    """What becomes of the states of one server on the bus; None where one is taken away."""
    async for change in watching:
        if isinstance(change, StateChanged):
            changes.append((change.event.state_key, change.event))
        elif isinstance(change, StateRemoved):
            changes.append((change.key, None))


async def bus_said(changes: Sequence[object]) -> None:
    async with asyncio.timeout(5):
        while not changes:  # noqa: ASYNC110 - a list tells nobody that it has grown
            await asyncio.sleep(0.05)
    await asyncio.sleep(0.5)


def blinks(
    before: dict[StateKey, Event | None], changes: Sequence[tuple[StateKey, Event | None]]
) -> dict[StateKey, list[object]]:
    """States that were something else for a while and then what they had been before."""

    def value(event: Event | None) -> object:
        return None if event is None else event.elements

    last = {**before, **dict(changes)}
    found: dict[StateKey, list[object]] = {}
    for key, event in changes:
        if value(last[key]) == value(before.get(key)) != value(event):
            found.setdefault(key, []).append(value(event))
    return found


async def test_a_pod_with_a_new_eid_is_a_new_member_and_after_the_graces_nothing_is_left_of_the_old_one(
    chart: Cluster, measure: Measure
) -> None:
    departure = {"gracePeriod": GRACE, "mailboxes": "Remove", "mailboxGracePeriod": GRACE}
    async with federation_of(chart, 2, departure=departure) as pbx:
        other, pod = pbx.pods
        await pod.set_device("Custom:old", DeviceState.BUSY)
        await pod.leave_voicemail("1001@default", 2, by="spool")
        await other.wait_device("Custom:old", DeviceState.BUSY)
        await other.wait_mailbox("1001@default", MailboxCounts(2, 0))
        old, uid = await entity_id(pod), pod.uid
        began = time.monotonic()
        await pbx.cluster.patch("statefulset", pbx.app, pbx.namespace, another_site(pbx, pod))
        await pod.attach(other_than=uid)
        new = await entity_id(pod)
        assert new != old
        await other.wait_device("Custom:old", DeviceState.UNKNOWN, within=30)
        gone = await other.wait_mailbox("1001@default", MailboxCounts(0, 0), within=30)
        # From its goodbye, which it says when it is told to end.
        assert gone - began < GRACE + 20
        async with on_bus(pbx) as bus:
            assert list(bus.view.open_keys(old)) == []
            assert old not in bus.view.leases
            assert new in bus.view.leases
        await pbx.wait_ready()
        await pod.set_device("Custom:new", DeviceState.RINGING)
        await other.wait_device("Custom:new", DeviceState.RINGING)
        await other.set_device("Custom:other", DeviceState.ONHOLD)
        await pod.wait_device("Custom:other", DeviceState.ONHOLD)
        measure(
            "pod replaced by one of another EID, grace 5 s, until nothing is left of the old one",
            gone - began,
        )


def another_site(pbx: ClusterPbx, pod: AsteriskPod) -> dict[str, object]:
    """Have the last pod, and only that one, derive its EID from another name of the site."""
    stateful_set = pbx.asterisk_documents()[3]
    template = stateful_set["spec"]["template"]
    (identity,) = [one for one in template["spec"]["initContainers"] if one["name"] == "identity"]
    for variable in identity["env"]:
        if variable["name"] == "SITE":
            variable["value"] = "elsewhere"
    partition = int(pod.name.rpartition("-")[2])
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}}
    return {"spec": {"template": template, "updateStrategy": strategy}}
