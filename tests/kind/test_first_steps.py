"""From `helm install` and `kubectl apply` to lamps that cross, with the examples as they stand."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio
import yaml

from eventfed import DeviceState
from eventfed_lab import AsteriskPod, Cluster, ClusterPbx, MailboxCounts, example
from tests.ground.fixture_types import Measure
from tests.ground.kind_ground import CHECKOUT, PbxFactory

pytestmark = pytest.mark.asyncio(loop_scope="session")

EXAMPLES = CHECKOUT / "examples/kubernetes"
READY = 90.0
FILES = sorted(path.name for path in EXAMPLES.glob("*.yaml"))
FEDERATION = "10-federation.yaml"


@pytest_asyncio.fixture(loop_scope="session")
async def voice(chart: Cluster) -> AsyncIterator[Cluster]:
    """The cluster, without the examples before and after."""
    await remove(chart)
    yield chart
    await remove(chart)


async def remove(cluster: Cluster) -> None:
    await cluster.delete("evfed", "pbx", "voice")
    await cluster.delete("namespace", "voice", None, "--wait=false")
    if await cluster.get("namespace", "voice") is not None:
        # Not with the time that a call would have.
        await cluster.kubectl("delete", "pods", "--all", "-n", "voice", "--grace-period=1", "--wait=false")
    await cluster.delete("namespace", "voice")


async def apply(cluster: Cluster, *files: str) -> None:
    for file in files:
        await cluster.kubectl("apply", "-f", str(EXAMPLES / file))


async def lamps(cluster: Cluster, phone: str) -> list[str]:
    """What a phone of the examples was shown, without the times."""
    lines = (await cluster.kubectl("logs", f"deploy/{phone}", "-n", "voice")).splitlines()
    return [line.partition(" ")[2] for line in lines]


async def test_the_examples_are_ready_within_90_s_of_being_applied_and_their_phones_lamps_cross(
    voice: Cluster, measure: Measure
) -> None:
    began = time.monotonic()
    await apply(voice, *FILES)
    await voice.wait("condition=Ready", "evfed/pbx", "-n", "voice", within=READY)
    # Ready may mean the first pod alone: the other one may not have an address yet.
    await voice.until("two members", lambda: members(voice, "2/2"), within=READY - (time.monotonic() - began))
    measure("examples applied, EventFederation first, until ready", time.monotonic() - began)
    nodes = {pod["spec"]["nodeName"] for pod in await voice.list("pods", "voice", "app=asterisk")}
    assert len(nodes) == 2

    async def phone_watches() -> bool:
        return any("watches" in line for line in await lamps(voice, "phone-1002"))

    async def phone_is_registered() -> bool:
        return "1001/sip:" in await asterisk(voice, "asterisk-0", "pjsip show contacts")

    # The pods of the phones start beside Asterisk's: on a busy machine they are later than the federation.
    await voice.until("phone 1002 watches", phone_watches)
    await voice.until("phone 1001 is registered", phone_is_registered)

    # Somebody calls 1001, whose phone rings on one server and is not answered, and leaves a message.
    sound = "&".join(["vm-goodbye"] * 20)
    call = f"channel originate Local/1001@default application Playback {sound}"
    await asterisk(voice, "asterisk-0", call)

    async def rings_elsewhere() -> bool:
        return "1002: busy: early" in await lamps(voice, "phone-1002")

    await voice.until("phone 1002, on another server, sees 1001 ring", rings_elsewhere, within=10)

    async def is_lit() -> bool:
        return "1001: voicemail: 1 new" in await lamps(voice, "phone-1001")

    await voice.until("phone 1001's lamp", is_lit, within=60)
    slot = await asterisk(voice, "asterisk-1", "database show CustomDevstate")
    assert "0 results" in slot  # nothing of this was kept as the other server's own


async def asterisk(cluster: Cluster, pod: str, command: str) -> str:
    """What its command line answers."""
    return await cluster.kubectl("exec", pod, "-n", "voice", "--", "asterisk", "-rx", command)


async def members(cluster: Cluster, summary: str) -> bool:
    found = await cluster.get("evfed", "pbx", "voice")
    return bool(found.get("status", {}).get("members", {}).get("summary") == summary)


async def test_pods_that_came_first_are_members_within_90_s_of_the_eventfederation(
    voice: Cluster, measure: Measure
) -> None:
    await apply(voice, *(file for file in FILES if file != FEDERATION))
    await voice.kubectl("rollout", "status", "statefulset/asterisk", "-n", "voice", "--timeout=60s")
    began = time.monotonic()
    await apply(voice, FEDERATION)
    await voice.wait("condition=Ready", "evfed/pbx", "-n", "voice", within=READY)
    assert await members(voice, "2/2")
    measure(
        "EventFederation applied, pods first, until ready (the kubelet brings the Secret)", time.monotonic() - began
    )


async def test_a_voicemail_and_a_busy_device_cross_from_a_pod_to_pods_on_both_nodes(
    pbx: ClusterPbx, measure: Measure
) -> None:
    nodes = [pod.node for pod in pbx.pods]
    assert set(nodes) == set(await pbx.cluster.workers())
    # Of three pods two share a node, whichever the scheduler chose: from one of these to both nodes.
    first = next(pod for pod in pbx.pods if nodes.count(pod.node) > 1)
    others = [pod for pod in pbx.pods if pod is not first]
    times: dict[str, list[float]] = {"device": [], "voicemail": []}
    for number in range(20):
        state = DeviceState.BUSY if number % 2 == 0 else DeviceState.NOT_INUSE
        times["device"].append(await crossing(first, others, "Custom:lamp1", state))
    for number in range(1, 6):
        here = asyncio.create_task(first.wait_mailbox("1001@default", MailboxCounts(number, 0)))
        there = [asyncio.create_task(pod.wait_mailbox("1001@default", MailboxCounts(number, 0))) for pod in others]
        await asyncio.sleep(0.2)
        await first.leave_voicemail("1001@default", by="call" if number == 1 else "spool")
        known = await here
        times["voicemail"].append(max(0.0, max([await one for one in there]) - known))
    async with first.phone_in_use("1001"):
        await pbx.wait_device("PJSIP/1001", DeviceState.INUSE)
    await pbx.wait_device("PJSIP/1001", DeviceState.UNAVAILABLE)
    for name, some in times.items():
        measure(f"{name}: pod to the last of two pods on both nodes, median", statistics.median(some) * 1000, "ms")
        measure(f"{name}: pod to the last of two pods on both nodes, worst", max(some) * 1000, "ms")


async def crossing(first: AsteriskPod, others: Sequence[AsteriskPod], device: str, state: DeviceState) -> float:
    """Seconds from the moment the first server knows until the last one does."""
    waits = [asyncio.create_task(pod.wait_device(device, state)) for pod in (first, *others)]
    await asyncio.sleep(0.2)
    await first.set_device(device, state)
    known, *seen = [await one for one in waits]
    return max(0.0, max(seen) - known)


async def test_a_selected_pod_without_the_snippet_is_not_configured_and_told_the_lines_to_add(
    make_pbx: PbxFactory,
) -> None:
    pbx = await make_pbx(replicas=1)
    service, stateful_set = pbx.asterisk_documents()[2:]
    pod = stateful_set["spec"]["template"]["spec"]
    for one in (*pod["containers"], *pod["initContainers"]):
        one["volumeMounts"] = [mount for mount in one["volumeMounts"] if mount["name"] != "eventfed"]
    pod["volumes"] = [volume for volume in pod["volumes"] if volume["name"] != "eventfed"]
    await pbx.cluster.apply(pbx.namespace_document(), pbx.federation_document())
    await pbx.cluster.apply(*pbx.asterisk_documents()[:2], service, stateful_set)
    await pbx.attach()
    found = await pbx.wait_condition("NotConfigured", "MembersConfigured", within=60)
    assert found["status"] == "False"
    assert "pbx-asterisk" in found["message"]
    assert '#tryinclude "/etc/asterisk-eventfed/pjsip_eventfed.conf"' in found["message"]
    (noted,) = (await pbx.status())["notedMembers"]
    assert (noted["name"], noted["reason"]) == ("asterisk-0", "NotConfigured")
    # The lines of the message, taken at their word, make it a member.
    await pbx.cluster.apply(*pbx.asterisk_documents())
    await pbx.pods[0].attach(other_than=pbx.pods[0].uid)
    await pbx.wait_ready()


async def test_the_charts_own_test_passes(chart: Cluster) -> None:
    told = await chart.helm("test", "eventfed", "--namespace", "eventfed", "--logs", within=120)
    assert "Phase:          Succeeded" in told
    assert "NATS: with JetStream" in told


async def test_what_the_notes_say_to_apply_is_taken(chart: Cluster) -> None:
    notes = await chart.helm("get", "notes", "eventfed", "--namespace", "eventfed")
    text = notes.partition("<<EOF\n")[2].partition("  EOF")[0]
    (document,) = yaml.safe_load_all("\n".join(line.removeprefix("  ") for line in text.splitlines()))
    document["metadata"]["namespace"] = "default"
    await chart.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=yaml.safe_dump(document))
    assert document["spec"] == example(CHECKOUT, FEDERATION)[0]["spec"]


async def test_eventfederations_are_shown_with_their_state_to_people(pbx: ClusterPbx) -> None:
    head, line = (await pbx.cluster.kubectl("get", "evfed", "-n", pbx.namespace)).splitlines()
    assert head.split() == ["NAME", "READY", "MEMBERS", "AGENTS", "REASON", "AGE"]
    assert line.split()[:5] == ["pbx", "True", "3/3", "2/2", "Synced"]
    assert pbx.name in await pbx.cluster.kubectl("get", "eventfed", "-n", pbx.namespace)
