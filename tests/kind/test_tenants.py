"""Several federations on one cluster and one NATS: nothing crosses from one to another."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from eventfed import DeviceState
from eventfed_lab import Cluster, ClusterPbx, MailboxCounts, federation, install_chart
from tests.ground.kind_ground import APART, CHART, CHECKOUT

pytestmark = pytest.mark.asyncio(loop_scope="session")

LAMP, MAILBOX = "Custom:lamp1", "1001@default"
STATES = (DeviceState.BUSY, DeviceState.INUSE, DeviceState.ONHOLD)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def tenants(chart: Cluster) -> AsyncIterator[list[ClusterPbx]]:
    """Two federations in one namespace, and one of the first's name in another."""
    here, there = (f"voice-{secrets.token_hex(3)}" for _ in range(2))
    spec = {"departure": {"gracePeriod": 5}}
    tenants = [
        ClusterPbx(chart, CHECKOUT, here, spec=spec),
        ClusterPbx(chart, CHECKOUT, here, name="other", app="trunk", spec=spec),
        ClusterPbx(chart, CHECKOUT, there, spec=spec),
    ]
    # First, because of two that make one namespace at the same time, one fails.
    await chart.apply(tenants[0].namespace_document(), tenants[2].namespace_document())
    try:
        async with asyncio.TaskGroup() as tasks:
            for tenant in tenants:
                tasks.create_task(tenant.start())
        yield tenants
    finally:
        async with asyncio.TaskGroup() as tasks:
            for tenant in tenants:
                tasks.create_task(tenant.close())


@pytest.mark.long
async def test_what_one_federation_says_reaches_no_other_though_names_and_mailboxes_are_the_same(
    tenants: list[ClusterPbx],
) -> None:
    assert {(one.namespace == tenants[0].namespace, one.name == tenants[0].name) for one in tenants} == {
        (True, True), (True, False), (False, True)
    }  # fmt: skip
    for tenant, state in zip(tenants, STATES, strict=True):
        await tenant.pods[0].set_device(LAMP, state)
        await tenant.pods[0].set_device(f"Custom:of-{state.name}", state)
    for number, tenant in enumerate(tenants, 1):
        await tenant.pods[0].leave_voicemail(MAILBOX, number, by="spool")
    for number, (tenant, state) in enumerate(zip(tenants, STATES, strict=True), 1):
        await tenant.wait_device(LAMP, state)
        await tenant.wait_mailbox(MAILBOX, MailboxCounts(number, 0))
    await asyncio.sleep(2)
    for number, (tenant, state) in enumerate(zip(tenants, STATES, strict=True), 1):
        for pod in tenant.pods:
            assert await pod.device_state(LAMP) is state
            assert await pod.mailbox_counts(MAILBOX) == MailboxCounts(number, 0)
            shown = await pod.ami.device_states()
            assert {name for name in shown if name.startswith("Custom:of-")} == {f"Custom:of-{state.name}"}


@pytest.mark.long
async def test_the_end_of_one_federation_is_no_others_business(tenants: list[ClusterPbx]) -> None:
    first, other, there = tenants
    for tenant, state in zip(tenants, STATES, strict=True):
        await tenant.pods[0].set_device(LAMP, state)
        await tenant.wait_device(LAMP, state)
    with other.pods[1].ami.events("DeviceStateChange") as events:
        await first.cluster.delete("evfed", first.name, first.namespace)
        await first.wait_device(LAMP, DeviceState.UNKNOWN, on=[first.names[1]])
        for tenant, state in ((other, STATES[1]), (there, STATES[2])):
            assert {await pod.device_state(LAMP) for pod in tenant.pods} == {state}
        assert [event for _, event in events.drain() if event["Device"] == LAMP] == []
    await other.pods[0].set_device(LAMP, DeviceState.RINGING)
    await other.wait_device(LAMP, DeviceState.RINGING)


def thief(namespace: str, name: str, of: str) -> Any:
    return federation(name, namespace, app="nobody", federation=of)


async def condition(cluster: Cluster, namespace: str, name: str, kind: str) -> Any:
    found = await cluster.get("evfed", name, namespace)
    conditions = (found.get("status") or {}).get("conditions") or ()
    return next((one for one in conditions if one["type"] == kind), {})


async def wait_reason(cluster: Cluster, namespace: str, name: str, reason: str, within: float = 30.0) -> Any:
    async def told() -> bool:
        return bool((await condition(cluster, namespace, name, "BusReachable")).get("reason") == reason)

    await cluster.until(f"{name}: {reason}", told, within=within)
    return await condition(cluster, namespace, name, "BusReachable")


async def test_the_federation_of_another_namespace_is_refused_on_the_charts_nats(chart: Cluster) -> None:
    namespace, stolen = f"voice-{secrets.token_hex(3)}", "voice-of-others_pbx"
    place = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
    await chart.apply(place, thief(namespace, "thief", stolen))
    try:
        found = await wait_reason(chart, namespace, "thief", "FederationNotAllowed")
        assert found["status"] == "False"
        assert f"Federation {stolen} is not of namespace {namespace}" in found["message"]
        assert f"{namespace}_" in found["message"]
        assert "allowFederations" in found["message"]
        assert (await condition(chart, namespace, "thief", "Ready"))["reason"] == "FederationNotAllowed"
        for kind in ("daemonset", "service", "secret", "networkpolicy", "serviceaccount"):
            assert await chart.get(kind, "thief-agent", namespace) is None
    finally:
        await chart.delete("evfed", "thief", namespace)
        await chart.delete("namespace", namespace)


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_allow_federations_lets_a_namespace_use_a_name_of_its_own_but_not_the_stream_of_another(
    tenants: list[ClusterPbx],
) -> None:
    *_, there = tenants
    cluster, namespace = there.cluster, tenants[0].namespace
    company, stolen = f"company{secrets.token_hex(2)}", f"{there.namespace}_{there.name}"
    await cluster.apply(thief(namespace, "company", company), thief(namespace, "thief", stolen))
    try:
        for name in ("company", "thief"):
            await wait_reason(cluster, namespace, name, "FederationNotAllowed")
        await install_chart(
            cluster, CHART, *APART, "--set-json", f'operator.allowFederations=["{company}", "{stolen}"]'
        )
        assert (await wait_reason(cluster, namespace, "company", "Connected", 90))["status"] == "True"
        found = await wait_reason(cluster, namespace, "thief", "StreamOwnedByAnother")
        assert f"{there.namespace}/{there.name}" in found["message"]
        await there.pods[0].set_device(LAMP, DeviceState.INUSE)
        await there.wait_device(LAMP, DeviceState.INUSE)
    finally:
        for name in ("company", "thief"):
            await cluster.delete("evfed", name, namespace)
        await install_chart(cluster, CHART, *APART)
    # Nor does the end of the one who wanted the stream take anything away.
    await there.pods[0].set_device(LAMP, DeviceState.RINGING)
    await there.wait_device(LAMP, DeviceState.RINGING)
    await there.wait_ready()
