"""EventFederations as a test looks at them: their objects, conditions and streams."""

import asyncio
import base64
import time
from typing import Any

import nats
from nats.js.api import StreamConfig
from nats.js.errors import NotFoundError

from eventfed_lab import NatsServer
from tests.ground.cluster_api import Api, eventually, federation, pod
from tests.ground.installation import Installation, Operator

__all__ = [
    "OWNED",
    "OWN_USER",
    "PASSWORD",
    "agent_pod",
    "condition",
    "connect",
    "on",
    "owned",
    "rounds",
    "run_pod",
    "says",
    "secret",
    "settled",
    "stream",
]

PASSWORD = "pMembers1"
OWN_USER = f'authorization {{ user: members, password: "{PASSWORD}" }}'
CREDENTIALS = {"user": "members", "password": {"name": "nats", "key": "password"}}

OWNED = [
    ("ServiceAccount", "pbx-agent"),
    ("NetworkPolicy", "pbx-agent"),
    ("Secret", "pbx-agent"),
    ("Secret", "pbx-asterisk"),
    ("Service", "pbx-agent"),
    ("DaemonSet", "pbx-agent"),
]
"""What an EventFederation of the name pbx owns, as (kind, name)."""


def owned(api: Api, namespace: str) -> dict[tuple[str, str], dict[str, Any]]:
    """All that it owns; empty as long as something is missing."""
    found = {(kind, name): api.find(kind, namespace, name) for kind, name in OWNED}
    return {key: one for key, one in found.items() if one} if all(found.values()) else {}


def condition(api: Api, namespace: str, kind: str, name: str = "pbx") -> tuple[str, str, str]:
    """(status, reason, message) of a condition; empty before there is one."""
    status = api.get("EventFederation", namespace, name).get("status") or {}
    for one in status.get("conditions") or ():
        if one["type"] == kind:
            return one["status"], one["reason"], one["message"]
    return "", "", ""


_ROUNDS = "eventfed_operator_rounds_total"


def rounds(operator: Operator, number: int) -> None:
    """Wait until each EventFederation was looked at so often."""
    for _ in range(number):
        _round(operator)


def _round(operator: Operator) -> None:
    before, federations = _counts(operator)
    eventually(lambda: _counts(operator)[0] >= before + max(federations, 1))


def _counts(operator: Operator) -> tuple[float, float]:
    metrics = operator.metrics()
    return metrics[_ROUNDS], metrics["eventfed_operator_federations"]


def settled(api: Api, operator: Operator, namespace: str, *, within: float = 20.0) -> None:
    """Wait until an EventFederation has all that it owns, its last change was seen, and two looks changed nothing."""

    def seen() -> bool:
        one = api.get("EventFederation", namespace, "pbx")
        told = (one.get("status") or {}).get("observedGeneration") == one["metadata"]["generation"]
        return bool(told and owned(api, namespace))

    eventually(seen, within=within)
    deadline, before, since = time.monotonic() + within, operator.actions(), operator.metrics()[_ROUNDS]
    while operator.metrics()[_ROUNDS] < since + 2:
        assert time.monotonic() < deadline, f"still busy: {before}"
        time.sleep(0.05)
        if (now := operator.actions()) != before:
            before, since = now, operator.metrics()[_ROUNDS]


def stream(installation: Installation, namespace: str, name: str = "pbx") -> StreamConfig | None:
    """The stream of an EventFederation on the chart's NATS."""

    async def look() -> StreamConfig | None:
        assert installation.nats is not None
        password = installation.passwords["operator"]
        client = await nats.connect(
            installation.nats.url, user="operator", password=password, inbox_prefix=b"_INBOX_operator"
        )
        try:
            return (await client.jetstream().stream_info(f"EVENTFED_{namespace}_{name}_local")).config
        except NotFoundError:
            return None
        finally:
            await client.close()

    return asyncio.run(look())


def secret(namespace: str, password: str, name: str = "nats") -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "data": {"password": base64.b64encode(password.encode()).decode()},
    }


def on(server: NatsServer) -> dict[str, Any]:
    return {"nats": {"servers": [server.url], "credentials": CREDENTIALS}}


def connect(api: Api, namespace: str, server: NatsServer) -> None:
    """Make an EventFederation with the Secret that it needs for a NATS of its own, and wait until it is connected."""
    api.create(secret(namespace, PASSWORD))
    api.create(federation(namespace, **on(server)))
    says(api, namespace, "BusReachable", "True", "Connected")


def says(api: Api, namespace: str, kind: str, status: str, reason: str, name: str = "pbx") -> str:
    """Wait until a condition is so; its message."""
    last: list[tuple[str, str, str]] = []

    def look() -> bool:
        last[:] = [condition(api, namespace, kind, name)]
        return last[0][:2] == (status, reason)

    try:
        eventually(look, within=20)
    except AssertionError as error:
        raise AssertionError(f"{kind} is {last[0]}, not {status} {reason}") from error
    return last[0][2]


def run_pod(api: Api, manifest: dict[str, Any], address: str) -> dict[str, Any]:
    """A pod that runs, as the kubelet would say."""
    made = api.create(manifest)
    status = {"phase": "Running", "podIP": address, "conditions": [{"type": "Ready", "status": "True"}]}
    metadata = made["metadata"]
    return api.merge("Pod", metadata["namespace"], metadata["name"], {"status": status}, "status")


def agent_pod(namespace: str, node: str) -> dict[str, Any]:
    labels = {"app.kubernetes.io/name": "eventfed-agent", "app.kubernetes.io/instance": "pbx"}
    return pod(namespace, f"pbx-agent-{node}", node=node, labels=labels)
