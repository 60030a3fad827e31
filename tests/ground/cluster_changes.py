"""Changes of an EventFederation and of what belongs to it, by its owner and by others."""

import base64
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from eventfed_lab import ClusterPbx

__all__ = [
    "AGENT", "ASTERISK", "AT_ONCE", "AT_THE_NEXT_LOOK", "QUIET", "change", "cluster_ip",
    "device_states", "harm_what_is_quiet", "observed", "put_back",
]  # fmt: skip

AGENT, ASTERISK = "pbx-agent", "pbx-asterisk"
AT_ONCE, AT_THE_NEXT_LOOK = 10.0, 40.0
QUIET = (("networkpolicy", AGENT), ("serviceaccount", AGENT), ("secret", AGENT), ("secret", ASTERISK))
"""What the operator does not watch."""

MWI: Mapping[str, Any] = {"type": "mwi", "voicemailStorage": "Separate"}


async def change(pbx: ClusterPbx, **spec: Any) -> float:
    """Change fields of the EventFederation; the time at which the API server had taken them."""
    await pbx.cluster.patch("evfed", pbx.name, pbx.namespace, {"spec": spec})
    return time.monotonic()


def device_states(**device_state: Any) -> list[Mapping[str, Any]]:
    return [MWI, {"type": "device_state", **device_state}]


async def observed(pbx: ClusterPbx) -> None:
    """Until the operator has looked at the latest generation."""

    async def seen() -> bool:
        found = await pbx.document()
        return bool(found["status"]["observedGeneration"] == found["metadata"]["generation"])

    await pbx.cluster.until("the latest generation observed", seen)


async def content(pbx: ClusterPbx, kind: str, name: str) -> Any:
    """What matters of an object; None if there is none."""
    found = await pbx.cluster.get(kind, name, pbx.namespace)
    if found is None:
        return None
    parts = {key: value for key, value in found.items() if key not in ("metadata", "status")}
    return {**parts, "labels": found["metadata"]["labels"], "owners": found["metadata"]["ownerReferences"]}


async def put_back(
    pbx: ClusterPbx, harm: Callable[[], Awaitable[object]], *objects: tuple[str, str], within: float
) -> float:
    """Do the harm and wait until the objects are again as they were; seconds it took."""
    before = {one: await content(pbx, *one) for one in objects}
    await harm()
    began = time.monotonic()

    async def same() -> bool:
        return {one: await content(pbx, *one) for one in objects} == before

    return await pbx.cluster.until("put back", same, within=within) - began


async def harm_what_is_quiet(pbx: ClusterPbx) -> None:
    """Delete some, change others; the header secret is whole in one of the two Secrets that hold it."""
    nonsense = base64.b64encode(b"nonsense").decode()
    await pbx.cluster.delete("networkpolicy", AGENT, pbx.namespace)
    await pbx.cluster.delete("serviceaccount", AGENT, pbx.namespace)
    await pbx.cluster.delete("secret", ASTERISK, pbx.namespace)
    await pbx.cluster.patch("secret", AGENT, pbx.namespace, {"data": {"agent.toml": nonsense}})


async def cluster_ip(pbx: ClusterPbx) -> str:
    return str((await pbx.cluster.get("service", AGENT, pbx.namespace))["spec"]["clusterIP"])
