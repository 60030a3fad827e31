"""What the tests of conditions on a cluster share: the Events about an EventFederation, and pods that go wrong."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from eventfed_lab import Cluster, ClusterPbx, LabError

__all__ = ["Told", "condition_of", "lone_pod", "told_of", "wait_condition_of"]


@dataclass(frozen=True)
class Told:
    """A Kubernetes Event."""

    type: str
    reason: str
    message: str


async def told_of(cluster: Cluster, namespace: str, name: str) -> list[Told]:
    """The Events about an EventFederation, each as often as it was made."""
    chosen = f"involvedObject.kind=EventFederation,involvedObject.name={name}"
    found = await cluster.events(namespace, chosen)
    return [Told(one["type"], one["reason"], one["message"]) for one in found for _ in range(one.get("count") or 1)]


async def condition_of(cluster: Cluster, namespace: str, name: str, kind: str = "Ready") -> Any:
    """One condition of an EventFederation; empty before there is one.

    Raises:
        LabError: there is no such EventFederation.
    """
    found = await cluster.get("evfed", name, namespace)
    if found is None:
        raise LabError(f"there is no EventFederation {namespace}/{name}")
    conditions: Sequence[Any] = (found.get("status") or {}).get("conditions") or ()
    return next((one for one in conditions if one["type"] == kind), {})


async def wait_condition_of(
    cluster: Cluster, namespace: str, name: str, kind: str, reason: str, *, within: float = 60.0
) -> Any:
    """Wait until a condition has a reason; returns it."""
    last: Any = {}

    async def holds() -> bool:
        nonlocal last
        last = await condition_of(cluster, namespace, name, kind)
        if last.get("reason") != reason:
            raise LabError(f"it is {last}")
        return True

    await cluster.until(f"{namespace}/{name}: {kind} with reason {reason}", holds, within=within)
    return last


def lone_pod(pbx: ClusterPbx, name: str, *, app: str, environment: dict[str, str] | None = None) -> dict[str, Any]:
    """A pod like those of a StatefulSet, without one, with the label ``app=<app>``.

    Args:
        pbx: whose StatefulSet it is like; its configuration has to be there.
        environment: other values for the init container that writes the EID.
    """
    stateful_set = copy.deepcopy(pbx.asterisk_documents()[-1])
    spec = stateful_set["spec"]["template"]["spec"]
    del spec["topologySpreadConstraints"]
    (identity,) = (one for one in spec["initContainers"] if one["name"] == "identity")
    for variable in identity["env"]:
        if variable["name"] in (environment or {}):
            variable.pop("valueFrom", None)
            variable["value"] = (environment or {})[variable["name"]]
    place = {"name": name, "namespace": pbx.namespace, "labels": {"app": app}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": place, "spec": spec}
