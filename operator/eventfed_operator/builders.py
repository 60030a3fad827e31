"""The objects that belong to an EventFederation, as they should be."""

import base64
from collections.abc import Mapping
from typing import Any, Literal

from eventfed.asterisk_config import pjsip_snippet
from eventfed.spec import Spec, device_filter

from .agent_configuration import CONFIGURATION_FOLDER, HTTP_PORT, NATS_FOLDER, SIP_PORT, AgentConfigurationFile
from .crd.resource import GROUP, PodTemplateSpec, Protocol
from .resources import Resource, Settings
from .tokens import SNIPPET_KEY, HeaderTokens

__all__ = [
    "CHECKSUM",
    "build_agent_secret",
    "build_asterisk_secret",
    "build_daemon_set",
    "build_network_policy",
    "build_service",
    "build_service_account",
]

CHECKSUM = f"{GROUP}/configuration"
"""Annotation on the agents' pods: another value rolls them."""

_GRACE = 30


def build_service_account(resource: Resource) -> dict[str, Any]:
    """The agents' account, which can do nothing: agents have no Kubernetes credentials."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": resource.metadata(resource.agent_name),
        "automountServiceAccountToken": False,
    }


def build_service(resource: Resource, address: str | None) -> dict[str, Any]:
    """Where Asterisk reaches the agent of its own node.

    Args:
        address: the clusterIP that the snippet names; a lost Service is made again with it. None for the first one.
    """
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": resource.metadata(resource.agent_name),
        "spec": {
            "type": "ClusterIP",
            **({"clusterIP": address} if address else {}),
            "internalTrafficPolicy": "Local",
            "selector": resource.selector,
            "ports": [
                {"name": f"sip-{protocol.lower()}", "port": SIP_PORT, "targetPort": SIP_PORT, "protocol": protocol}
                for protocol in ("UDP", "TCP")
            ],
        },
    }


def build_network_policy(resource: Resource, settings: Settings) -> dict[str, Any]:
    """Closes the agents' SIP port to all but the members: anyone who reaches it could forge states."""
    members = resource.spec.members.selector.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": resource.metadata(resource.agent_name),
        "spec": {
            "podSelector": {"matchLabels": resource.selector},
            "policyTypes": ["Ingress"],
            "ingress": [
                {
                    "from": [{"podSelector": members}],
                    "ports": [{"port": SIP_PORT, "protocol": protocol} for protocol in ("UDP", "TCP")],
                },
                {
                    "from": [dict(peer) for peer in settings.metrics_from],
                    "ports": [{"port": HTTP_PORT, "protocol": "TCP"}],
                },
            ],
        },
    }


def build_agent_secret(
    resource: Resource, tokens: HeaderTokens, configuration: AgentConfigurationFile
) -> dict[str, Any]:
    """The agents' configuration file and secrets."""
    return _secret(resource, resource.agent_name, tokens, {"agent.toml": configuration.text, **configuration.secrets})


def build_asterisk_secret(resource: Resource, address: str, tokens: HeaderTokens) -> dict[str, Any]:
    """The lines that members include in their ``pjsip.conf``.

    Args:
        address: the Service's clusterIP. A literal keeps DNS off the path, where Asterisk asks for every PUBLISH.
    """
    transport: Literal["udp", "tcp"] = "udp" if resource.spec.members.transport is Protocol.UDP else "tcp"
    snippet = pjsip_snippet(
        agent_host=address,
        agent_port=SIP_PORT,
        transport=transport,
        token=tokens.current,
        previous_token=tokens.previous,
        device_filter=device_filter(resource.spec.events),
    )
    return _secret(resource, resource.asterisk_name, tokens, {SNIPPET_KEY: snippet})


def _secret(resource: Resource, name: str, tokens: HeaderTokens, entries: Mapping[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": resource.metadata(name, annotations=tokens.annotations),
        "type": "Opaque",
        "data": {key: base64.b64encode(text.encode()).decode() for key, text in sorted(entries.items())},
    }


def build_daemon_set(resource: Resource, settings: Settings, configuration: AgentConfigurationFile) -> dict[str, Any]:
    """The agents: one pod on each node.

    The new agent of a node is ready before the old one ends (``maxSurge``), and the old one serves on until the new
    one has its members (`HANDOVER`).
    """
    spec = resource.spec.agent
    placement = spec.placement
    template = spec.pod_template.over(settings.agent_template)
    pull_secrets = spec.image_pull_secrets or settings.pull_secrets
    pod: dict[str, Any] = {
        "serviceAccountName": resource.agent_name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": _GRACE,
        "securityContext": _written(template.security_context),
        "containers": [_container(resource, settings, configuration, template)],
        "volumes": [*_volumes(resource, configuration), *map(_written, template.volumes)],
    }
    if pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in pull_secrets]
    if template.affinity is not None:
        pod["affinity"] = _written(template.affinity)
    if placement.node_selector:
        pod["nodeSelector"] = dict(placement.node_selector)
    if placement.tolerations:
        pod["tolerations"] = [
            one.model_dump(mode="json", by_alias=True, exclude_none=True) for one in placement.tolerations
        ]
    if placement.priority_class_name:
        pod["priorityClassName"] = placement.priority_class_name
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": resource.metadata(resource.agent_name),
        "spec": {
            "selector": {"matchLabels": resource.selector},
            "updateStrategy": _update_strategy(resource),
            "template": {
                "metadata": {
                    "labels": {**template.labels, **resource.labels},
                    "annotations": {**template.annotations, CHECKSUM: configuration.checksum},
                },
                "spec": pod,
            },
        },
    }


def _update_strategy(resource: Resource) -> dict[str, Any]:
    strategy = resource.spec.agent.update_strategy
    if strategy.type == "OnDelete":
        return {"type": "OnDelete"}
    surge = 1 if strategy.max_surge is None else strategy.max_surge
    return {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": 0}}


def _written(part: Spec | None) -> dict[str, Any]:
    """A part of a pod as Kubernetes reads it, without what was not said."""
    return {} if part is None else part.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def _container(
    resource: Resource, settings: Settings, configuration: AgentConfigurationFile, template: PodTemplateSpec
) -> dict[str, Any]:
    spec = resource.spec.agent
    mounts: list[dict[str, Any]] = [{"name": "configuration", "mountPath": CONFIGURATION_FOLDER, "readOnly": True}]
    if configuration.files:
        mounts.append({"name": "nats", "mountPath": NATS_FOLDER, "readOnly": True})
    return {
        "name": "agent",
        "image": spec.image or settings.image,
        "imagePullPolicy": spec.image_pull_policy,
        "command": ["eventfed"],
        "args": ["agent", "--config", f"{CONFIGURATION_FOLDER}/agent.toml"],
        # Agents are named after their pods, of which a surge has two on a node; rosters go by node.
        "env": [
            {"name": "EVENTFED_NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            *map(_written, template.env),
        ],
        "ports": [
            {"name": "sip-udp", "containerPort": SIP_PORT, "protocol": "UDP"},
            {"name": "sip-tcp", "containerPort": SIP_PORT, "protocol": "TCP"},
            {"name": "http", "containerPort": HTTP_PORT, "protocol": "TCP"},
        ],
        "resources": spec.resources.model_dump(mode="json"),
        "startupProbe": _probe("/healthz", period=1, failures=60),
        "livenessProbe": _probe("/healthz", period=10, failures=3),
        "readinessProbe": _probe("/readyz", period=1, failures=2),
        "securityContext": dict(settings.container_security),
        "volumeMounts": [*mounts, *map(_written, template.volume_mounts)],
    }


def _probe(path: str, *, period: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": "http"},
        "periodSeconds": period,
        "timeoutSeconds": 3,
        "failureThreshold": failures,
    }


def _volumes(resource: Resource, configuration: AgentConfigurationFile) -> list[dict[str, Any]]:
    volumes: list[dict[str, Any]] = [
        {"name": "configuration", "secret": {"secretName": resource.agent_name, "defaultMode": 0o440}}
    ]
    if configuration.files:
        sources = [
            {"secret": {"name": file.secret, "items": [{"key": file.key, "path": file.path}]}}
            for file in configuration.files
        ]
        volumes.append({"name": "nats", "projected": {"sources": sources, "defaultMode": 0o440}})
    return volumes
