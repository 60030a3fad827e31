"""A federation of pods that is left alone does nothing but renew leases, prolong publications and report."""

import asyncio
import os
import time
from collections import Counter
from contextlib import AsyncExitStack

import pytest

from eventfed import Federation
from eventfed_lab import Cluster, ClusterPbx, MailboxCounts
from tests.ground.fixture_types import Measure
from tests.ground.kind_faults import agents as agents_of
from tests.ground.kind_faults import federation_of, on_bus
from tests.ground.kind_nats import as_user, stream_info
from tests.ground.left_alone import BusTraffic, counted, follow

pytestmark = pytest.mark.asyncio(loop_scope="session")

SERVERS = 3
PUBLICATIONS = 2
EXPIRATION, LEASE_RENEWAL, REPORT = 60.0, 5.0, 5.0
"""Of production, in seconds."""
SETTLED = 20.0
_HTTP = 9466
MINUTES = float(os.environ.get("EVENTFED_IDLE_MINUTES", "10"))


async def _metrics(address: str) -> str:
    reader, writer = await asyncio.open_connection(address, _HTTP)
    try:
        writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
        return (await reader.read()).partition(b"\r\n\r\n")[2].decode()
    finally:
        writer.close()


async def _agents(pbx: ClusterPbx) -> Counter[str]:
    pods = await agents_of(pbx)
    assert pods
    return counted(await asyncio.gather(*(_metrics(pod["status"]["podIP"]) for pod in pods)))


async def _stored(pbx: ClusterPbx, reader: Federation) -> Counter[str]:
    """How many messages the stream has taken, by kind. What is neither a state nor a roster is a lease."""
    view, rosters = reader.view, reader.rosters
    info = await stream_info(pbx.cluster, reader.subjects.stream)
    states = sum(view.changes_of(eid) for eid in view.leases)
    return Counter(all=info["state"]["last_seq"], states=states, rosters=sum(map(rosters.sequence, rosters.known)))


@pytest.mark.long
@pytest.mark.timeout(2 * 60 * MINUTES + 300)
async def test_a_federation_of_pods_that_is_left_alone_renews_leases_and_does_nothing_else(
    chart: Cluster, measure: Measure
) -> None:
    async with AsyncExitStack() as stack:
        pbx = await stack.enter_async_context(federation_of(chart, SERVERS))
        await pbx.wait_ready()
        first = pbx.names[0]
        await pbx[first].leave_voicemail("1001@default")
        for name in pbx.names:
            await pbx[name].wait_mailbox("1001@default", MailboxCounts(1, 0))
        await asyncio.sleep(SETTLED)
        reader = await stack.enter_async_context(on_bus(pbx))
        root = f"eventfed.{reader.subjects.federation}.local"
        agent = await stack.enter_async_context(as_user(chart, "agent"))
        passing = await follow(agent, [f"{root}.refresh", f"{root}.refresh.*", f"{root}.event.>"])
        operator = await stack.enter_async_context(as_user(chart, "operator"))
        reports = await follow(operator, [f"{root}.report.*"])
        agents, stored, began = await _agents(pbx), await _stored(pbx, reader), time.monotonic()
        await asyncio.sleep(60 * MINUTES)
        seconds = time.monotonic() - began
        did = await _agents(pbx)
        did.subtract(agents)
        took = await _stored(pbx, reader)
        took.subtract(stored)
        _check(did, took, passing, reports, seconds)
        assert (await pbx.condition())["status"] == "True"
    measure("idle pods: dumps", did["dumps"], "")
    measure("idle pods: injections", did["injections"], "")
    measure("idle pods: messages beside leases and reports", took["states"] + sum(passing.kinds.values()), "")


def _check(did: Counter[str], took: Counter[str], passing: BusTraffic, reports: BusTraffic, seconds: float) -> None:
    told = f"{seconds:.0f} s: {dict(did)}, stored {dict(took)}, passing {dict(passing.kinds)}, {dict(reports.kinds)}"
    print(told)
    # One sweep an hour, to a tenth, asks each server for a dump without any evidence.
    sweeps = SERVERS * int(seconds / (0.9 * 3600))
    assert did["dumps"] <= sweeps, told
    quiet = set(did) - {"dumps", "publications prolonged", "renewals of states", "states heard"}
    assert {what: did[what] for what in quiet if did[what]} == {}, told
    assert sweeps or not did["states heard"], told
    assert took["states"] == did["renewals of states"], told
    assert took["rosters"] == 0, told
    assert passing.kinds == {}, told
    # That nothing happens proves something only where the timers ran.
    periods = int(seconds / EXPIRATION)
    assert did["publications prolonged"] >= SERVERS * PUBLICATIONS * periods, told
    leases = took["all"] - took["states"]
    expected = SERVERS * seconds / LEASE_RENEWAL
    assert 0.7 * expected <= leases <= 1.1 * expected + SERVERS, told
    assert reports.kinds["report"] >= 0.7 * seconds / REPORT, told
