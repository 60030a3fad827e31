"""Secrets and rights: without the header secret nothing is taken in, and none stands where others can read it."""

import asyncio
import base64
import json
import re
import secrets
import time
from collections.abc import Sequence
from typing import Any

import pytest
import pytest_asyncio

from eventfed import EID, DeviceState
from eventfed_lab import ClusterPbx, LabError
from eventfed_operator.crd.resource import GROUP
from tests.ground.agent_pods import agent_identities, agent_metric, agent_on
from tests.ground.crossings import Crossings, Still, crosses
from tests.ground.fixture_types import Measure
from tests.ground.intruder_pods import Intruder
from tests.ground.strangers import state

pytestmark = pytest.mark.asyncio(loop_scope="session")

FORGED = "Custom:forged"
STRANGER = EID.derive("stranger")
ROTATION_ENDS = 300.0

ENFORCE = "pod-security.kubernetes.io/enforce"
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
EVENTFED = "eventfed"


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


async def pods(pbx: ClusterPbx) -> Sequence[Any]:
    """Those of the chart and of the federation."""
    some = [pod for namespace in (EVENTFED, pbx.namespace) for pod in await pbx.cluster.list("pods", namespace)]
    running = [
        pod
        for pod in some
        if pod["status"]["phase"] == "Running" and pod["metadata"]["labels"].get("app") != "intruder"
    ]
    names = {pod["metadata"]["name"].rpartition("-")[0] for pod in running}
    assert {"eventfed-nats", "pbx-agent", "asterisk"} <= names
    assert any(name.startswith("eventfed-operator") for name in names)
    return running


def containers(pod: Any) -> list[str]:
    spec = pod["spec"]
    sidecars = [one for one in spec.get("initContainers", ()) if one.get("restartPolicy") == "Always"]
    return [one["name"] for one in (*spec["containers"], *sidecars)]


async def inside(pbx: ClusterPbx, pod: Any, container: str, script: str) -> str:
    metadata = pod["metadata"]
    place = ("-n", metadata["namespace"], "-c", container)
    return await pbx.cluster.kubectl("exec", metadata["name"], *place, "--", "sh", "-c", script)


async def contents(pbx: ClusterPbx, pod: Any, container: str, path: str) -> str:
    """A file of a container; eventfed's image has no more programs than it needs."""
    python = f"import sys; sys.stdout.buffer.write(open('{path}', 'rb').read())"
    script = f'if command -v cat >/dev/null; then cat {path}; else python3 -c "{python}"; fi'
    return await inside(pbx, pod, container, script)


async def test_namespaces_enforce_pod_security_restricted_and_no_pod_is_exempt(pbx: ClusterPbx) -> None:
    for name in (EVENTFED, pbx.namespace):
        namespace = await pbx.cluster.get("namespace", name)
        assert namespace["metadata"]["labels"][ENFORCE] == "restricted"
    # What is enforced is: a pod that asks for more is refused there.
    bad = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "bad", "namespace": pbx.namespace},
        "spec": {"containers": [{"name": "bad", "image": "eventfed:0.1.0", "securityContext": {"privileged": True}}]},
    }
    with pytest.raises(LabError, match="violates PodSecurity"):
        await pbx.cluster.kubectl("apply", "--dry-run=server", "-f", "-", stdin=json.dumps(bad))
    for pod in await pods(pbx):
        # Taken as they are: neither a static pod nor one that was there before the label.
        assert pod["metadata"].get("ownerReferences"), pod["metadata"]["name"]
        spec = {key: value for key, value in pod["spec"].items() if key != "nodeName"}
        metadata = {"name": f"again-{secrets.token_hex(3)}", "namespace": pod["metadata"]["namespace"]}
        again = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
        await pbx.cluster.kubectl("apply", "--dry-run=server", "-f", "-", stdin=json.dumps(again))


async def test_every_container_runs_as_a_user_of_its_own_without_capabilities_on_a_read_only_root(
    pbx: ClusterPbx,
) -> None:
    looked_at = 0
    for pod in await pods(pbx):
        for container in containers(pod):
            where = f"{pod['metadata']['name']}/{container}"
            lines = (await contents(pbx, pod, container, "/proc/1/status")).splitlines()
            mounts = (await contents(pbx, pod, container, "/proc/1/mounts")).splitlines()
            root = [line for line in mounts if line.split()[1] == "/"][-1]
            status = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
            for identity in ("Uid", "Gid"):
                assert "0" not in status[identity], where
            for capabilities in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
                assert int(status[capabilities][0], 16) == 0, f"{where}: {capabilities}"
            assert (status["NoNewPrivs"], status["Seccomp"]) == (["1"], ["2"]), where
            assert root.split()[3].split(",")[0] == "ro", f"{where}: {root}"
            looked_at += 1
    # Operator twice, NATS, an agent on each node, three servers with their sidecars.
    assert looked_at == 2 + 1 + 2 + 3 * 2


async def test_only_the_operator_has_a_service_account_token(pbx: ClusterPbx) -> None:
    with_token = set()
    for pod in await pods(pbx):
        for container in containers(pod):
            if (await inside(pbx, pod, container, f"test ! -e {ACCOUNT}/token || echo token")).strip():
                with_token.add(container)
    assert with_token == {"operator"}


async def secret_values(pbx: ClusterPbx) -> dict[str, str]:
    """What nobody but the owners may read, by where it stands."""
    values = {}
    for namespace, name in (
        (EVENTFED, "eventfed-nats"),
        (pbx.namespace, "pbx-agent"),
        (pbx.namespace, "asterisk-manager"),
    ):
        for key, value in (await pbx.cluster.get("secret", name, namespace))["data"].items():
            text = base64.b64decode(value).decode()
            if name == "asterisk-manager":
                text = next(line for line in text.splitlines() if line.startswith("secret")).partition("=")[2].strip()
            if key != "agent.toml":
                values[f"{name}/{key}"] = text
    return values


async def test_no_secret_stands_in_a_log_a_pod_a_configmap_an_event_or_the_status(pbx: ClusterPbx) -> None:
    values = await secret_values(pbx)
    # With a rotation, so that the agents have had something to say of secrets, and there is one more.
    annotation = {"metadata": {"annotations": {f"{GROUP}/rotate-token": secrets.token_hex(4)}}}
    await pbx.cluster.patch("evfed", pbx.name, pbx.namespace, annotation)

    async def rotated() -> bool:
        return "pbx-agent/previous-token" in await secret_values(pbx)

    await pbx.cluster.until("another header secret", rotated, within=20)
    values |= {f"new {name}": value for name, value in (await secret_values(pbx)).items()}
    assert {"eventfed-nats/operator", "eventfed-nats/agent", "pbx-agent/token", "new pbx-agent/token"} <= values.keys()
    assert all(len(value) >= 16 for value in values.values())
    texts: dict[str, str] = {}
    for kind in ("pods", "configmaps", "events", "evfed", "daemonsets", "deployments", "statefulsets", "services"):
        texts[kind] = await pbx.cluster.kubectl("get", kind, "--all-namespaces", "-o", "json")
    some = await pods(pbx)
    for pod in some:
        metadata = pod["metadata"]
        place = ("-n", metadata["namespace"], "--all-containers")
        texts[f"log of {metadata['name']}"] = await pbx.cluster.kubectl("logs", metadata["name"], *place)
    agents = [pod for pod in some if pod["metadata"]["name"].startswith("pbx-agent")]
    assert all(texts[f"log of {pod['metadata']['name']}"] for pod in agents)
    found = []
    for where, text in texts.items():
        for name, value in values.items():
            if value in text or base64.b64encode(value.encode()).decode() in text:
                found.append(f"{name} in {where}")
    assert found == []


async def test_no_secret_stands_in_the_environment_or_the_arguments_of_agents_and_operator(pbx: ClusterPbx) -> None:
    values = await secret_values(pbx)
    for pod in await pods(pbx):
        for container in containers(pod):
            text = await contents(pbx, pod, container, "/proc/1/environ")
            text += await contents(pbx, pod, container, "/proc/1/cmdline")
            found = [name for name, value in values.items() if value in text]
            # NATS alone reads its passwords from the environment, which the kubelet fills from the Secret.
            own = {value for name, value in values.items() if name.startswith("eventfed-nats/") and container == "nats"}
            assert [name for name in found if values[name] not in own] == []
