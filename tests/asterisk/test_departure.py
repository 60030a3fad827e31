"""Servers and agents that go for good take their states with them; those that come back in time do not blink."""

import asyncio
import sqlite3
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack, closing

import pytest

from eventfed import DeviceState
from eventfed_lab import SHORT_TIMES, AsteriskConfiguration, AsteriskRoot, AsteriskServer, MailboxCounts, Pbx
from tests.ground.fixture_types import Measure

GRACE = float(str(SHORT_TIMES["departure"]["grace_period"]))
LEASE = float(str(SHORT_TIMES["timing"]["lease_ttl"]))
BOX = "1001@default"
QUEUE = {"support": ("PJSIP/1001", "PJSIP/1002", "PJSIP/remoteonly")}
PHONES = {"1001": BOX, "1002": "1002@default"}
EVERYBODY = AsteriskConfiguration(phones=PHONES, queues=QUEUE)
LEAVER = AsteriskConfiguration(phones={**PHONES, "remoteonly": "1002@default"}, queues=QUEUE)
"""It alone has the endpoint remoteonly."""


def pbx_of(root: AsteriskRoot, *names: str, mailboxes: str = "Keep", grace: float = GRACE, lease: float = LEASE) -> Pbx:
    sections: Mapping[str, Mapping[str, object]] = {
        "departure": {"grace_period": grace, "mailbox_grace_period": grace, "mailboxes": mailboxes},
        "timing": {**SHORT_TIMES["timing"], "lease_ttl": lease},
    }
    return Pbx(root, names, configuration=EVERYBODY, configurations={"a": LEAVER}, sections=sections)


def server_of(pbx: Pbx, name: str) -> AsteriskServer:
    server = pbx[name]
    assert isinstance(server, AsteriskServer)
    return server


async def occupy(pbx: Pbx, stack: AsyncExitStack) -> None:
    """Three devices in use on a, and messages on a and b; until all servers show it."""
    a, b = server_of(pbx, "a"), server_of(pbx, "b")
    own = await stack.enter_async_context(b.phone("1002"))
    await own.register()
    for phone in ("1001", "1002", "remoteonly"):
        await stack.enter_async_context(a.phone_in_use(phone))
    for phone in ("1001", "1002", "remoteonly"):
        await pbx.wait_device(f"PJSIP/{phone}", DeviceState.INUSE)
    await a.leave_voicemail(BOX, 2, by="spool")
    await b.leave_voicemail(BOX, 1, by="spool")
    await pbx.wait_mailbox(BOX, MailboxCounts(3, 0))
    assert await hints(b) == ["InUse", "InUse", "InUse"]
    assert await b.call_queue("support") == []


async def hints(server: AsteriskServer) -> list[str]:
    return [await server.hint(extension) for extension in ("1001", "1002", "2001")]


async def wait_gone(server: AsteriskServer, within: float = 20.0) -> float:
    """Until the server shows its own states and nothing of a's."""
    await server.wait_device("PJSIP/1001", DeviceState.UNAVAILABLE, within)
    await server.wait_device("PJSIP/1002", DeviceState.NOT_INUSE, within)
    return await server.wait_device("PJSIP/remoteonly", DeviceState.INVALID, within)


@pytest.mark.parametrize(("mailboxes", "left"), [("Remove", MailboxCounts(1, 0)), ("Keep", MailboxCounts(3, 0))])
async def test_a_server_killed_for_good_takes_its_states_with_it(
    mailboxes: str, left: MailboxCounts, asterisk_root: AsteriskRoot, measure: Measure
) -> None:
    async with pbx_of(asterisk_root, "a", "b", mailboxes=mailboxes) as pbx, AsyncExitStack() as stack:
        await occupy(pbx, stack)
        b = server_of(pbx, "b")
        pbx["a"].kill()
        killed = time.monotonic()
        await asyncio.sleep(GRACE)
        assert await hints(b) == ["InUse", "InUse", "InUse"]
        gone = await wait_gone(b)
        assert gone - killed > GRACE
        measure(f"server killed for good, grace {GRACE:g} s: its states gone", gone - killed)
        assert await hints(b) == ["Unavailable", "Idle", "Unavailable"]
        # PJSIP/1002 is b's own, and free.
        assert await b.call_queue("support") == ["PJSIP/1002"]
        await b.wait_mailbox(BOX, left)
        await asyncio.sleep(GRACE)
        assert await b.mailbox_counts(BOX) == left


@pytest.mark.parametrize(
    ("mailboxes", "lease", "left"),
    [
        # Its own server's lease has lapsed as well, so that this server's states have to come back.
        ("Keep", LEASE, MailboxCounts(3, 0)),
        # Where mailboxes are removed, an agent must not be away for longer than lease and grace: only they and it
        # know what its server said of a mailbox that was overwritten.
        ("Remove", 20.0, MailboxCounts(1, 0)),
    ],
)
async def test_an_agent_that_was_away_while_a_server_died_replays_the_tombstones(
    mailboxes: str, lease: float, left: MailboxCounts, asterisk_root: AsteriskRoot, measure: Measure
) -> None:
    names = ("a", "b", "c")
    async with (
        pbx_of(asterisk_root, *names, mailboxes=mailboxes, lease=lease) as pbx,
        AsyncExitStack() as stack,
    ):
        await occupy(pbx, stack)
        b, c = server_of(pbx, "b"), server_of(pbx, "c")
        await b.set_device("Custom:lamp1", DeviceState.ONHOLD)
        await c.wait_device("Custom:lamp1", DeviceState.ONHOLD)
        pbx.agents["b"].kill()
        pbx["a"].kill()
        await c.wait_device("PJSIP/remoteonly", DeviceState.INVALID, 20)
        await c.wait_mailbox(BOX, left, 20)
        if lease == LEASE:
            await c.wait_device("Custom:lamp1", DeviceState.UNKNOWN, 20)
        assert await hints(b) == ["InUse", "InUse", "InUse"]
        started = time.monotonic()
        await pbx.agents["b"].start()
        gone = await wait_gone(b)
        measure("agent back after a server died: that server's states gone here too", gone - started)
        await b.wait_mailbox(BOX, left)
        assert await hints(b) == ["Unavailable", "Idle", "Unavailable"]
        assert await b.call_queue("support") == ["PJSIP/1002"]
        await pbx.wait_synced("b")
        assert await b.mailbox_counts(BOX) == left
        assert await c.mailbox_counts(BOX) == left
        await c.wait_device("Custom:lamp1", DeviceState.ONHOLD)


async def test_an_agent_killed_for_good_takes_the_states_of_its_server_with_it(
    asterisk_root: AsteriskRoot, measure: Measure
) -> None:
    async with pbx_of(asterisk_root, "a", "b", mailboxes="Remove") as pbx, AsyncExitStack() as stack:
        await occupy(pbx, stack)
        b = server_of(pbx, "b")
        pbx.agents["a"].kill()
        killed = time.monotonic()
        gone = await wait_gone(b)
        await b.wait_mailbox(BOX, MailboxCounts(1, 0))
        measure(f"agent killed for good, lease {LEASE:g} s, grace {GRACE:g} s: states gone", gone - killed)
        # The lease's last renewal was a moment before the kill.
        assert gone - killed > LEASE + GRACE - 1.5
        assert await hints(b) == ["Unavailable", "Idle", "Unavailable"]
        assert await b.call_queue("support") == ["PJSIP/1002"]


async def wait_on_disk(server: AsteriskServer, device: str) -> None:
    """Asterisk writes its database once a second: a device set a moment before the end is lost with it."""
    key = device.replace("Custom:", "/CustomDevstate/")
    async with asyncio.timeout(10):
        while True:
            with closing(sqlite3.connect(server.folder / "varlib/astdb.sqlite3")) as database:
                if database.execute("select value from astdb where key = ?", [key]).fetchone():
                    return
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    "who",
    [
        # One that takes leave and one that does not, a server and an agent; the other two take 20 s each.
        "server stopped gracefully",
        "agent killed",
        pytest.param("server killed", marks=pytest.mark.long),
        pytest.param("agent stopped", marks=pytest.mark.long),
    ],
)
async def test_nothing_blinks_when_it_comes_back_within_the_grace(who: str, asterisk_root: AsteriskRoot) -> None:
    grace = 6.0
    async with pbx_of(asterisk_root, "a", "b", mailboxes="Remove", grace=grace) as pbx:
        a, b = server_of(pbx, "a"), server_of(pbx, "b")
        await a.set_device("Custom:lamp1", DeviceState.RINGING)
        await a.leave_voicemail(BOX, 1, by="spool")
        await pbx.wait_device("Custom:lamp1", DeviceState.RINGING)
        await pbx.wait_mailbox(BOX, MailboxCounts(1, 0))
        await wait_on_disk(a, "Custom:lamp1")
        async with b.phone("1001") as phone:
            lamp = await phone.subscribe("message-summary", "1001")
            field = await phone.subscribe("dialog", "2000")
            await lamp.wait_for(lambda seen: seen.messages_waiting)
            await field.wait_for(lambda seen: seen.dialog_state == "early")
            # Its first dumps, which come with pauses, must not end in what is looked at.
            await pbx.wait_quiet(still=3)
            before = len(lamp.notifications), len(field.notifications)
            with b.ami.events("DeviceStateChange", "MessageWaiting") as events:
                match who:
                    case "server killed":
                        a.kill()
                    case "server stopped gracefully":
                        await a.stop_gracefully()
                    case "agent killed":
                        pbx.agents["a"].kill()
                    case "agent stopped":
                        await pbx.agents["a"].stop()
                away = time.monotonic()
                await asyncio.sleep(1)
                if who.startswith("server"):
                    await a.start()
                else:
                    await pbx.agents["a"].start()
                await pbx.wait_synced()
                # A grace that was not ended would end by then, no matter who is to make the tombstones.
                await asyncio.sleep(max(1.0, away + LEASE + grace + 3 - time.monotonic()))
                told = [(f"{at - away:+.2f} s", dict(message.headers)) for at, message in events.drain()]
                assert not told, "\n".join(map(str, told))
            assert (len(lamp.notifications), len(field.notifications)) == before
