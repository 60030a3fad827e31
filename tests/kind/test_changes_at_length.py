"""Changes that take their time, by the owner or by others: nothing is lost, and nothing blinks."""

import asyncio
import base64
import time
from typing import Any

import pytest

from eventfed import DeviceState
from eventfed_lab import ClusterPbx, Truth
from tests.ground.agent_pods import agent_identities, covered, rolled_out
from tests.ground.cluster_changes import (
    AGENT,
    ASTERISK,
    AT_THE_NEXT_LOOK,
    QUIET,
    change,
    cluster_ip,
    harm_what_is_quiet,
    observed,
    put_back,
)  # fmt: skip
from tests.ground.crossings import Crossings, Still, crosses
from tests.ground.fixture_types import Measure

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.long]

BUSY, UNKNOWN = DeviceState.BUSY, DeviceState.UNKNOWN
PRIVATE = "Custom:private-lamp"


async def renamed_image(pbx: ClusterPbx) -> str:
    """The same image under another name, on each node."""
    for node in await pbx.cluster.workers():
        names = ("docker.io/library/eventfed:0.1.0", "docker.io/library/eventfed:another-name")
        await pbx.cluster.on_node(node, "ctr", "-n", "k8s.io", "images", "tag", "--force", *names)
    return "eventfed:another-name"


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
            measure(f"agents: {field} changed, until those of both nodes are replaced", done - began)
            measure(f"agents: {field} changed; a state that changed meanwhile, the longest on its way", longest)
            measure(
                f"agents: {field} changed; all servers show the truth, after the last agent", max(0.0, settled - done)
            )
        assert truth.changes > 100
    await pbx.wait_ready()


async def operators(pbx: ClusterPbx, count: int) -> None:
    place = ("deployment/eventfed-operator", "-n", "eventfed")
    await pbx.cluster.kubectl("scale", *place, f"--replicas={count}")
    await pbx.cluster.kubectl("rollout", "status", *place, "--timeout=60s")


async def test_a_service_that_somebody_made_in_place_of_ours_with_another_address_gives_way_to_the_old_address(
    pbx: ClusterPbx,
) -> None:
    address = await cluster_ip(pbx)
    found = await pbx.cluster.get("service", AGENT, pbx.namespace)
    metadata = {key: found["metadata"][key] for key in ("name", "namespace", "labels", "ownerReferences")}
    spec = {key: value for key, value in found["spec"].items() if key not in ("clusterIP", "clusterIPs")}
    other = {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}

    async with Crossings(pbx, pause=0.5) as crossings:
        await operators(pbx, 0)
        await pbx.cluster.delete("service", AGENT, pbx.namespace)
        await pbx.cluster.apply(other)
        assert await cluster_ip(pbx) != address
        await operators(pbx, 2)

        async def as_before() -> bool:
            return await cluster_ip(pbx) == address

        await pbx.cluster.until("the Service has its address", as_before, within=AT_THE_NEXT_LOOK)
        await crossings.all_arrive()


async def test_what_the_operator_does_not_watch_is_put_back_at_its_next_look(pbx: ClusterPbx, measure: Measure) -> None:
    before = await agent_identities(pbx)
    async with Still(pbx) as still, Crossings(pbx, pause=0.2) as crossings:
        took = await put_back(pbx, lambda: harm_what_is_quiet(pbx), *QUIET, within=AT_THE_NEXT_LOOK)
        measure("Secrets, NetworkPolicy and ServiceAccount deleted or changed by hand, until they are put back", took)
        await crossings.all_arrive()
        assert still.blinks() == []
    assert await agent_identities(pbx) == before


async def has_lines(pbx: ClusterPbx, name: str) -> bool:
    """Whether the kubelet shows the pod its lines for pjsip.conf."""
    folder = ("exec", name, "-n", pbx.namespace, "-c", "asterisk", "--", "ls", "/etc/asterisk-eventfed")
    return "pjsip_eventfed.conf" in await pbx.cluster.kubectl(*folder)


@pytest.mark.timeout(400)
async def test_lines_that_a_pod_sees_gone_for_a_while_keep_nothing_from_it(pbx: ClusterPbx, measure: Measure) -> None:
    """The operator is away as well, so that the kubelet has the time to take the lines out of a pod."""
    async with Still(pbx) as still, Crossings(pbx, pause=1.0) as crossings:
        await operators(pbx, 0)
        await pbx.cluster.delete("secret", ASTERISK, pbx.namespace)

        async def all_have_theirs() -> bool:
            return all([await has_lines(pbx, name) for name in pbx.names])

        async def one_is_without() -> bool:
            return not await all_have_theirs()

        began = await pbx.cluster.until("a pod has no lines", one_is_without, within=150)
        await operators(pbx, 2)
        ended = await pbx.cluster.until("all pods have their lines", all_have_theirs, within=150)
        measure("lines deleted by hand, seen gone by a pod, until every pod sees them again", ended - began)
        longest = await crossings.all_arrive()
        measure("meanwhile the longest that a change was on its way", longest)
        assert longest < 5.0
        assert still.blinks() == []


@pytest.mark.timeout(400)
async def test_both_secrets_deleted_cost_a_new_header_secret_and_no_change(pbx: ClusterPbx, measure: Measure) -> None:
    before = await agent_identities(pbx)

    async def token() -> str:
        found = await pbx.cluster.get("secret", AGENT, pbx.namespace)
        return str(found["data"]["token"]) if found else ""

    old = await token()
    async with Still(pbx) as still, Crossings(pbx, pause=0.5) as crossings:
        began = time.monotonic()
        for name in (AGENT, ASTERISK):
            await pbx.cluster.delete("secret", name, pbx.namespace)

        async def another() -> bool:
            return await token() not in ("", old)

        at = await pbx.cluster.until("another header secret", another, within=AT_THE_NEXT_LOOK)
        measure("both Secrets deleted, until there is another header secret", at - began)

        # The kubelet brings it to agents and servers, one after the other in any order.
        async def all_have_it() -> bool:
            secret = base64.b64decode(await token()).decode()
            said = [await pod.cli("pjsip show identify eventfed") for pod in pbx.pods]
            return all(secret in one for one in said)

        at = await pbx.cluster.until("every server has it", all_have_it, within=200)
        measure("both Secrets deleted, until every server has another header secret", at - began)
        measure("both Secrets deleted: the longest that a change was on its way", await crossings.all_arrive())
        assert still.blinks() == []
    await crosses(pbx)
    assert await agent_identities(pbx) == before
