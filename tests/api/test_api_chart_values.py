"""Every value of the chart changes what Helm makes of it, where it should and nowhere else."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import kubernetes_validate
import pytest
import yaml

from eventfed_lab import ControlPlane
from tests.ground.installation import CHART, helm, render

VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())

OPERATOR, NATS, TEST = "Deployment/eventfed-operator", "StatefulSet/eventfed-nats", "Pod/eventfed-test"
PODS = {OPERATOR, NATS, TEST}
BUDGET = "PodDisruptionBudget/eventfed-nats"
POLICIES = {"NetworkPolicy/eventfed-operator", "NetworkPolicy/eventfed-nats"}
MONITORS = {"PodMonitor/eventfed-agents", "PodMonitor/eventfed-operator"}
RULES, DASHBOARD = "PrometheusRule/eventfed", "ConfigMap/eventfed-dashboard"
CLUSTER_ROLE = {"ClusterRole/eventfed-operator-eventfed", "ClusterRoleBinding/eventfed-operator-eventfed"}
ALL = {"everything"}
"""Each object but the definition, which is one file for all."""
SAME = {"nats": {"existingSecret": "given"}}
"""No passwords are made: they would be others each time."""


@dataclass(frozen=True)
class Use:
    """What a value is for.

    Args:
        value: another one than the default.
        where: objects that change, come or go.
        shows: text that stands in what Helm made, and did not before; empty where something goes.
        beside: values that it needs to count.
    """

    value: Any
    where: set[str]
    shows: str
    beside: Mapping[str, Any] = field(default_factory=dict)


def on(part: str) -> dict[str, Any]:
    return {"monitoring": {part: {"enabled": True}}}


TAINT = [{"key": "voice", "operator": "Exists"}]
AFFINITY: dict[str, Any] = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}}
SPREAD = [{"maxSkew": 2, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]
VARIABLE = [{"name": "TZ", "value": "Europe/Vienna"}]
VOLUME = [{"name": "ca", "configMap": {"name": "authorities"}}]
MOUNT = [{"name": "ca", "mountPath": "/etc/own"}]
MONITORING = [{"podSelector": {"matchLabels": {"app": "prometheus"}}}]
DIGEST = f"sha256:{'0' * 64}"


def of_a_pod(part: str, workload: str) -> dict[str, Use]:
    """Values that operator and NATS both have."""
    here = {workload}
    return {
        f"{part}.resources.requests": Use({"cpu": "77m", "memory": "1Mi"}, here, '"cpu": "77m"'),
        f"{part}.resources.limits": Use({"memory": "777Mi"}, here, '"memory": "777Mi"'),
        f"{part}.nodeSelector": Use({"pool": "voice"}, here, '"nodeSelector": {"pool": "voice"}'),
        f"{part}.tolerations": Use(TAINT, here, f'"tolerations": {json.dumps(TAINT)}'),
        f"{part}.affinity": Use(AFFINITY, here, f'"affinity": {json.dumps(AFFINITY)}'),
        f"{part}.topologySpreadConstraints": Use(SPREAD, here, f'"topologySpreadConstraints": {json.dumps(SPREAD)}'),
        f"{part}.priorityClassName": Use("high", here, '"priorityClassName": "high"'),
        f"{part}.podLabels": Use({"team": "voice"}, here, '"team": "voice"'),
        f"{part}.podAnnotations": Use({"example.net/mesh": "off"}, here, '"example.net/mesh": "off"'),
        f"{part}.extraEnv": Use(VARIABLE, here, json.dumps(VARIABLE[0])),
        f"{part}.extraVolumes": Use(VOLUME, here, json.dumps(VOLUME[0], sort_keys=True)),
        f"{part}.extraVolumeMounts": Use(MOUNT, here, json.dumps(MOUNT[0], sort_keys=True)),
    }


def of_agents(name: str, value: Any) -> Use:
    """What the operator is told of agents' pods; it stands there as JSON in JSON."""
    return Use(value, {OPERATOR}, json.dumps(json.dumps({name: value}, separators=(",", ":"))[1:-1])[1:-1])


USES: dict[str, Use] = {
    "nameOverride": Use("bell", ALL, "eventfed-bell-operator"),
    "fullnameOverride": Use("bell", ALL, "bell-operator"),
    "commonLabels": Use({"team": "voice"}, ALL, '"team": "voice"'),
    "commonAnnotations": Use({"example.net/owner": "voice"}, ALL, '"example.net/owner": "voice"'),
    "image.registry": Use("registry.example:5000", PODS, '"image": "registry.example:5000/eventfed:0.1.0"'),
    "image.repository": Use("mirror/eventfed", PODS, '"image": "mirror/eventfed:0.1.0"'),
    "image.tag": Use("1.2", PODS, '"image": "eventfed:1.2"'),
    "image.digest": Use(DIGEST, PODS, f'"image": "eventfed@{DIGEST}"'),
    "image.pullPolicy": Use("Always", PODS, '"imagePullPolicy": "Always"'),
    "image.pullSecrets": Use(["pull"], PODS, '"imagePullSecrets": [{"name": "pull"}]'),
    "openshift": Use(True, PODS, ""),
    "podSecurityContext.runAsNonRoot": Use(None, PODS, ""),
    "podSecurityContext.runAsUser": Use(77, PODS, '"runAsUser": 77'),
    "podSecurityContext.runAsGroup": Use(77, PODS, '"runAsGroup": 77'),
    "podSecurityContext.fsGroup": Use(77, PODS, '"fsGroup": 77'),
    "podSecurityContext.seccompProfile": Use(
        {"type": "Localhost", "localhostProfile": "own"}, PODS, '"localhostProfile": "own"'
    ),
    "containerSecurityContext.allowPrivilegeEscalation": Use(None, PODS, ""),
    "containerSecurityContext.readOnlyRootFilesystem": Use(False, PODS, '"readOnlyRootFilesystem": false'),
    "containerSecurityContext.capabilities": Use(
        {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}, PODS, '"add": ["NET_BIND_SERVICE"]'
    ),
    "crd.install": Use(False, {"CustomResourceDefinition/eventfederations.eventfed.io"}, ""),
    "rbac.aggregate": Use(False, {"ClusterRole/eventfed-view-eventfed", "ClusterRole/eventfed-edit-eventfed"}, ""),
    "operator.replicas": Use(3, {OPERATOR}, '"replicas": 3'),
    "operator.namespaces": Use(
        ["voice"],
        {OPERATOR, "Role/eventfed-operator", "RoleBinding/eventfed-operator", *CLUSTER_ROLE},
        '"value": "voice"',
    ),
    "operator.allowFederations": Use(["company"], {OPERATOR}, '"value": "company"'),
    "operator.resync": Use(77, {OPERATOR}, '"value": "77"'),
    "operator.withdrawal": Use(77, {OPERATOR}, '"value": "77"'),
    "operator.logLevel": Use("debug", {OPERATOR}, '"value": "debug"'),
    **of_a_pod("operator", OPERATOR),
    "agents.labels": of_agents("labels", {"team": "voice"}),
    "agents.annotations": of_agents("annotations", {"example.net/mesh": "off"}),
    "agents.affinity": of_agents("affinity", AFFINITY),
    "agents.env": of_agents("env", VARIABLE),
    "agents.volumes": of_agents("volumes", [dict(sorted(VOLUME[0].items()))]),
    "agents.volumeMounts": of_agents("volumeMounts", [dict(sorted(MOUNT[0].items()))]),
    "nats.enabled": Use(
        False,
        {
            *(OPERATOR, NATS, TEST, "ConfigMap/eventfed-nats", "NetworkPolicy/eventfed-nats"),
            *("Service/eventfed-nats", "Service/eventfed-nats-servers", "ServiceAccount/eventfed-nats"),
        },
        "",
    ),
    "nats.replicas": Use(3, {NATS, BUDGET}, '"/etc/nats/nats-cluster.conf"'),
    "nats.image": Use("registry.example/nats:2", {NATS}, '"image": "registry.example/nats:2"'),
    "nats.storage.size": Use("7Gi", {NATS}, '"storage": "7Gi"'),
    "nats.storage.className": Use("fast", {NATS}, '"storageClassName": "fast"'),
    "nats.storage.maxFile": Use("7GB", {NATS}, '"value": "7GB"'),
    "nats.storage.maxMemory": Use("7GB", {NATS}, '"value": "7GB"'),
    "nats.existingSecret": Use("mine", {OPERATOR, NATS}, '"secretName": "mine"'),
    **of_a_pod("nats", NATS),
    "nats.extraContainers": Use([{"name": "exporter", "image": "own:1"}], {NATS}, '"image": "own:1"'),
    "networkPolicies.enabled": Use(False, POLICIES, ""),
    "networkPolicies.metricsFrom": Use(
        MONITORING, {OPERATOR, "NetworkPolicy/eventfed-operator"}, '"app": "prometheus"'
    ),
    "networkPolicies.natsMonitoringFrom": Use(MONITORING, {"NetworkPolicy/eventfed-nats"}, '"port": 8222'),
    "monitoring.podMonitor.enabled": Use(True, MONITORS, '"kind": "PodMonitor"'),
    "monitoring.podMonitor.labels": Use({"release": "p"}, MONITORS, '"release": "p"', on("podMonitor")),
    "monitoring.podMonitor.interval": Use("77s", MONITORS, '"interval": "77s"', on("podMonitor")),
    "monitoring.podMonitor.relabelings": Use(
        [{"targetLabel": "cluster"}], MONITORS, '"relabelings": [{"targetLabel": "cluster"}]', on("podMonitor")
    ),
    "monitoring.podMonitor.metricRelabelings": Use(
        [{"action": "drop"}], MONITORS, '"metricRelabelings": [{"action": "drop"}]', on("podMonitor")
    ),
    "monitoring.rules.enabled": Use(True, {RULES}, '"kind": "PrometheusRule"'),
    "monitoring.rules.labels": Use({"release": "p"}, {RULES}, '"release": "p"', on("rules")),
    "monitoring.rules.runbookUrl": Use(
        "https://git.example/eventfed/operations.md",
        {RULES},
        '"runbook_url": "https://git.example/eventfed/operations.md#eventfedbuslost"',
        on("rules"),
    ),
    "monitoring.dashboard.enabled": Use(True, {DASHBOARD}, '"name": "eventfed-dashboard"'),
    "monitoring.dashboard.labels": Use({"board": "1"}, {DASHBOARD}, '"board": "1"', on("dashboard")),
    "extraObjects": Use(
        [
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-own"}},
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other}\n",
        ],
        {"ConfigMap/eventfed-own", "ConfigMap/other"},
        '"name": "eventfed-own"',
    ),
}


def leaves(node: Any, path: str = "") -> Iterator[str]:
    """Values that stand for themselves: nothing, or something that is no object, is in them."""
    if isinstance(node, dict) and node and path not in USES:
        for name, one in node.items():
            yield from leaves(one, f"{path}.{name}" if path else name)
    else:
        yield path


def merged(*values: Mapping[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for one in values:
        for name, value in one.items():
            both = isinstance(value, Mapping) and isinstance(result.get(name), dict)
            result[name] = merged(result[name], value) if both else value
    return result


def nested(path: str, value: Any) -> dict[str, Any]:
    for name in reversed(path.split(".")):
        value = {name: value}
    return dict(value)


def rendered(plane: ControlPlane, *values: Mapping[str, Any]) -> dict[str, str]:
    """The text of each object, by kind and name."""
    objects = render(plane, merged(SAME, *values))
    return {f"{one['kind']}/{one['metadata']['name']}": json.dumps(one, sort_keys=True) for one in objects}


@pytest.fixture(scope="module")
def by_default(plane: ControlPlane) -> dict[str, str]:
    return rendered(plane)


def test_each_value_stands_in_the_table_above() -> None:
    assert sorted(leaves(VALUES)) == sorted(USES)


@pytest.mark.parametrize("path", USES)
def test_a_value_changes_what_it_is_for(plane: ControlPlane, by_default: dict[str, str], path: str) -> None:
    use = USES[path]
    before = rendered(plane, use.beside) if use.beside else by_default
    after = rendered(plane, use.beside, nested(path, use.value))
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    if use.where == ALL:
        unchanged = before.keys() & after.keys() - changed
        assert unchanged == {"CustomResourceDefinition/eventfederations.eventfed.io"}
    else:
        assert changed == use.where
    text = [after[name] for name in changed if name in after]
    if use.shows:
        assert any(use.shows in one for one in text), text
        assert not any(use.shows in before[name] for name in changed if name in before)
        if use.where in (ALL, PODS):
            # What holds for all holds for the operator, NATS and the test's pod.
            assert all(use.shows in one or path.endswith("Override") for one in text), text
    for one in map(json.loads, text):
        if "monitoring" not in one["apiVersion"] and path not in ("operator.affinity", "nats.affinity"):
            kubernetes_validate.validate(one, "1.34", strict=True)


def test_pull_secrets_and_what_is_common_reach_the_agents(plane: ControlPlane) -> None:
    (deployment,) = [
        one
        for one in render(
            plane,
            {
                "image": {"pullSecrets": ["one", "two"]},
                "commonLabels": {"team": "voice", "cost": "5"},
                "commonAnnotations": {"example.net/a": "b"},
                "agents": {"labels": {"team": "agents"}},
                "podSecurityContext": {"runAsUser": 77, "seLinuxOptions": {"level": "s0"}},
                "containerSecurityContext": {"procMount": "Default"},
            },
        )
        if one["kind"] == "Deployment"
    ]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    told = {one["name"]: one.get("value", "") for one in container["env"]}
    assert told["EVENTFED_PULL_SECRETS"] == "one,two"
    template = json.loads(told["EVENTFED_AGENT_POD_TEMPLATE"])
    assert template["labels"] == {"team": "agents", "cost": "5"}
    assert template["annotations"] == {"example.net/a": "b"}
    assert template["securityContext"]["runAsUser"] == 77
    assert template["securityContext"]["seLinuxOptions"] == {"level": "s0"}
    assert template["containerSecurityContext"]["procMount"] == "Default"


def test_for_openshift_nothing_names_a_user_or_a_group(plane: ControlPlane) -> None:
    values = {
        "openshift": True,
        "nats": {"replicas": 3},
        "monitoring": {"podMonitor": {"enabled": True}, "rules": {"enabled": True}, "dashboard": {"enabled": True}},
        "containerSecurityContext": {"runAsUser": 5, "runAsGroup": 5},
    }
    told = yaml.safe_dump_all([one for one in render(plane, values) if one["kind"] != "CustomResourceDefinition"])
    assert not [word for word in ("runAsUser", "runAsGroup", "fsGroup", "supplementalGroups") if word in told]
    assert told.count("runAsNonRoot: true") == 3
    assert told.count("RuntimeDefault") == 4, "three pods, and what the operator is told of agents"


def test_a_field_of_the_security_context_is_taken_out_by_null(plane: ControlPlane) -> None:
    told = helm(
        plane,
        *("template", "eventfed", CHART, "--kube-version", "1.34.0"),
        *("--set", "podSecurityContext.runAsUser=null,podSecurityContext.runAsGroup=null"),
    ).stdout
    objects = [one for one in yaml.safe_load_all(told) if one and one["kind"] in ("Deployment", "StatefulSet")]
    for one in objects:
        assert one["spec"]["template"]["spec"]["securityContext"].keys() == {
            "fsGroup",
            "runAsNonRoot",
            "seccompProfile",
        }


def test_only_the_passwords_that_helm_makes_differ_from_one_time_to_the_next(plane: ControlPlane) -> None:
    one, other = ({f"{made['kind']}/{made['metadata']['name']}": made for made in render(plane)} for _ in range(2))
    assert one.keys() == other.keys()
    differing = {name for name in one if one[name] != other[name]}
    assert differing == {"Secret/eventfed-nats"}
    assert one["Secret/eventfed-nats"].keys() == {"apiVersion", "kind", "metadata", "type", "data"}
    for made in (one, other):
        made["Secret/eventfed-nats"].pop("data")
    assert one == other
    assert rendered(plane) == rendered(plane), "a Secret is named there"


def test_the_example_for_argo_cd_is_rendered_the_same_each_time(plane: ControlPlane) -> None:
    application = yaml.safe_load((CHART.parents[1] / "examples" / "argocd" / "application.yaml").read_text())
    values = application["spec"]["source"]["helm"]["valuesObject"]
    assert render(plane, values) == render(plane, values)
