"""What an EventFederation and the chart ask of the agents' pods, beside what the operator gives them."""

from dataclasses import replace
from typing import Any

from eventfed_operator.agent_configuration import agent_configuration
from eventfed_operator.builders import CHECKSUM, build_daemon_set
from eventfed_operator.crd.resource import PodTemplateSpec
from eventfed_operator.tokens import HeaderTokens

OWN: dict[str, Any] = {
    "agent": {
        "imagePullSecrets": ["registry"],
        "podTemplate": {
            "labels": {"team": "voice"},
            "annotations": {"sidecar.example.net/inject": "false"},
            "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
            "securityContext": {"runAsNonRoot": True, "seLinuxOptions": {"level": "s0:c1,c2"}},
            "env": [{"name": "TZ", "value": "Europe/Vienna"}],
            "volumes": [{"name": "ca", "configMap": {"name": "own"}}],
            "volumeMounts": [{"name": "ca", "mountPath": "/etc/own", "readOnly": True}],
        },
    }
}


def agents_of(world: Any) -> dict[str, Any]:
    """The template of the agents' pods."""
    configuration = agent_configuration(world.resource, world.settings, HeaderTokens("current-secret", ""), {})
    template: dict[str, Any] = build_daemon_set(world.resource, world.settings, configuration)["spec"]["template"]
    return template


def test_the_pod_template_is_added_to_what_the_operator_gives(operator_world: Any) -> None:
    plain, agents = (agents_of(operator_world(**spec)) for spec in ({}, OWN))
    labels, before = agents["metadata"]["labels"], plain["metadata"]["labels"]
    assert labels == {**before, "team": "voice"}
    annotations = agents["metadata"]["annotations"]
    assert annotations.pop("sidecar.example.net/inject") == "false"
    assert annotations.keys() == {CHECKSUM}
    pod, before = agents["spec"], plain["spec"]
    assert pod["affinity"] == {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}}
    assert pod["securityContext"] == {"runAsNonRoot": True, "seLinuxOptions": {"level": "s0:c1,c2"}}
    assert pod["volumes"] == [*before["volumes"], {"name": "ca", "configMap": {"name": "own"}}]
    (container,), (container_before,) = pod["containers"], before["containers"]
    assert container["env"] == [*container_before["env"], {"name": "TZ", "value": "Europe/Vienna"}]
    mount = {"name": "ca", "mountPath": "/etc/own", "readOnly": True}
    assert container["volumeMounts"] == [*container_before["volumeMounts"], mount]


def test_the_charts_template_counts_where_an_event_federation_says_nothing(operator_world: Any) -> None:
    chart = PodTemplateSpec.model_validate(
        {
            "labels": {"team": "platform", "cost": "7"},
            "affinity": {"nodeAffinity": {}},
            "securityContext": {"runAsNonRoot": True},
            "env": [{"name": "TZ", "value": "UTC"}, {"name": "LANG", "value": "C"}],
            "volumes": [{"name": "ca", "secret": {"secretName": "theirs"}}],
            "volumeMounts": [{"name": "ca", "mountPath": "/etc/theirs"}],
        }
    )

    def agents(spec: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        world = operator_world(**spec)
        world.settings = replace(
            world.settings,
            agent_template=chart,
            container_security={"allowPrivilegeEscalation": False},
            pull_secrets=("of-the-chart",),
        )
        whole = agents_of(world)
        return whole["metadata"], whole["spec"]

    metadata, pod = agents({})
    assert metadata["labels"].items() >= {"team": "platform", "cost": "7"}.items()
    assert pod["affinity"] == {"nodeAffinity": {}}
    assert pod["securityContext"] == {"runAsNonRoot": True}
    assert pod["imagePullSecrets"] == [{"name": "of-the-chart"}]
    assert pod["containers"][0]["securityContext"] == {"allowPrivilegeEscalation": False}
    metadata, pod = agents(OWN)
    assert metadata["labels"].items() >= {"team": "voice", "cost": "7"}.items()
    assert pod["affinity"].keys() == {"podAntiAffinity"}
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert {one["name"]: one.get("value") for one in pod["containers"][0]["env"]}.items() >= {
        ("TZ", "Europe/Vienna"),
        ("LANG", "C"),
    }
    assert pod["volumes"][-1] == {"name": "ca", "configMap": {"name": "own"}}
    assert [one["mountPath"] for one in pod["containers"][0]["volumeMounts"]][-2:] == ["/etc/theirs", "/etc/own"]
