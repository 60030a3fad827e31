"""`kubectl scale`: pods that come are members at once, those that go leave nothing behind."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime

import pytest

from eventfed import DeviceState
from eventfed_lab import Cluster, ClusterPbx, LabError, MailboxCounts
from tests.ground.fixture_types import Measure
from tests.ground.kind_ground import PbxFactory

pytestmark = pytest.mark.asyncio(loop_scope="session")

FEW, MANY = 2, 6
GRACE = 5
SLACK = 5.0
"""What is promised beyond the grace, in seconds; and how long after Ready a pod may take to be synced."""
AGENTS = "app.kubernetes.io/name=eventfed-agent"
BOX = "1002@default"
_HTTP = 9466


class Synced:
    """Notes when each member was synced first, as its agent told, by ``time.time()``."""

    def __init__(self) -> None:
        self.first: dict[str, float] = {}

    async def watch(self, cluster: Cluster, namespace: str) -> None:
        """Until it is cancelled. The agents are those that there are now."""
        agents = [pod["status"]["podIP"] for pod in await cluster.list("pods", namespace, AGENTS)]
        while True:
            for members in await asyncio.gather(*map(_members, agents)):
                for name, state in members.items():
                    if state == "synced":
                        self.first.setdefault(name, time.time())
            await asyncio.sleep(0.1)


async def _members(agent: str) -> Mapping[str, str]:
    """Name → state, of ``/members``."""
    reader, writer = await asyncio.open_connection(agent, _HTTP)
    try:
        writer.write(b"GET /members HTTP/1.0\r\n\r\n")
        answer = await reader.read()
    finally:
        writer.close()
    return {one["name"]: one["state"] for one in json.loads(answer.partition(b"\r\n\r\n")[2])}


@asynccontextmanager
async def watching(pbx: ClusterPbx) -> AsyncIterator[Synced]:
    synced = Synced()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(synced.watch(pbx.cluster, pbx.namespace))
        yield synced
        task.cancel()


async def ready_since(pbx: ClusterPbx) -> dict[str, float]:
    """When each pod became Ready, by its condition, in whole seconds."""
    since = {}
    for pod in await pbx.cluster.list("pods", pbx.namespace, f"app={pbx.app}"):
        for condition in pod["status"].get("conditions", ()):
            if condition["type"] == "Ready" and condition["status"] == "True":
                since[pod["metadata"]["name"]] = datetime.fromisoformat(condition["lastTransitionTime"]).timestamp()
    return since


async def counts_are(pbx: ClusterPbx, number: int) -> bool:
    members = (await pbx.status())["members"]
    if (members["total"], members["synced"], members["summary"]) != (number, number, f"{number}/{number}"):
        raise LabError(f"members {members}")
    return True


@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.parametrize("mailboxes", ["Keep", "Remove"])
async def test_pods_that_come_are_synced_within_5_s_and_those_that_go_leave_no_state_behind(
    mailboxes: str, make_pbx: PbxFactory, measure: Measure
) -> None:
    departure = {"gracePeriod": GRACE, "mailboxes": mailboxes, "mailboxGracePeriod": GRACE}
    pbx = await make_pbx(replicas=FEW, spec={"departure": departure})
    await pbx.__aenter__()
    await pbx.pods[0].set_device("Custom:lamp1", DeviceState.BUSY)

    # --- those that come ---
    async with watching(pbx) as synced:
        began = time.monotonic()
        await pbx.scale(MANY)
        await pbx.wait_ready()
        measure(f"scaled from {FEW} to {MANY} pods: all are members", time.monotonic() - began)
        fresh = {pod.name for pod in pbx.pods[FEW:]}

        async def all_ready() -> bool:
            if missing := fresh - (await ready_since(pbx)).keys():
                raise LabError(f"not Ready: {missing}")
            return True

        await pbx.cluster.until("all pods Ready", all_ready)
        ready = await ready_since(pbx)
    # Kubernetes tells times in whole seconds, so up to one of these is rounding.
    delays = [max(0.0, synced.first[name] - ready[name]) for name in sorted(fresh)]
    measure(f"a pod of {len(fresh)} that came at once: from Ready to synced, worst", max(delays))
    assert max(delays) < SLACK
    nodes = Counter(pod.node for pod in pbx.pods)
    assert set(nodes) == set(await pbx.cluster.workers())
    assert max(nodes.values()) - min(nodes.values()) <= 1
    await pbx.wait_device("Custom:lamp1", DeviceState.BUSY)

    # --- and have states ---
    for number, pod in enumerate(pbx.pods):
        await pod.set_device(f"Custom:of-{number}", DeviceState.INUSE)
        # Never as many as the sum of those before: voicemail is silent when its count stands in the mailbox already.
        await pod.leave_voicemail(BOX, 2**number, by="spool")
    for number in range(MANY):
        await pbx.wait_device(f"Custom:of-{number}", DeviceState.INUSE)
    await pbx.wait_mailbox(BOX, MailboxCounts(2**MANY - 1, 0))

    # --- those that go ---
    gone = [pod.name for pod in pbx.pods[FEW:]]
    await pbx.scale(FEW)
    for name in gone:
        await pbx.cluster.wait("delete", f"pod/{name}", "-n", pbx.namespace)
    began = time.monotonic()
    within = GRACE + SLACK
    for number in range(FEW, MANY):
        left = max(0.1, began + within - time.monotonic())
        await pbx.wait_device(f"Custom:of-{number}", DeviceState.UNKNOWN, within=left)
    measure(f"scaled from {MANY} to {FEW} pods, grace {GRACE} s: their devices gone", time.monotonic() - began)
    if mailboxes == "Remove":
        left = max(0.1, began + within - time.monotonic())
        await pbx.wait_mailbox(BOX, MailboxCounts(2**FEW - 1, 0), within=left)
        measure(f"scaled from {MANY} to {FEW} pods, grace {GRACE} s: their mailboxes gone", time.monotonic() - began)
    else:
        for pod in pbx.pods:
            assert await pod.mailbox_counts(BOX) == (2**MANY - 1, 0)
    for number in range(FEW):
        await pbx.wait_device(f"Custom:of-{number}", DeviceState.INUSE)
    await pbx.wait_device("Custom:lamp1", DeviceState.BUSY)
    await pbx.cluster.until("the status follows", lambda: counts_are(pbx, FEW), within=10)
