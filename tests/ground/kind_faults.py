"""What the tests of faults on a kind cluster share: faults that take time, and what servers showed meanwhile."""

import asyncio
import base64
import secrets
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any

from eventfed import Credentials, DeviceState, Federation, FederationSettings
from eventfed_lab import AmiEvents, AsteriskPod, Cluster, ClusterPbx, Truth
from tests.ground.kind_ground import CHECKOUT

__all__ = [
    "NATS",
    "OPERATOR",
    "PLACE",
    "Histories",
    "agents",
    "agents_replaced",
    "change_something",
    "crossings",
    "federation_of",
    "histories",
    "on_bus",
    "ready_uids",
    "set_log_level",
    "signal_container",
    "taken_note_of",
    "truth_after",
    "uids",
]

PLACE = "eventfed"
"""The namespace of the chart."""
OPERATOR = "app.kubernetes.io/name=eventfed-operator"
NATS = "app.kubernetes.io/name=eventfed-nats"
_READERS = FederationSettings(create_stream=False, deputy=False)

Fault = Callable[[ClusterPbx], Awaitable[float | None]]
"""Returns when all is back, if not at its return: the ``time.monotonic()`` from which the servers' time counts."""


@asynccontextmanager
async def federation_of(chart: Cluster, replicas: int = 3, **spec: Any) -> AsyncIterator[ClusterPbx]:
    """Real servers as pods on both workers, in a namespace of their own, with production's times unless told else."""
    pbx = ClusterPbx(chart, CHECKOUT, f"voice-{secrets.token_hex(3)}", replicas=replicas, spec=spec)
    try:
        await pbx.start()
        yield pbx
    finally:
        await pbx.close()


async def truth_after(pbx: ClusterPbx, fault: Fault, *, within: float) -> tuple[float, "Histories"]:
    """Change states while something fails; seconds from then until all servers show the owners' truth.

    Returns also what the servers that have not been made again were told.

    Raises:
        TimeoutError: some do not after `within` seconds.
    """
    with histories(pbx.pods) as shown:
        async with Truth(pbx.pods) as truth:
            await asyncio.sleep(1)
            before = truth.changes
            began = time.monotonic()
            since = await fault(pbx)
            assert truth.changes > before + 20, "too few changes while it failed"
            right = await truth.settle(within)
    return right - (began if since is None else since), shown


# --- what servers showed ---


class Histories:
    """What servers told of device states, each server since it was last attached to."""

    def __init__(self, told: Mapping[str, AmiEvents]) -> None:
        self._told = told

    def of(self, name: str) -> dict[str, list[DeviceState]]:
        """The states that one server told of each device since the last look."""
        found: dict[str, list[DeviceState]] = defaultdict(list)
        for _, event in self._told[name].drain():
            found[event["Device"]].append(DeviceState.parse(event["State"]))
        return found

    def gone(self, prefix: str = "Custom:truth-") -> list[str]:
        """Devices that lost their value: `Truth` never sets UNKNOWN, a tombstone does."""
        return [
            f"{name}: {device}"
            for name in self._told
            for device, states in self.of(name).items()
            if device.startswith(prefix) and {DeviceState.UNKNOWN, DeviceState.INVALID} & set(states)
        ]


@contextmanager
def histories(pods: Iterable[AsteriskPod]) -> Iterator[Histories]:
    """Collects what the servers tell inside the ``with`` block."""
    with ExitStack() as stack:
        yield Histories({pod.name: stack.enter_context(pod.ami.events("DeviceStateChange")) for pod in pods})


async def crossings(pods: Sequence[AsteriskPod], count: int, *, pause: float = 0.0) -> list[float]:
    """Seconds from the moment the first server knows a new state until the last one does, `count` times.

    Raises:
        TimeoutError: one did not cross within 10 s.
    """
    times = []
    for number in range(count):
        state = DeviceState.BUSY if number % 2 == 0 else DeviceState.NOT_INUSE
        waits = [asyncio.create_task(pod.wait_device("Custom:lamp1", state)) for pod in pods]
        await asyncio.sleep(0.2)
        await pods[0].set_device("Custom:lamp1", state)
        known, *seen = [await one for one in waits]
        times.append(max(0.0, max(seen) - known))
        await asyncio.sleep(pause)
    return times


# --- what is on the bus ---


@asynccontextmanager
async def on_bus(pbx: ClusterPbx) -> AsyncIterator[Federation]:
    """A reader of the federation's states and leases, on the chart's NATS as it runs now."""
    (pod,) = await pbx.cluster.list("pods", PLACE, NATS)
    secret = await pbx.cluster.get("secret", "eventfed-nats", PLACE)
    async with Federation.connect(
        f"nats://{pod['status']['podIP']}:4222",
        federation=f"{pbx.namespace}_{pbx.name}",
        agent="reader",
        settings=_READERS,
        credentials=Credentials(
            user="operator",
            password=base64.b64decode(secret["data"]["operator"]).decode(),
            inbox_prefix="_INBOX_operator",
        ),
    ) as federation:
        assert await federation.wait_synced(10), federation.problem
        yield federation


# --- pods ---


def uids(pods: Iterable[Any]) -> set[str]:
    return {pod["metadata"]["uid"] for pod in pods}


def ready_uids(pods: Iterable[Any]) -> set[str]:
    """Of those that are ready and were not told to end."""
    return {
        pod["metadata"]["uid"]
        for pod in pods
        if not pod["metadata"].get("deletionTimestamp")
        and any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions") or ())
    }


async def agents(pbx: ClusterPbx) -> Sequence[Any]:
    """The agents' pods."""
    labels = f"app.kubernetes.io/name=eventfed-agent,app.kubernetes.io/instance={pbx.name}"
    return await pbx.cluster.list("pods", pbx.namespace, labels)


async def agents_replaced(pbx: ClusterPbx, before: set[str], *, count: int, within: float = 120.0) -> float:
    """Wait until `count` agents are ready and none is of `before`; the ``time.monotonic()``."""

    async def replaced() -> bool:
        pods = await agents(pbx)
        return len(pods) == count and len(ready_uids(pods) - before) == count

    return await pbx.cluster.until("other agents are ready", replaced, within=within)


async def set_log_level(pbx: ClusterPbx, level: str) -> None:
    """Another log level of the agents needs other agents."""
    await pbx.cluster.patch("evfed", pbx.name, pbx.namespace, {"spec": {"agent": {"logLevel": level}}})


async def signal_container(pod: Any, container: str, signal: str, cluster: Cluster) -> None:
    """Send a signal to the first process of a container, past the kubelet."""
    (one,) = [one for one in pod["status"]["containerStatuses"] if one["name"] == container]
    identifier = one["containerID"].removeprefix("containerd://")
    await cluster.on_node(pod["spec"]["nodeName"], "ctr", "-n", "k8s.io", "task", "kill", "-s", signal, identifier)


# --- the operator ---


async def change_something(pbx: ClusterPbx) -> None:
    """What the operator has to write into the agents' Secret; they take it over where they stand."""
    grace = (await pbx.document())["spec"].get("departure", {}).get("gracePeriod", 30)
    await pbx.cluster.patch("evfed", pbx.name, pbx.namespace, {"spec": {"departure": {"gracePeriod": grace + 1}}})


async def taken_note_of(pbx: ClusterPbx, within: float = 60.0) -> float:
    """Wait until the operator has acted on what the EventFederation says now; the ``time.monotonic()``."""

    async def is_seen() -> bool:
        found = await pbx.document()
        return bool(found["status"]["observedGeneration"] == found["metadata"]["generation"])

    return await pbx.cluster.until("the operator has seen the change", is_seen, within=within)
