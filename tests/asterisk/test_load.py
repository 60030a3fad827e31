"""Many changes, many requests for everything, and a server that joins late: what everybody shows in the end."""

import asyncio
import random
import statistics
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import nats
import pytest

from eventfed import DeviceState, Federation
from eventfed_lab import (
    AsteriskConfiguration,
    AsteriskRoot,
    AsteriskServer,
    MailboxCounts,
    Pbx,
    Subscription,
)
from tests.ground.fixture_types import Measure

QUIET = 1.0
"""Seconds without a state on the bus after which all is quiet."""


def real(pbx: Pbx, name: str) -> AsteriskServer:
    server = pbx[name]
    assert isinstance(server, AsteriskServer)
    return server


async def wrong_states(server: AsteriskServer, truth: Mapping[str, DeviceState]) -> list[str]:
    """Devices that the server shows in another state than the true one."""
    shown = await asyncio.gather(*(server.device_state(device) for device in truth))
    return [device for (device, state), seen in zip(truth.items(), shown, strict=True) if seen is not state]


async def wait_right(truth: Mapping[str, DeviceState], *servers: AsteriskServer, within: float) -> float:
    """Wait until the servers show the truth; the ``time.monotonic()`` of the last one's."""

    async def wait(server: AsteriskServer) -> float:
        deadline, left = time.monotonic() + within, truth
        # What was right is asked for again only in the end: each question costs the server as much as a change.
        while wrong := await wrong_states(server, left) or await wrong_states(server, truth):
            left = {device: truth[device] for device in wrong}
            assert time.monotonic() < deadline, f"{server.name}: {len(wrong)} of {len(truth)} wrong: {wrong[:5]}"
            await asyncio.sleep(0.1)
        return time.monotonic()

    return max(await asyncio.gather(*map(wait, servers)))


class BusTraffic:
    """Counts the states on the bus, as a plain NATS client sees them."""

    def __init__(self) -> None:
        self.messages = 0
        self._last = time.monotonic()

    async def note(self, message: Any) -> None:
        self.messages += 1
        self._last = time.monotonic()

    async def wait_quiet(self, within: float) -> None:
        async with asyncio.timeout(within):
            while (left := self._last + QUIET - time.monotonic()) > 0:  # noqa: ASYNC110
                await asyncio.sleep(left)


@asynccontextmanager
async def bus_traffic(pbx: Pbx) -> AsyncIterator[BusTraffic]:
    traffic = BusTraffic()
    client: Any = await nats.connect(pbx.nats.url)
    await client.subscribe(f"eventfed.{pbx.agents['a'].federation}.*.state.>", cb=traffic.note)
    await client.flush()
    try:
        yield traffic
    finally:
        await client.close()


@pytest.mark.timeout(300)
async def test_of_20000_changes_every_last_state_is_right_everywhere_and_then_all_is_quiet(
    asterisk_root: AsteriskRoot, measure: Measure
) -> None:
    async with Pbx(asterisk_root) as pbx, bus_traffic(pbx) as traffic:
        a, b, c = (real(pbx, name) for name in "abc")
        began = time.monotonic()
        truth = await a.run_changes(20_000, 100)
        made = time.monotonic()
        assert len(truth) == 100
        assert set(truth.values()) == {DeviceState.INUSE, DeviceState.NOT_INUSE}
        await traffic.wait_quiet(within=150)
        right = await wait_right(truth, b, c, within=30)
        measure("20,000 changes made by Asterisk", made - began)
        measure("20,000 changes right everywhere", right - QUIET - began)
        measure("20,000 changes: states on the bus", traffic.messages, "messages")
        assert traffic.messages >= 100
        before = traffic.messages
        await asyncio.sleep(5)
        assert traffic.messages == before, "states went over the bus while nothing changed"
        for server in (a, b, c):
            assert await wrong_states(server, truth) == []


@pytest.mark.timeout(300)
async def test_after_1000_refreshes_during_500_changes_a_second_no_state_is_wrong(
    asterisk_root: AsteriskRoot, measure: Measure, capsys: pytest.CaptureFixture[str]
) -> None:
    devices, a_second, refreshes, seconds = 2_000, 500, 1_000, 30
    async with Pbx(asterisk_root) as pbx, bus_traffic(pbx) as traffic:
        a, b, c = (real(pbx, name) for name in "abc")
        truth = await a.run_changes(devices, devices, "Custom:many")
        await wait_right(truth, b, c, within=60)
        agent = pbx.agents["a"]
        dumps = await agent.metric("eventfed_member_dumps_total")
        changes, asked, stop = 0, 0, asyncio.Event()

        async def change() -> None:
            nonlocal changes
            began = time.monotonic()
            while not stop.is_set():
                names = random.sample(list(truth), a_second // 20)
                for name in names:
                    truth[name] = random.choice([state for state in DeviceState if state is not DeviceState.UNKNOWN])
                await asyncio.gather(*(a.set_device(name, truth[name]) for name in names))
                changes += len(names)
                await asyncio.sleep(max(0.0, began + changes / a_second - time.monotonic()))

        async def refresh() -> None:
            nonlocal asked
            async with Federation.connect(pbx.nats.url, federation=agent.federation, agent="asker") as federation:
                assert await federation.wait_synced(10)
                began = time.monotonic()
                for asked in range(1, refreshes + 1):
                    await federation.request_refresh(a.eid)
                    await asyncio.sleep(max(0.0, began + asked * seconds / refreshes - time.monotonic()))
            stop.set()

        began = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(change())
            tasks.create_task(refresh())
        stopped = time.monotonic()
        reasons = await agent.metric("eventfed_member_dump_reasons_total", reason="requested")
        right = await wait_right(truth, a, b, c, within=150)
        await traffic.wait_quiet(within=90)
        made = await agent.metric("eventfed_member_dumps_total") - dumps
        for server in (a, b, c):
            assert await wrong_states(server, truth) == []
        measure("changes during 1,000 refreshes", changes / (stopped - began), "per second")
        measure("right after 1,000 refreshes", right - stopped)
        measure("dumps made for 1,000 refreshes", made, "dumps")
        with capsys.disabled():
            print(
                f"\n{asked} refreshes during {changes} changes: {made:.0f} dumps, right {right - stopped:.2f} s after"
            )
        assert reasons == refreshes
        assert changes > 0.8 * a_second * seconds
        assert made >= 2


# --- a server that joins late ---

BOXES = tuple(f"{number}@default" for number in range(3000, 3200))
EVERYTHING = f"[everything]\ntype = aor\nmailboxes = {','.join(BOXES)}\n"
REPLICA = AsteriskConfiguration(mailboxes=("1001@default", "1002@default", *BOXES), pjsip_extra=EVERYTHING)


def messages(number: int) -> MailboxCounts:
    """What the spool of a box holds: of the first half on A, of the second on B."""
    return MailboxCounts(1 + number % 3, number % 2)


async def fill(server: AsteriskServer, numbers: range) -> None:
    for number in numbers:
        counts = messages(number)
        server.spool.add(BOXES[number], counts.old)
        server.spool.hear(BOXES[number])
        server.spool.add(BOXES[number], counts.new)
    await asyncio.gather(*(server.refresh_voicemail(BOXES[number]) for number in numbers))


def slowdown() -> float:
    """How much longer a busy thread takes at this moment than if nothing else ran on the machine; 1 if nothing does."""
    began, used = time.perf_counter(), time.thread_time()
    while time.thread_time() - used < 0.1:
        pass
    return max(1.0, (time.perf_counter() - began) / (time.thread_time() - used))


async def wait_sum(lamp: Subscription, within: float) -> float:
    """Wait until the lamp of all boxes shows the sum of all messages; when it was told so."""
    counts = [messages(number) for number in range(len(BOXES))]
    total = MailboxCounts(sum(one.new for one in counts), sum(one.old for one in counts))
    return (await lamp.wait_for(lambda seen: seen.counts == total, within)).at


@pytest.mark.timeout(240)
async def test_a_server_that_starts_has_1000_states_and_200_mailboxes_within_3_seconds_and_nobody_blinks(
    asterisk_root: AsteriskRoot, measure: Measure
) -> None:
    async with Pbx(asterisk_root, ("a", "b"), configuration=REPLICA) as pbx, AsyncExitStack() as stack:
        a, b = real(pbx, "a"), real(pbx, "b")
        truth = await a.run_changes(500, 500, "Custom:first") | await b.run_changes(500, 500, "Custom:second")
        await fill(a, range(100))
        await fill(b, range(100, 200))
        lamps: list[Subscription] = []
        for server in (a, b):
            phone = await stack.enter_async_context(server.phone("watcher"))
            lamps += [await phone.subscribe("message-summary", "everything")]
            await wait_sum(lamps[-1], within=30)
            lamps += [
                await phone.subscribe("message-summary", f"watch-{box.replace('@', '-at-')}") for box in BOXES[::20]
            ]
            lamps += [await phone.subscribe("dialog", extension) for extension in ("1001", "2000", "2001")]
        await wait_right(truth, a, b, within=30)

        pbx.add("c", stack)
        c = real(pbx, "c")
        await pbx.agents["c"].start()
        async with bus_traffic(pbx) as traffic:
            await traffic.wait_quiet(within=30)
        told = [len(lamp.notifications) for lamp in lamps]
        assert min(told) >= 1
        times = []
        for run in range(3):
            slow = slowdown()
            await c.start()
            booted = time.monotonic()
            async with c.phone("watcher") as phone:
                lamp = await phone.subscribe("message-summary", "everything")
                devices_at = await wait_right(truth, c, within=20)
                mailboxes_at = await wait_sum(lamp, within=20)
            took = max(0.0, devices_at - booted, mailboxes_at - booted)
            slow = (slow + slowdown()) / 2
            measure(f"joins with 1,000 states and 200 mailboxes, run {run + 1}", took)
            measure(f"joins: slowdown by what else runs here, run {run + 1}", slow, "times")
            times.append(took / slow)
            await pbx.wait_synced("c")
            shown = [await c.mailbox_counts(box) for box in BOXES]
            assert shown == [messages(number) for number in range(len(BOXES))]
            await c.stop_now()
        measure("joins with 1,000 states and 200 mailboxes, median on a quiet machine", statistics.median(times))
        assert statistics.median(times) < 3
        assert [len(lamp.notifications) for lamp in lamps] == told, "a phone of another server blinked"
