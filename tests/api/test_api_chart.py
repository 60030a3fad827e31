"""What Helm makes of the chart, for seven sets of values: fit for Kubernetes' schemas, and for a real API server."""

import json
import re
from collections.abc import Mapping
from typing import Any

import kubernetes_validate
import pytest
import yaml

from eventfed_lab import ControlPlane
from tests.ground.cluster_api import Api, Refused, eventually, federation
from tests.ground.federations import owned, rounds
from tests.ground.installation import CHART, helm, render

MONITORING = {"PodMonitor", "PrometheusRule"}
RESTRICTED = {
    "pod-security.kubernetes.io/enforce": "restricted",
    "pod-security.kubernetes.io/enforce-version": "latest",
}
PLACED = {
    "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": 1, "memory": "1Gi"}},
    "nodeSelector": {"pool": "voice"},
    "tolerations": [{"key": "voice", "operator": "Exists", "effect": "NoSchedule"}],
    "priorityClassName": "system-cluster-critical",
}
VALUES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "three NATS servers": {"nats": {"replicas": 3, "storage": {"className": "fast", "size": "10Gi"}}},
    "no NATS": {"nats": {"enabled": False}},
    "some namespaces": {"operator": {"namespaces": ["voice-a", "voice-b"], "replicas": 1}, "crd": {"install": False}},
    "all of it": {
        "operator": {"replicas": 3, "allowFederations": ["everybody", "pbx"], "logLevel": "debug"},
        "nats": {"replicas": 3},
        "monitoring": {
            "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
            "rules": {"enabled": True, "labels": {"release": "prometheus"}},
            "dashboard": {"enabled": True},
        },
        "networkPolicies": {"metricsFrom": [{"podSelector": {"matchLabels": {"app": "prometheus"}}}]},
    },
    "placed, from a private registry": {
        "image": {"repository": "registry.example/telephony/eventfed", "tag": "1.2", "pullSecrets": ["pull"]},
        "operator": PLACED,
        "nats": {**PLACED, "existingSecret": "mine", "image": "registry.example/nats:2"},
    },
    "for OpenShift": {"openshift": True},
}


@pytest.fixture(params=VALUES)
def objects(request: pytest.FixtureRequest, plane: ControlPlane) -> list[dict[str, Any]]:
    """All objects of the chart, for each set of values."""
    return render(plane, VALUES[request.param])


def test_helm_lint_has_nothing_to_say(plane: ControlPlane) -> None:
    for values in VALUES.values():
        told = helm(
            plane, "lint", "--strict", "--kube-version", "1.34.0", CHART, "--values", "-", text=json.dumps(values)
        )
        assert "[ERROR]" not in told.stdout
        assert "[WARNING]" not in told.stdout


def test_every_object_fits_its_schema(objects: list[dict[str, Any]]) -> None:
    assert len(objects) > 8
    for one in objects:
        if one["kind"] in MONITORING:
            check_monitoring(one)
        elif one["kind"] != "CustomResourceDefinition":
            kubernetes_validate.validate(one, "1.34", strict=True)
    names = [(one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]) for one in objects]
    assert len(set(names)) == len(names)


def check_monitoring(manifest: Mapping[str, Any]) -> None:
    """The shape that the Prometheus operator documents (monitoring.coreos.com/v1)."""
    assert manifest["apiVersion"] == "monitoring.coreos.com/v1"
    assert manifest["metadata"]["labels"]["release"] == "prometheus"
    spec = manifest["spec"]
    if manifest["kind"] == "PodMonitor":
        assert spec.keys() <= {"selector", "namespaceSelector", "podMetricsEndpoints", "podTargetLabels"}
        assert spec["selector"]["matchLabels"]
        for endpoint in spec["podMetricsEndpoints"]:
            assert endpoint.keys() == {"port", "path", "interval"}
            assert re.fullmatch(r"[0-9]+(s|m)", endpoint["interval"])
        return
    for group in spec["groups"]:
        assert group.keys() <= {"name", "interval", "rules"}
        for rule in group["rules"]:
            assert {"alert", "expr"} <= rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
            assert all(isinstance(text, str) for text in (*rule["labels"].values(), *rule["annotations"].values()))


def test_the_api_server_takes_every_object(plane: ControlPlane, api: Api, objects: list[dict[str, Any]]) -> None:
    for name in ("eventfed", "voice-a", "voice-b"):
        api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    some = [one for one in objects if one["kind"] not in MONITORING]
    command = ("apply", "--dry-run=server", "--server-side", "--force-conflicts", "-f", "-")
    told = plane.kubectl(*command, text=yaml.safe_dump_all(some))
    assert len(told.stdout.splitlines()) == len(some)
    assert "Warning" not in told.stderr


def pods(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The pod that each object would make, as a pod alone."""
    found: dict[str, dict[str, Any]] = {}
    for one in objects:
        if one["kind"] in ("Pod", "Deployment", "StatefulSet"):
            spec = one["spec"] if one["kind"] == "Pod" else one["spec"]["template"]["spec"]
            found[one["metadata"]["name"]] = spec
    return found


def test_a_namespace_that_enforces_restricted_takes_every_pod(
    api: Api, make_namespace: Any, objects: list[dict[str, Any]]
) -> None:
    namespace = make_namespace(**RESTRICTED)
    path = f"/api/v1/namespaces/{namespace}/pods?dryRun=All"
    tried = pods(objects)
    assert tried
    for name, spec in tried.items():
        spec = json.loads(json.dumps(spec))
        # Objects that a bare pod would need first.
        spec.pop("serviceAccountName", None)
        claims = {mount["name"] for one in spec["containers"] for mount in one.get("volumeMounts", ())}
        present = {one["name"] for one in spec.get("volumes", ())}
        spec["volumes"] = [*spec.get("volumes", ()), *({"name": one, "emptyDir": {}} for one in claims - present)]
        metadata = {"name": name, "namespace": namespace}
        made = api.ask("POST", path, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
        assert made["metadata"]["name"] == name


def test_such_a_namespace_refuses_a_pod_that_is_not_fit(plane: ControlPlane, api: Api, make_namespace: Any) -> None:
    namespace = make_namespace(**RESTRICTED)
    spec = pods(render(plane))["eventfed-test"]
    spec["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    metadata = {"name": "test", "namespace": namespace}
    with pytest.raises(Refused, match="violates PodSecurity"):
        api.ask(
            "POST",
            f"/api/v1/namespaces/{namespace}/pods?dryRun=All",
            {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec},
        )


def test_agents_are_fit_for_such_a_namespace(api: Api, operator: Any, make_namespace: Any) -> None:
    namespace = make_namespace(**RESTRICTED)
    api.create(federation(namespace))
    daemon_set = eventually(lambda: owned(api, namespace))["DaemonSet", "pbx-agent"]
    spec = daemon_set["spec"]["template"]["spec"]
    metadata = {"name": "agent", "namespace": namespace}
    path = f"/api/v1/namespaces/{namespace}/pods?dryRun=All"
    made = api.ask("POST", path, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    assert made["spec"]["serviceAccountName"] == "pbx-agent"


TEMPLATE: dict[str, Any] = {
    "labels": {"team": "voice"},
    "annotations": {"example.net/mesh": "off"},
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [{"key": "edge", "operator": "DoesNotExist"}]}]
            }
        }
    },
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    "env": [
        {"name": "TZ", "value": "Europe/Vienna"},
        {"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1024Ki"}}},
    ],
    "volumes": [
        {"name": "ca", "configMap": {"name": "authorities", "optional": True}},
        {"name": "scratch", "emptyDir": {"sizeLimit": "1024Mi"}},
    ],
    "volumeMounts": [{"name": "ca", "mountPath": "/etc/own", "readOnly": True}],
}


def test_a_pod_template_reaches_the_agents_once_and_no_user_is_named(
    api: Api, operator: Any, make_namespace: Any
) -> None:
    """What the API server writes in another way, as amounts, is not taken for a change."""
    namespace = make_namespace(**RESTRICTED)
    api.create(federation(namespace, agent={"podTemplate": TEMPLATE}))
    daemon_set = eventually(lambda: owned(api, namespace))["DaemonSet", "pbx-agent"]
    template = daemon_set["spec"]["template"]
    assert template["metadata"]["labels"].items() >= TEMPLATE["labels"].items()
    assert template["metadata"]["annotations"].items() >= TEMPLATE["annotations"].items()
    pod = template["spec"]
    assert pod["securityContext"] == TEMPLATE["securityContext"]
    assert pod["affinity"] == TEMPLATE["affinity"]
    assert {"scratch", "ca"} <= {one["name"] for one in pod["volumes"]}
    assert {"TZ", "MEMORY"} <= {one["name"] for one in pod["containers"][0]["env"]}
    metadata = {"name": "agent", "namespace": namespace}
    path = f"/api/v1/namespaces/{namespace}/pods?dryRun=All"
    api.ask("POST", path, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod})
    before = operator.actions().get("Apply", 0)
    rounds(operator, 3)
    assert operator.actions().get("Apply", 0) == before
    assert (
        api.get("DaemonSet", namespace, "pbx-agent")["metadata"]["generation"] == (daemon_set["metadata"]["generation"])
    )


def test_the_api_server_refuses_a_volume_of_the_node(api: Api, make_namespace: Any) -> None:
    namespace = make_namespace()
    volume = {"name": "root", "hostPath": {"path": "/"}}
    with pytest.raises(Refused, match="volumes: write one of configMap, secret"):
        api.create(federation(namespace, agent={"podTemplate": {"volumes": [volume]}}))


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "unknown value": ({"operater": {}}, "operater"),
    "passwords": ({"nats": {"passwords": {"operator": "x"}}}, "passwords"),
    "replicas of the operator": ({"operator": {"replicas": -1}}, "replicas"),
    "namespaces as text": ({"operator": {"namespaces": "voice"}}, "namespaces"),
    "federation with a dot": ({"operator": {"allowFederations": ["a.b"]}}, "allowFederations"),
    "resync of nothing": ({"operator": {"resync": 0}}, "resync"),
    "withdrawal as text": ({"operator": {"withdrawal": "30s"}}, "withdrawal"),
    "log level": ({"operator": {"logLevel": "loud"}}, "logLevel"),
    "two NATS servers": ({"nats": {"replicas": 2}}, "replicas"),
    "size": ({"nats": {"storage": {"size": "much"}}}, "size"),
    "JetStream's size": ({"nats": {"storage": {"maxFile": "1Gi"}}}, "maxFile"),
    "pull policy": ({"image": {"pullPolicy": "Sometimes"}}, "pullPolicy"),
    "no image": ({"image": {"repository": ""}}, "repository"),
    "nobody may read metrics": ({"networkPolicies": {"metricsFrom": []}}, "metricsFrom"),
    "interval": ({"monitoring": {"podMonitor": {"interval": "30"}}}, "interval"),
    "placement": ({"nats": {"nodeSelector": {"pool": 5}}}, "nodeSelector"),
}


@pytest.mark.parametrize("case", WRONG)
def test_helm_refuses_wrong_values_and_names_them(plane: ControlPlane, case: str) -> None:
    values, name = WRONG[case]
    command = ("template", "eventfed", CHART, "--kube-version", "1.34.0", "--values", "-")
    told = helm(plane, *command, text=json.dumps(values), check=False)
    assert told.returncode == 1
    assert "values don't meet the specifications of the schema" in told.stderr
    assert name in told.stderr


def test_the_operators_environment_follows_the_values(plane: ControlPlane) -> None:
    def environment(values: Mapping[str, Any]) -> dict[str, str]:
        (deployment,) = [one for one in render(plane, values) if one["kind"] == "Deployment"]
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        return {one["name"]: one.get("value", "") for one in container["env"]}

    most = environment(VALUES["all of it"])
    assert most["EVENTFED_ALLOW_FEDERATIONS"] == "everybody,pbx"
    assert json.loads(most["EVENTFED_METRICS_FROM"]) == VALUES["all of it"]["networkPolicies"]["metricsFrom"]
    assert most["EVENTFED_NATS_SERVERS"] == "nats://eventfed-nats.eventfed.svc:4222"
    assert environment(VALUES["some namespaces"])["EVENTFED_WATCH_NAMESPACES"] == "voice-a,voice-b"
    assert not any(name.startswith("EVENTFED_NATS") for name in environment(VALUES["no NATS"]))
    private = environment(VALUES["placed, from a private registry"])
    assert private["EVENTFED_IMAGE"] == "registry.example/telephony/eventfed:1.2"
