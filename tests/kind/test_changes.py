"""An EventFederation changes while states cross: what needs no restart restarts nothing, and nothing blinks."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
import pytest_asyncio

from agent_pods import agent_identities, covered, rolled_out
from crossings import Crossings, Still, crosses
from eventfed import DeviceState
from eventfed_lab import Cluster, ClusterPbx, Truth
from kind_ground import CHECKOUT, Measure

pytestmark = pytest.mark.asyncio(loop_scope="session")

BUSY, UNKNOWN = DeviceState.BUSY, DeviceState.UNKNOWN
PRIVATE = "Custom:private-lamp"
MWI: Mapping[str, Any] = {"type": "mwi", "voicemailStorage": "Separate"}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def pbx(chart: Cluster) -> AsyncIterator[ClusterPbx]:
    """Three servers on two nodes. Each test leaves it as it was."""
    namespace = f"voice-{secrets.token_hex(3)}"
    pbx = ClusterPbx(chart, CHECKOUT, namespace, replicas=3, spec={"departure": {"gracePeriod": 5}})
    try:
        yield await pbx.__aenter__()
    finally:
        await pbx.close()


async def change(pbx: ClusterPbx, **spec: Any) -> float:
    """Change fields of the EventFederation; the time at which the API server had taken them."""
    await pbx.cluster.patch("evfed", pbx.name, pbx.namespace, {"spec": spec})
    return time.monotonic()


def events(**device_state: Any) -> list[Mapping[str, Any]]:
    return [MWI, {"type": "device_state", **device_state}]


async def test_filters_take_effect_in_agents_that_run(pbx: ClusterPbx, measure: Measure) -> None:
    before = await agent_identities(pbx)
    first, *others = pbx.names
    await pbx[first].set_device(PRIVATE, BUSY)
    await pbx.wait_device(PRIVATE, BUSY)
    async with Still(pbx) as still, Crossings(pbx) as crossings:
        changed = await change(pbx, events=events(exclude=["^Custom:private-"]))
        await pbx.wait_device(PRIVATE, UNKNOWN, on=others, within=120)
        measure("name excluded, until it is withdrawn from all servers", time.monotonic() - changed)
        assert await pbx[first].device_state(PRIVATE) is BUSY
        changed = await change(pbx, events=events())
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
    await change(pbx, events=events(publish=False))
    await pbx.wait_device(PRIVATE, UNKNOWN, on=others, within=120)
    assert await pbx[first].device_state(PRIVATE) is BUSY
    await change(pbx, events=events(subscribe=False))
    await pbx.wait_device(PRIVATE, UNKNOWN, on=others, within=120)
    await change(pbx, events=events())
    await pbx.wait_device(PRIVATE, BUSY, within=120)
    await crosses(pbx)
    assert await agent_identities(pbx) == before


async def test_the_grace_of_departure_changes_in_agents_that_run_for_who_has_left_already_too(
    pbx: ClusterPbx, measure: Measure
) -> None:
    before = await agent_identities(pbx)
    *stay, leaves = pbx.names
    await pbx[leaves].set_device("Custom:leaver", BUSY)
    await pbx.wait_device("Custom:leaver", BUSY)
    await change(pbx, departure={"gracePeriod": 600})
    await observed(pbx)
    await pbx.scale(len(stay))
    await pbx.cluster.wait("delete", f"pod/{leaves}", "-n", pbx.namespace, within=60)
    await asyncio.sleep(8)  # more than the grace before
    assert [await pbx[name].device_state("Custom:leaver") for name in stay] == [BUSY] * len(stay)
    changed = await change(pbx, departure={"gracePeriod": 5})
    await pbx.wait_device("Custom:leaver", UNKNOWN, within=60)
    measure("grace shortened to 5 s, until the states of a server that left are withdrawn", time.monotonic() - changed)
    assert await agent_identities(pbx) == before
    await pbx.scale(len(stay) + 1)
    await pbx.wait_ready()


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
        await change(pbx, agent={"logLevel": "debug"}, events=events(exclude=["^Custom:private-"]))
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
    await change(pbx, agent={"logLevel": "info"}, events=events())
    await rolled_out(pbx, await agent_identities(pbx))


async def observed(pbx: ClusterPbx) -> None:
    """Until the operator has looked at the latest generation."""

    async def seen() -> bool:
        found = await pbx.document()
        return bool(found["status"]["observedGeneration"] == found["metadata"]["generation"])

    await pbx.cluster.until("the latest generation observed", seen)


async def renamed_image(pbx: ClusterPbx) -> str:
    """The same image under another name, on each node."""
    for node in await pbx.cluster.workers():
        names = ("docker.io/library/eventfed:0.1.0", "docker.io/library/eventfed:another-name")
        await pbx.cluster.on_node(node, "ctr", "-n", "k8s.io", "images", "tag", "--force", *names)
    return "eventfed:another-name"


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("field", ["image", "resources", "placement"])
async def test_agents_are_replaced_node_by_node_and_all_servers_show_the_truth_all_the_time(
    field: str, pbx: ClusterPbx, measure: Measure
) -> None:
    agent: dict[str, Any] = {
        "resources": {"requests": {"cpu": "15m", "memory": "96Mi"}, "limits": {"memory": "224Mi"}},
        "placement": {"tolerations": [{"key": "nobody-has-this", "operator": "Exists"}]},
    }
    value = await renamed_image(pbx) if field == "image" else agent[field]
    for wanted in (value, None):  # there, and back
        before = await agent_identities(pbx)
        async with Still(pbx) as still, Crossings(pbx) as crossings, Truth(pbx.pods) as truth:
            async with covered(pbx) as coverage:
                began = await change(pbx, agent={field: wanted})
                done = await rolled_out(pbx, before)
            settled = await truth.settle()
            longest = await crossings.all_arrive()
            assert coverage.gaps == []
            assert coverage.most > len(coverage.nodes), "the new one is ready before the old one ends"
            assert still.blinks() == []
        if wanted is not None:
            measure(f"agents of two nodes replaced for another {field}", done - began)
            measure(f"another {field}: change made meanwhile, the longest on its way", longest)
            measure(f"another {field}: all servers show the truth, after the last agent", max(0.0, settled - done))
        assert truth.changes > 100
    await pbx.wait_ready()
