"""What is changed while states cross, by the owner or by others: nothing is lost, and nothing blinks."""

import asyncio
import json
import time

import pytest

from eventfed import DeviceState
from eventfed_lab import ClusterPbx
from tests.ground.agent_pods import agent_identities, covered, rolled_out
from tests.ground.cluster_changes import (
    AGENT,
    AT_ONCE,
    QUIET,
    change,
    cluster_ip,
    device_states,
    harm_what_is_quiet,
    observed,
    put_back,
)  # fmt: skip
from tests.ground.crossings import Crossings, Still, crosses
from tests.ground.fixture_types import Measure

pytestmark = pytest.mark.asyncio(loop_scope="session")

BUSY, UNKNOWN = DeviceState.BUSY, DeviceState.UNKNOWN
PRIVATE = "Custom:private-lamp"


async def test_filters_take_effect_in_agents_that_run(pbx: ClusterPbx, measure: Measure) -> None:
    before = await agent_identities(pbx)
    first, *others = pbx.names
    await pbx[first].set_device(PRIVATE, BUSY)
    await pbx.wait_device(PRIVATE, BUSY)
    async with Still(pbx) as still, Crossings(pbx) as crossings:
        changed = await change(pbx, events=device_states(exclude=["^Custom:private-"]))
        await pbx.wait_device(PRIVATE, UNKNOWN, on=others, within=120)
        measure("name excluded, until it is withdrawn from all servers", time.monotonic() - changed)
        assert await pbx[first].device_state(PRIVATE) is BUSY
        changed = await change(pbx, events=device_states())
        await pbx.wait_device(PRIVATE, BUSY, within=120)
        measure("exclusion taken back, until all servers show the state", time.monotonic() - changed)
        await crossings.all_arrive()
        assert still.blinks() == []
    assert await agent_identities(pbx) == before


async def test_a_type_that_is_no_longer_published_is_withdrawn_and_one_not_subscribed_to_comes_to_nobody(
    pbx: ClusterPbx,
) -> None:
    before = await agent_identities(pbx)
    first, *others = pbx.names
    await pbx[first].set_device(PRIVATE, BUSY)
    await pbx.wait_device(PRIVATE, BUSY)
    await change(pbx, events=device_states(publish=False))
    await pbx.wait_device(PRIVATE, UNKNOWN, on=others, within=120)
    assert await pbx[first].device_state(PRIVATE) is BUSY
    await change(pbx, events=device_states(subscribe=False))
    await pbx.wait_device(PRIVATE, UNKNOWN, on=others, within=120)
    await change(pbx, events=device_states())
    await pbx.wait_device(PRIVATE, BUSY, within=120)
    await crosses(pbx)
    assert await agent_identities(pbx) == before


async def test_a_server_that_is_no_longer_selected_is_withdrawn_and_comes_back_without_a_restart(
    pbx: ClusterPbx, measure: Measure
) -> None:
    before = await agent_identities(pbx)
    *stay, leaves = pbx.names
    selector = {
        "matchLabels": {"app": "asterisk"},
        "matchExpressions": [{"key": "statefulset.kubernetes.io/pod-name", "operator": "NotIn", "values": [leaves]}],
    }
    await pbx[leaves].set_device("Custom:leaver", BUSY)
    await pbx[stay[0]].set_device("Custom:stayer", BUSY)
    for device in ("Custom:leaver", "Custom:stayer"):
        await pbx.wait_device(device, BUSY)
    async with Crossings(pbx, makers=stay) as crossings:
        changed = await change(pbx, members={"selector": selector})
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(pbx.wait_device("Custom:leaver", UNKNOWN, on=stay, within=30))
            tasks.create_task(pbx.wait_device("Custom:stayer", UNKNOWN, on=[leaves], within=30))
        measure("server no longer selected, until it is withdrawn both ways", time.monotonic() - changed)
        assert await pbx[leaves].device_state("Custom:leaver") is BUSY
        changed = await change(pbx, members={"selector": {"matchExpressions": None}})
        await pbx.wait_device("Custom:leaver", BUSY, within=30)
        await pbx.wait_device("Custom:stayer", BUSY, within=30)
        measure("server selected again, until states cross both ways", time.monotonic() - changed)
        await crossings.all_arrive()
    await pbx.wait_ready()
    assert await agent_identities(pbx) == before


async def test_a_paused_federation_keeps_its_agents_while_rosters_follow_pods_and_rolls_them_once_it_goes_on(
    pbx: ClusterPbx, measure: Measure
) -> None:
    before = await agent_identities(pbx)
    async with Still(pbx) as still, Crossings(pbx, makers=pbx.names) as crossings:
        await change(pbx, paused=True)
        await pbx.wait_condition("Paused", status="True", within=20)
        await change(pbx, agent={"logLevel": "debug"}, events=device_states(exclude=["^Custom:private-"]))
        await observed(pbx)
        await crosses(pbx)
        assert await agent_identities(pbx) == before
        daemon_set = await pbx.cluster.get("daemonset", "pbx-agent", pbx.namespace)
        assert daemon_set["metadata"]["generation"] == daemon_set["status"]["observedGeneration"]
        async with covered(pbx) as coverage:
            began = await change(pbx, paused=False)
            done = await rolled_out(pbx, before)
            measure("agents of two nodes rolled out one after the other", done - began)
            assert coverage.gaps == []
            assert coverage.changes > 4
        longest = await crossings.all_arrive()
        measure("change made during a rollout, the longest on its way", longest)
        assert still.blinks() == []
    await change(pbx, events=device_states())


async def test_a_service_that_is_changed_is_put_back_at_once_and_with_it_all_that_the_operator_does_not_watch(
    pbx: ClusterPbx, measure: Measure
) -> None:
    before = await agent_identities(pbx)

    async def harm() -> None:
        await harm_what_is_quiet(pbx)
        policy = {"spec": {"internalTrafficPolicy": "Cluster", "selector": {"app.kubernetes.io/name": "nobody"}}}
        await pbx.cluster.patch("service", AGENT, pbx.namespace, policy)

    async with Still(pbx) as still, Crossings(pbx) as crossings:
        took = await put_back(pbx, harm, ("service", AGENT), *QUIET, within=AT_ONCE)
        measure("Service changed by hand, until it is put back", took)
        await crossings.all_arrive()
        assert still.blinks() == []
    assert await agent_identities(pbx) == before


async def test_a_service_that_is_deleted_has_the_same_address_again_and_nothing_is_lost(
    pbx: ClusterPbx, measure: Measure
) -> None:
    before, address = await agent_identities(pbx), await cluster_ip(pbx)

    async def harm() -> None:
        await pbx.cluster.delete("service", AGENT, pbx.namespace)

    async with Still(pbx) as still, Crossings(pbx) as crossings:
        measure("Service deleted, until it is back", await put_back(pbx, harm, ("service", AGENT), within=AT_ONCE))
        assert await cluster_ip(pbx) == address
        measure("change made while the Service was away, the longest on its way", await crossings.all_arrive())
        assert still.blinks() == []
    assert await agent_identities(pbx) == before


async def test_an_image_that_does_not_exist_is_taken_out_of_the_daemonset_before_any_agent_goes(
    pbx: ClusterPbx, measure: Measure
) -> None:
    before = await agent_identities(pbx)

    async def harm() -> None:
        containers = [{"name": "agent", "image": "eventfed:of-somebody"}]
        patch = {"spec": {"template": {"spec": {"containers": containers}}}}
        await pbx.cluster.kubectl("patch", "daemonset", AGENT, "-n", pbx.namespace, "-p", json.dumps(patch))

    async with Still(pbx) as still, Crossings(pbx) as crossings, covered(pbx) as coverage:
        measure(
            "DaemonSet changed by hand, until it is put back",
            await put_back(pbx, harm, ("daemonset", AGENT), within=AT_ONCE),
        )
        await pbx.wait_ready()
        await crossings.all_arrive()
        assert coverage.gaps == []
        assert still.blinks() == []
    assert await agent_identities(pbx) == before


async def test_a_daemonset_that_is_deleted_with_its_agents_is_back_within_seconds_and_nothing_is_lost(
    pbx: ClusterPbx, measure: Measure
) -> None:
    before = await agent_identities(pbx)
    async with Still(pbx) as still, Crossings(pbx, pause=0.2) as crossings:
        began = time.monotonic()
        await pbx.cluster.delete("daemonset", AGENT, pbx.namespace, "--wait=false")
        measure("DaemonSet deleted, until all its agents are replaced", await rolled_out(pbx, before) - began)
        measure("change made while agents were away, the longest on its way", await crossings.all_arrive())
        assert still.blinks() == []
    await pbx.wait_ready()
    await crosses(pbx)
