"""What somebody changes or deletes by hand is put back, and states cross afterwards as before."""

import base64
import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio

from agent_pods import agent_identities, covered, rolled_out
from crossings import Crossings, Still, crosses
from eventfed_lab import Cluster, ClusterPbx
from kind_ground import CHECKOUT, Measure

pytestmark = pytest.mark.asyncio(loop_scope="session")

AGENT, ASTERISK = "pbx-agent", "pbx-asterisk"
AT_ONCE, AT_THE_NEXT_LOOK = 10.0, 40.0
QUIET = (("networkpolicy", AGENT), ("serviceaccount", AGENT), ("secret", AGENT), ("secret", ASTERISK))
"""What the operator does not watch."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def pbx(chart: Cluster) -> AsyncIterator[ClusterPbx]:
    namespace = f"voice-{secrets.token_hex(3)}"
    pbx = ClusterPbx(chart, CHECKOUT, namespace, spec={"departure": {"gracePeriod": 5}})
    try:
        yield await pbx.__aenter__()
    finally:
        await pbx.close()


async def content(pbx: ClusterPbx, kind: str, name: str) -> Any:
    """What matters of an object; None if there is none."""
    found = await pbx.cluster.get(kind, name, pbx.namespace)
    if found is None:
        return None
    parts = {key: value for key, value in found.items() if key not in ("metadata", "status")}
    return {**parts, "labels": found["metadata"]["labels"], "owners": found["metadata"]["ownerReferences"]}


async def put_back(
    pbx: ClusterPbx, harm: Callable[[], Awaitable[object]], *objects: tuple[str, str], within: float
) -> float:
    """Do the harm and wait until the objects are again as they were; seconds it took."""
    before = {one: await content(pbx, *one) for one in objects}
    await harm()
    began = time.monotonic()

    async def same() -> bool:
        return {one: await content(pbx, *one) for one in objects} == before

    return await pbx.cluster.until("put back", same, within=within) - began


async def harm_what_is_quiet(pbx: ClusterPbx) -> None:
    """Delete some, change others; the header secret is whole in one of the two Secrets that hold it."""
    nonsense = base64.b64encode(b"nonsense").decode()
    await pbx.cluster.delete("networkpolicy", AGENT, pbx.namespace)
    await pbx.cluster.delete("serviceaccount", AGENT, pbx.namespace)
    await pbx.cluster.delete("secret", ASTERISK, pbx.namespace)
    await pbx.cluster.patch("secret", AGENT, pbx.namespace, {"data": {"agent.toml": nonsense}})


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


async def cluster_ip(pbx: ClusterPbx) -> str:
    return str((await pbx.cluster.get("service", AGENT, pbx.namespace))["spec"]["clusterIP"])


async def operators(pbx: ClusterPbx, count: int) -> None:
    place = ("deployment/eventfed-operator", "-n", "eventfed")
    await pbx.cluster.kubectl("scale", *place, f"--replicas={count}")
    await pbx.cluster.kubectl("rollout", "status", *place, "--timeout=60s")


@pytest.mark.long
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


@pytest.mark.long
async def test_what_the_operator_does_not_watch_is_put_back_at_its_next_look(pbx: ClusterPbx, measure: Measure) -> None:
    before = await agent_identities(pbx)
    async with Still(pbx) as still, Crossings(pbx, pause=0.2) as crossings:
        took = await put_back(pbx, lambda: harm_what_is_quiet(pbx), *QUIET, within=AT_THE_NEXT_LOOK)
        measure("Secrets, NetworkPolicy and ServiceAccount deleted or changed by hand, until they are put back", took)
        await crossings.all_arrive()
        assert still.blinks() == []
    assert await agent_identities(pbx) == before


@pytest.mark.long
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
