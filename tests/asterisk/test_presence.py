"""Device states cross, and everything on the receiving server that shows a device agrees."""

import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TypeVar

import pytest
import pytest_asyncio

from eventfed import DeviceState, aggregate_device_state
from eventfed_lab import (
    AmiEvents,
    AmiMessage,
    AsteriskConfiguration,
    AsteriskRoot,
    AsteriskServer,
    Notification,
    Pbx,
    Subscription,
    hint_text,
)
from tests.ground.fixture_types import Measure

T = TypeVar("T")

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTABLE = [state for state in DeviceState if state is not DeviceState.UNKNOWN]
"""``Custom:`` devices cannot be set to UNKNOWN: Asterisk takes it for "ask the provider"."""

EVERYWHERE = AsteriskConfiguration(hints={**AsteriskConfiguration().hints, "2002": "Custom:each"})
ON_A = replace(EVERYWHERE, phones={**EVERYWHERE.phones, "remoteonly": "1001@default"})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pbx(asterisk_root: AsteriskRoot) -> AsyncIterator[Pbx]:
    async with Pbx(asterisk_root, configuration=EVERYWHERE, configurations={"a": ON_A}) as pbx:
        yield pbx


class Watch:
    """All that shows one device on one server."""

    def __init__(self, server: AsteriskServer, device: str, extension: str) -> None:
        self.server = server
        self.device = device
        self.extension = extension
        self._stack = AsyncExitStack()
        self._seen = 0

    async def __aenter__(self) -> "Watch":
        phone = await self._stack.enter_async_context(self.server.phone("1002"))
        self.dialogs: Subscription = await phone.subscribe("dialog", self.extension)
        await self.dialogs.wait_for(lambda seen: True)
        self.devices: AmiEvents = self._stack.enter_context(self.server.ami.events("DeviceStateChange"))
        self.hints: AmiEvents = self._stack.enter_context(self.server.ami.events("ExtensionStatus"))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def agrees(self, state: DeviceState, *, within: float = 10.0) -> None:
        """AMI, subscription, hint, ``DEVICE_STATE()`` and queue all come to show the state."""
        deadline = time.monotonic() + within
        device, hint = (self.device, state.name), (self.extension, hint_text(state))
        await self.devices.wait_for(lambda event: (event["Device"], event["State"]) == device, within)
        await self.hints.wait_for(lambda event: (event["Exten"], event["StatusText"]) == hint, within)
        await self.dialogs.wait_for(lambda seen: shows(seen, state), within, after=self._seen)
        self._seen = len(self.dialogs.notifications)
        await until(self.server.hint, self.extension, hint_text(state), deadline)
        await until(self.server.device_state, self.device, state, deadline)
        await until(self._queue_member, self.device, state, deadline)

    async def _queue_member(self, device: str) -> DeviceState:
        return dict(await self.server.queue_members("support"))[device]


def shows(notification: Notification, state: DeviceState) -> bool:
    dialog = {DeviceState.RINGING: "early", DeviceState.INUSE: "confirmed", DeviceState.ONHOLD: "confirmed"}
    held = state is DeviceState.ONHOLD
    return notification.dialog_state == dialog.get(state, "terminated") and notification.held == held


async def until(read: Callable[[str], Awaitable[T]], name: str, wanted: T, deadline: float) -> None:
    while (found := await read(name)) != wanted:
        assert time.monotonic() < deadline, f"{name} is {found}, not {wanted}"


@pytest.mark.parametrize(
    ("phone", "extension"), [("1001", "1001"), ("remoteonly", "2001")], ids=["a device B knows", "one it does not"]
)
async def test_a_call_on_a_takes_all_that_b_shows_of_the_phone_through_its_states(
    pbx: Pbx, phone: str, extension: str
) -> None:
    a, device = pbx.asterisk("a"), f"PJSIP/{phone}"
    async with a.phone(phone) as called, a.phone("1002") as other, Watch(pbx.asterisk("b"), device, extension) as seen:
        await called.register()
        await seen.agrees(DeviceState.NOT_INUSE)
        await other.register()
        await a.call_phone(phone, "1002")
        call = await called.next_call()
        await seen.agrees(DeviceState.RINGING)
        await call.answer()
        await seen.agrees(DeviceState.INUSE)
        far = await other.next_call()
        with a.ami.events("BridgeEnter") as bridged:
            await far.answer()
            # Asterisk does not tell a hold to a channel that is not bridged yet.
            for _ in ("one leg", "the other leg"):
                await bridged.next()
        await far.hold()
        await seen.agrees(DeviceState.ONHOLD)
        await far.unhold()
        await seen.agrees(DeviceState.INUSE)
        await call.hang_up()
        await seen.agrees(DeviceState.NOT_INUSE)
        await called.register(0)
        await seen.agrees(DeviceState.UNAVAILABLE)
        await other.register(0)


async def test_every_state_passes_and_every_change_between_two_of_them(pbx: Pbx) -> None:
    a, device = pbx.asterisk("a"), "Custom:each"
    path = [state for one in SETTABLE for other in SETTABLE if one != other for state in (one, other)]
    for state in path:
        await a.set_device(device, state)
        await pbx.wait_device(device, state, on=("b", "c"))
        for name in ("b", "c"):
            await until(pbx[name].hint, "2002", hint_text(state), time.monotonic() + 10)


async def test_two_servers_states_of_one_device_add_up_by_asterisks_rank(pbx: Pbx) -> None:
    """All ordered pairs at once, each with a device of its own, so that no value can be a leftover."""
    pairs = {f"Custom:pair-{one.name}-{other.name}": (one, other) for one in SETTABLE for other in SETTABLE}
    before = await injected(pbx)
    for device, (one, other) in pairs.items():
        await pbx["a"].set_device(device, one)
        await pbx["b"].set_device(device, other)
    expected = {"a": len(pairs), "b": len(pairs), "c": 2 * len(pairs)}
    deadline = time.monotonic() + 20
    while (now := await injected(pbx)) != {name: before[name] + count for name, count in expected.items()}:
        assert time.monotonic() < deadline, (before, now)
    for name in pbx.names:
        seen = {device: await pbx[name].device_state(device) for device in pairs}
        assert seen == {device: aggregate_device_state(pair) for device, pair in pairs.items()}


async def injected(pbx: Pbx) -> dict[str, float]:
    return {name: await pbx.agents[name].metric("eventfed_member_injected_total") for name in pbx.names}


async def test_a_phone_in_a_call_on_one_server_and_ringing_on_another_is_both(pbx: Pbx) -> None:
    b, device = pbx.asterisk("b"), "PJSIP/1001"
    async with pbx["a"].phone_in_use("1001"):
        await pbx.wait_device(device, DeviceState.INUSE)
        async with b.phone("1001") as phone, Watch(pbx.asterisk("c"), device, "1001") as seen:
            await phone.register()
            await b.call_phone("1001")
            call = await phone.next_call()
            await pbx.wait_device(device, DeviceState.RINGINUSE)
            assert await seen.server.hint("1001") == "InUse&Ringing"
            call.reject()
            await pbx.wait_device(device, DeviceState.INUSE)
            await phone.register(0)
    await pbx.wait_device(device, DeviceState.UNAVAILABLE)


def tells(device: str, state: DeviceState) -> Callable[[AmiMessage], bool]:
    return lambda event: (event["Device"], event["State"]) == (device, state.name)


async def test_how_long_a_state_takes_from_a_to_b(pbx: Pbx, measure: Measure) -> None:
    a, b = pbx.asterisk("a"), pbx.asterisk("b")
    taken = []
    with b.ami.events("DeviceStateChange") as events:
        for number in range(50):
            state = DeviceState.INUSE if number % 2 == 0 else DeviceState.NOT_INUSE
            began = time.monotonic()
            await a.set_device("Custom:latency", state)
            at, _ = await events.wait_for(tells("Custom:latency", state))
            taken.append((at - began) * 1000)
    measure("a device state, set on A, seen on B (median of 50)", statistics.median(taken), "ms")
    measure("a device state, set on A, seen on B (longest of 50)", max(taken), "ms")
    assert statistics.median(taken) < 200
