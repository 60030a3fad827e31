"""What the tests of conditions on a cluster share: the Events about an EventFederation, and pods that go wrong."""

import copy
from dataclasses import dataclass
from typing import Any

from eventfed_lab import ClusterPbx

__all__ = ["Told", "lone_pod", "told_of"]


@dataclass(frozen=True)
class Told:
    """A Kubernetes Event."""

    type: str
    reason: str
    message: str


async def told_of(pbx: ClusterPbx) -> list[Told]:
    """The Events about its EventFederation, each as often as it was made."""
    chosen = f"involvedObject.kind=EventFederation,involvedObject.name={pbx.name}"
    found = await pbx.cluster.events(pbx.namespace, chosen)
    return [Told(one["type"], one["reason"], one["message"]) for one in found for _ in range(one.get("count") or 1)]


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
