"""All pods run with the least rights, and no secret stands where more than its owner can read it."""

import base64
import json
import secrets
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import pytest_asyncio

from eventfed.resource import GROUP
from eventfed_lab import Cluster, ClusterPbx, LabError
from kind_ground import CHECKOUT

pytestmark = pytest.mark.asyncio(loop_scope="session")

ENFORCE = "pod-security.kubernetes.io/enforce"
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
EVENTFED = "eventfed"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def pbx(chart: Cluster) -> AsyncIterator[ClusterPbx]:
    namespace = f"voice-{secrets.token_hex(3)}"
    pbx = ClusterPbx(chart, CHECKOUT, namespace, spec={"departure": {"gracePeriod": 5}})
    try:
        yield await pbx.__aenter__()
    finally:
        await pbx.close()


async def pods(pbx: ClusterPbx) -> Sequence[Any]:
    """Those of the chart and of the federation."""
    some = [pod for namespace in (EVENTFED, pbx.namespace) for pod in await pbx.cluster.list("pods", namespace)]
    running = [pod for pod in some if pod["status"]["phase"] == "Running"]
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
            text = await inside(pbx, pod, container, "cat /proc/1/status; grep ' / ' /proc/1/mounts | tail -n 1")
            *lines, root = text.splitlines()
            status = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
            for identity in ("Uid", "Gid"):
                assert "0" not in status[identity], where
            for capabilities in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
                assert int(status[capabilities][0], 16) == 0, f"{where}: {capabilities}"
            assert (status["NoNewPrivs"], status["Seccomp"]) == (["1"], ["2"]), where
            assert root.split()[3].split(",")[0] == "ro", f"{where}: {root}"
            looked_at += 1
    # Operator twice, NATS, an agent on each node, two servers with their sidecars.
    assert looked_at == 2 + 1 + 2 + 2 * 2


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
            text = await inside(pbx, pod, container, "tr '\\0' '\\n' </proc/1/environ; tr '\\0' ' ' </proc/1/cmdline")
            found = [name for name, value in values.items() if value in text]
            # NATS alone reads its passwords from the environment, which the kubelet fills from the Secret.
            own = {value for name, value in values.items() if name.startswith("eventfed-nats/") and container == "nats"}
            assert [name for name in found if values[name] not in own] == []
