"""The agents of a federation as pods: which there are, what they count, and whether every node has one all the time."""

import asyncio
import json
import subprocess
import urllib.request
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from eventfed_lab import ClusterPbx

__all__ = ["Coverage", "agent_identities", "agent_metric", "agent_on", "agent_pods", "covered", "rolled_out"]

HTTP_PORT = 9466


def selector(pbx: ClusterPbx) -> str:
    return f"app.kubernetes.io/name=eventfed-agent,app.kubernetes.io/instance={pbx.name}"


async def agent_pods(pbx: ClusterPbx) -> Sequence[Any]:
    """Those that were not told to end."""
    pods = await pbx.cluster.list("pods", pbx.namespace, selector(pbx))
    return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]


async def agent_identities(pbx: ClusterPbx) -> dict[str, int]:
    """UID → how often its container was started again."""
    return {
        pod["metadata"]["uid"]: sum(one["restartCount"] for one in pod["status"].get("containerStatuses", ()))
        for pod in await agent_pods(pbx)
    }


async def agent_on(pbx: ClusterPbx, node: str) -> Any:
    (pod,) = [pod for pod in await agent_pods(pbx) if pod["spec"]["nodeName"] == node]
    return pod


async def agent_metric(pod: Any, name: str, /, **labels: str) -> float:
    """The sum of all samples of a metric that carry these labels."""
    text = await asyncio.to_thread(_get, f"http://{pod['status']['podIP']}:{HTTP_PORT}/metrics")
    total = 0.0
    for line in text.splitlines():
        sample, _, value = line.rpartition(" ")
        if sample.partition("{")[0] == name and all(f'{key}="{label}"' in sample for key, label in labels.items()):
            total += float(value)
    return total


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as response:
        return str(response.read().decode())


async def rolled_out(pbx: ClusterPbx, before: Mapping[str, int], within: float = 90.0) -> float:
    """Wait until every agent is another one, ready, and none of those `before` is left; returns when."""

    async def done() -> bool:
        found = await pbx.cluster.get("daemonset", f"{pbx.name}-agent", pbx.namespace)
        if found is None:
            return False
        status, pods = found.get("status", {}), await pbx.cluster.list("pods", pbx.namespace, selector(pbx))
        count = status.get("desiredNumberScheduled", 0)
        is_current = count > 0 and status.get("observedGeneration") == found["metadata"]["generation"]
        fresh = not {pod["metadata"]["uid"] for pod in pods} & before.keys()
        return is_current and fresh and status.get("numberReady") == status.get("updatedNumberScheduled") == count

    return await pbx.cluster.until("all agents replaced", done, within=within)


@dataclass
class Coverage:
    """What a watch of the agents' pods told."""

    nodes: frozenset[str]
    gaps: list[str] = field(default_factory=list)
    """Nodes that had no ready agent at some moment."""
    changes: int = 0
    most: int = 0
    """The most agents that were ready at a time."""
    _ready: dict[str, str] = field(default_factory=dict)

    def saw(self, event: Mapping[str, Any]) -> None:
        pod, self.changes = event["object"], self.changes + 1
        uid, conditions = pod["metadata"]["uid"], pod["status"].get("conditions", ())
        is_ready = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
        if event["type"] != "DELETED" and is_ready and not _is_overdue(pod):
            self._ready[uid] = pod["spec"]["nodeName"]
        elif self._ready.pop(uid, None) is not None:
            self.gaps += sorted(self.nodes - set(self._ready.values()))
        self.most = max(self.most, len(self._ready))

    @property
    def complete(self) -> bool:
        return self.nodes == set(self._ready.values())


def _is_overdue(pod: Any) -> bool:
    """Told to end: kube-proxy leaves it out as soon as another one of its node is ready."""
    return "deletionTimestamp" in pod["metadata"]


@asynccontextmanager
async def covered(pbx: ClusterPbx) -> AsyncIterator[Coverage]:
    """Watches inside the ``with`` block whether each worker has an agent that is ready and was not told to end."""
    coverage = Coverage(frozenset(await pbx.cluster.workers()))
    watch = await asyncio.create_subprocess_exec(
        "kubectl", "get", "pods", "-n", pbx.namespace, "-l", selector(pbx), "-w", "--output-watch-events", "-o", "json",
        stdout=subprocess.PIPE, env=pbx.cluster.environment,
    )  # fmt: skip
    assert watch.stdout is not None

    async def read(stream: asyncio.StreamReader) -> None:
        decoder, text = json.JSONDecoder(), ""
        while chunk := await stream.read(65_536):
            text += chunk.decode()
            while text := text.lstrip():
                try:
                    event, end = decoder.raw_decode(text)
                except json.JSONDecodeError:
                    break
                text = text[end:]
                coverage.saw(event)

    task = asyncio.create_task(read(watch.stdout))
    try:
        async with asyncio.timeout(10):
            while not coverage.complete:  # noqa: ASYNC110 - the watch's first events
                await asyncio.sleep(0.05)
        yield coverage
    finally:
        watch.terminate()
        await watch.wait()
        await task
