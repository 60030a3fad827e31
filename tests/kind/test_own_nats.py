"""A NATS of the user's own, with TLS and a password: what is missing or refused is told, and heals when mended."""

import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from eventfed_lab import Cluster, ClusterPbx
from tests.ground.fixture_types import Measure
from tests.ground.kind_conditions import told_of
from tests.ground.kind_ground import CHECKOUT

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.long]

NAMESPACE = "voice-own-nats"
HOST = f"nats.{NAMESPACE}.svc"
LOOK = 30.0
"""``operator.resync`` of the chart: Secrets cannot be watched, so they are looked at this often, in seconds."""
CONFIGURATION = """
port: 4222
http: "0.0.0.0:8222"
jetstream {store_dir: "/data"}
tls {cert_file: "/etc/nats/tls.crt", key_file: "/etc/nats/tls.key"}
authorization {user: pbx, password: right}
"""
LOCKED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
IDENTITY = {"runAsNonRoot": True, "runAsUser": 10001, "fsGroup": 10001, "seccompProfile": {"type": "RuntimeDefault"}}


def certificates(folder: Path) -> dict[str, str]:
    """An authority, and what it issued for `HOST`: file name → PEM."""
    folder.mkdir()
    (folder / "names").write_text(f"subjectAltName=DNS:{HOST}\n")
    key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
    for command in (
        f"req -x509 {key} -keyout ca.key -out ca.crt -subj /CN=authority -days 2",
        f"req {key} -keyout tls.key -out tls.csr -subj /CN={HOST}",
        "x509 -req -in tls.csr -CA ca.crt -CAkey ca.key -CAcreateserial -extfile names -days 2 -out tls.crt",
    ):
        subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)
    return {name: (folder / name).read_text() for name in ("ca.crt", "tls.crt", "tls.key")}


def secret(name: str, **data: str) -> dict[str, Any]:
    place = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": place, "stringData": data}


def server(image: str) -> list[dict[str, Any]]:
    """A nats-server as its user might run it: the chart is not asked."""
    place, labels = {"name": "nats", "namespace": NAMESPACE}, {"app": "nats"}
    container = {
        "name": "nats",
        "image": image,
        "command": ["nats-server", "--config", "/etc/nats/nats.conf"],
        "ports": [{"containerPort": 4222}],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8222}, "periodSeconds": 1},
        "securityContext": LOCKED,
        "volumeMounts": [{"name": "files", "mountPath": "/etc/nats"}, {"name": "data", "mountPath": "/data"}],
    }
    volumes = [{"name": "files", "secret": {"secretName": "nats-server"}}, {"name": "data", "emptyDir": {}}]
    pod = {"securityContext": IDENTITY, "containers": [container], "volumes": volumes}
    template = {"metadata": {"labels": labels}, "spec": {"automountServiceAccountToken": False, **pod}}
    spec = {"selector": {"matchLabels": labels}, "template": template}
    return [
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": place, "spec": spec},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": place,
            "spec": {"selector": labels, "ports": [{"port": 4222}]},
        },
    ]


@pytest_asyncio.fixture(loop_scope="session")
async def pbx(chart: Cluster) -> AsyncIterator[ClusterPbx]:
    """The namespace of an EventFederation that names a NATS and Secrets of which there are none yet."""
    access = {
        "servers": [f"tls://{HOST}:4222"],
        "credentials": {"user": "pbx", "password": {"name": "nats-login", "key": "password"}},
        "tls": {"authorities": {"name": "nats-ca", "key": "ca.crt"}},
    }
    pbx = ClusterPbx(chart, CHECKOUT, NAMESPACE, replicas=1, spec={"nats": access})
    try:
        await chart.apply(pbx.namespace_document())
        yield pbx
    finally:
        await pbx.close()


@pytest.mark.timeout(400)
async def test_secrets_that_are_missing_wrong_or_refused_are_told_and_looked_at_again(
    pbx: ClusterPbx, tmp_path: Path, measure: Measure
) -> None:
    cluster = pbx.cluster
    files, others = certificates(tmp_path / "own"), certificates(tmp_path / "other")
    (operator,) = await cluster.list("deployments", "eventfed", "app.kubernetes.io/instance=eventfed")
    image = operator["spec"]["template"]["spec"]["containers"][0]["image"]
    await cluster.apply(secret("nats-server", **{"nats.conf": CONFIGURATION, **files}), *server(image))
    await cluster.apply(pbx.federation_document(), *pbx.asterisk_documents())
    await pbx.attach()
    found = await pbx.wait_condition("SecretMissing", "BusReachable", status="False")
    assert found["message"] == "Missing: Secret nats-login, Secret nats-ca"
    ready = await pbx.condition()
    assert (ready["status"], ready["message"]) == ("False", found["message"])
    await cluster.kubectl("rollout", "status", "deployment/nats", "-n", NAMESPACE, "--timeout=60s")

    await cluster.apply(secret("nats-ca", **{"ca.crt": others["ca.crt"]}), secret("nats-login", password="wrong"))
    found = await pbx.wait_condition("BusUnreachable", "BusReachable", status="False", within=LOOK + 15)
    assert "TLS with NATS failed" in found["message"]

    await cluster.apply(secret("nats-ca", **{"ca.crt": files["ca.crt"]}))
    found = await pbx.wait_condition("CredentialsRefused", "BusReachable", status="False", within=LOOK + 15)
    assert "spec.nats.credentials" in found["message"]

    began = time.monotonic()
    await cluster.apply(secret("nats-login", password="right"))
    ended = await pbx.wait_ready()
    measure("the right password for a NATS of one's own put into its Secret, until ready", ended - began)
    told = [one for one in await told_of(pbx) if one.type == "Warning"]
    # Their times are whole seconds, so their order tells nothing.
    assert sorted(one.reason for one in told) == ["BusUnreachable", "CredentialsRefused", "SecretMissing"]
