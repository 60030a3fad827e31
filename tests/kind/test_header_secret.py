"""The header secret between pods: without it nothing is taken in, and it can be changed while states cross."""

import asyncio
import base64
import re
import secrets
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from agent_pods import agent_identities, agent_metric, agent_on
from crossings import Crossings, Still, crosses
from eventfed import EID, DeviceState
from eventfed.resource import GROUP
from eventfed_lab import Cluster, ClusterPbx
from intruder_pods import Intruder
from kind_ground import CHECKOUT, Measure
from strangers import state

pytestmark = pytest.mark.asyncio(loop_scope="session")

FORGED = "Custom:forged"
STRANGER = EID.derive("stranger")
ROTATION_ENDS = 300.0


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def pbx(chart: Cluster) -> AsyncIterator[ClusterPbx]:
    namespace = f"voice-{secrets.token_hex(3)}"
    pbx = ClusterPbx(chart, CHECKOUT, namespace, replicas=3, spec={"departure": {"gracePeriod": 5}})
    try:
        yield await pbx.__aenter__()
    finally:
        await pbx.close()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def intruders(pbx: ClusterPbx) -> list[Intruder]:
    """One on each node."""
    intruders = [Intruder(pbx, node) for node in await pbx.cluster.workers()]
    async with asyncio.TaskGroup() as tasks:
        for intruder in intruders:
            tasks.create_task(intruder.start())
    return intruders


async def entries(pbx: ClusterPbx, name: str) -> dict[str, str]:
    """The entries of a Secret."""
    found = await pbx.cluster.get("secret", name, pbx.namespace)
    return {key: base64.b64decode(value).decode() for key, value in found["data"].items()}


async def token(pbx: ClusterPbx) -> str:
    return (await entries(pbx, "pbx-agent"))["token"]


async def shown(pbx: ClusterPbx, device: str) -> set[DeviceState]:
    return {await server.device_state(device) for server in pbx.pods}


async def test_a_pod_that_does_not_know_the_secret_puts_nothing_into_a_server_whichever_node_it_is_on(
    pbx: ClusterPbx, intruders: list[Intruder]
) -> None:
    target = pbx.pods[0]
    assert {intruder.node == target.node for intruder in intruders} == {True, False}
    body = state(FORGED, DeviceState.BUSY, STRANGER)
    for intruder in intruders:
        for secret in (None, "a-token-of-long-ago", (await token(pbx))[:-1]):
            assert await intruder.publishes(body, target.host, 5060, secret=secret) == "401"
        # A phone's endpoint without a password is taken for that phone, and may not publish either.
        assert await intruder.publishes(body, target.host, 5060, user="1001") == "403"
    assert await shown(pbx, FORGED) == {DeviceState.UNKNOWN}
    # So that the above can fail: with the secret it is taken in, and goes no further.
    assert await intruders[0].publishes(body, target.host, 5060, secret=await token(pbx)) == "200"
    await target.wait_device(FORGED, DeviceState.BUSY)
    await crosses(pbx)
    assert [await one.device_state(FORGED) for one in pbx.pods[1:]] == [DeviceState.UNKNOWN] * 2
    await intruders[0].publishes(
        state(FORGED, DeviceState.UNKNOWN, STRANGER), target.host, 5060, secret=await token(pbx)
    )


async def test_what_a_pod_that_is_no_member_tells_an_agent_reaches_nobody_and_is_counted(
    pbx: ClusterPbx, intruders: list[Intruder]
) -> None:
    service = (await pbx.cluster.get("service", "pbx-agent", pbx.namespace))["spec"]["clusterIP"]
    device = "Custom:forged-at-the-agent"
    for intruder in intruders:
        agent = await agent_on(pbx, intruder.node)
        before = await agent_metric(agent, "eventfed_unknown_sources_total")
        published = await agent_metric(agent, "eventfed_member_published_total")
        answers = [
            # Under an EID of nobody, and under that of a member.
            await intruder.publishes(state(device, DeviceState.BUSY, eid), service, 5066, secret=secret, within=0.5)
            for eid in (STRANGER, pbx.pods[0].eid)
            for secret in (None, await token(pbx))
        ]
        assert set(answers) <= {"403", "silence"}
        assert await agent_metric(agent, "eventfed_unknown_sources_total") == before + 4
        log = await pbx.cluster.kubectl("logs", agent["metadata"]["name"], "-n", pbx.namespace)
        (line,) = [one for one in log.splitlines() if "unknown_source" in one and intruder.address in one]
        assert "no member has this address" in line
        assert await agent_metric(agent, "eventfed_member_published_total") == published
    await crosses(pbx)
    assert await shown(pbx, device) == {DeviceState.UNKNOWN}


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_the_secret_is_changed_while_states_cross_and_a_server_restarts_and_nothing_is_lost(
    pbx: ClusterPbx, intruders: list[Intruder], measure: Measure
) -> None:
    before, old = await agent_identities(pbx), await token(pbx)
    *stay, restarted = pbx.names
    async with Still(pbx, on=stay) as still, Crossings(pbx, makers=stay, pause=0.5) as crossings:
        annotation: dict[str, Any] = {"metadata": {"annotations": {f"{GROUP}/rotate-token": secrets.token_hex(4)}}}
        began = time.monotonic()
        await pbx.cluster.patch("evfed", pbx.name, pbx.namespace, annotation)

        async def both() -> bool:
            found = await entries(pbx, "pbx-agent")
            return found["token"] != old and found.get("previous-token") == old

        measure("header secret: asked for a new one, until both Secrets have it", await within(pbx, both, 20) - began)
        new = await token(pbx)
        snippet = (await entries(pbx, "pbx-asterisk"))["pjsip_eventfed.conf"]
        assert re.findall(r"X-Eventfed-Token: (\S+)", snippet) == [new, old]

        async def ended() -> bool:
            return "previous-token" not in await entries(pbx, "pbx-agent")

        assert not await ended(), "a server restarts in the middle"
        await pbx[restarted].restart()
        at = await within(pbx, ended, ROTATION_ENDS)
        measure("header secret: asked for a new one, until the old one is gone from the Secrets", at - began)
        assert old not in (await entries(pbx, "pbx-asterisk"))["pjsip_eventfed.conf"]

        # The kubelet brings that to the servers, and they forget it.
        body = state(FORGED, DeviceState.BUSY, STRANGER)

        async def forgotten() -> bool:
            answers = {await intruders[0].publishes(body, pod.host, 5060, secret=old) for pod in pbx.pods}
            return answers == {"401"}

        at = await within(pbx, forgotten, 150)
        measure("header secret: asked for a new one, until no server takes the old one", at - began)
        longest = await crossings.all_arrive()
        measure("change made during a change of the header secret, the longest on its way", longest)
        assert still.blinks() == []
        await pbx.wait_ready()
    await crosses(pbx)
    assert await token(pbx) == new
    assert await agent_identities(pbx) == before
    for node in await pbx.cluster.workers():
        failures = await agent_metric(await agent_on(pbx, node), "eventfed_member_injections_given_up_total")
        assert failures == 0


async def within(pbx: ClusterPbx, condition: Any, seconds: float) -> float:
    return await pbx.cluster.until(condition.__name__, condition, within=seconds)
