"""Voicemail lamps with ``voicemail_storage = "Separate"``: each server keeps its own messages, phones show the sum.

All three servers have the same ``voicemail.conf``.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import pytest_asyncio

from eventfed_lab import AsteriskRoot, AsteriskServer, MailboxCounts, Pbx, Subscription

pytestmark = pytest.mark.asyncio(loop_scope="module")

LAMP = "1001@default"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pbx(asterisk_root: AsteriskRoot) -> AsyncIterator[Pbx]:
    async with Pbx(asterisk_root) as pbx:
        yield pbx


@asynccontextmanager
async def lamps(pbx: Pbx) -> AsyncIterator[Mapping[str, Subscription]]:
    """A phone 1001 on each server that watches its mailbox; afterwards nobody has a message."""
    async with AsyncExitStack() as stack:
        found = {}
        for name in pbx.names:
            server = pbx[name]
            assert isinstance(server, AsteriskServer)
            phone = await stack.enter_async_context(server.phone("1001"))
            found[name] = await phone.subscribe("message-summary", "1001")
            await found[name].wait_for(lambda seen: True)
        yield found
        for name in pbx.names:
            await pbx[name].delete_voicemail(LAMP)
        await show(found, 0, 0)


async def show(lamps: Mapping[str, Subscription], new: int, old: int, within: float = 10.0) -> None:
    """Wait until the last word to every phone is these counts, with the lamp lit for new messages only."""
    async with asyncio.timeout(within):
        for lamp in lamps.values():
            while (last := lamp.notifications[-1]).counts != (new, old):
                await lamp.wait_for(lambda seen: True, after=len(lamp.notifications))
            assert last.messages_waiting == (new > 0)


async def quiet(pbx: Pbx) -> None:
    """Until nothing was heard from or put into any server for half a second."""
    names = ("eventfed_member_heard_total", "eventfed_member_injected_total")
    before: list[float] = []
    async with asyncio.timeout(15):
        while (now := [await agent.metric(name) for agent in pbx.agents.values() for name in names]) != before:
            before = now
            await asyncio.sleep(0.5)


async def test_a_call_into_voicemail_lights_every_lamp_and_hearing_it_puts_them_out(
    pbx: Pbx, measure: Callable[..., None]
) -> None:
    async with lamps(pbx) as lit:
        await pbx["a"].leave_voicemail(LAMP)
        await show(lit, 1, 0)
        times = {name: lamp.notifications[-1].at for name, lamp in lit.items()}
        measure("a voicemail on A, from A's own lamp to B's and C's", max(times.values()) - times["a"])
        await pbx["a"].hear_voicemail(LAMP)
        await show(lit, 0, 1)


async def test_deleting_messages_and_a_refresh_of_voicemail_put_every_lamp_out(pbx: Pbx) -> None:
    async with lamps(pbx) as lit:
        await pbx["b"].leave_voicemail(LAMP, 3, by="spool")
        await show(lit, 3, 0)
        await pbx["b"].delete_voicemail(LAMP)
        await show(lit, 0, 0)


async def test_messages_on_several_servers_add_up(pbx: Pbx) -> None:
    async with lamps(pbx) as lit:
        await pbx["a"].leave_voicemail(LAMP, 1, by="spool")
        await pbx["b"].leave_voicemail(LAMP, 2, by="spool")
        await pbx["c"].leave_voicemail(LAMP, 4, by="spool")
        await show(lit, 7, 0)
        await pbx["b"].hear_voicemail(LAMP, by="spool")
        await show(lit, 5, 2)
        await pbx["c"].delete_voicemail(LAMP)
        await show(lit, 1, 2)


async def test_a_replica_that_restarts_changes_no_lamp_of_another_server(
    pbx: Pbx, measure: Callable[..., None]
) -> None:
    b = pbx["b"]
    async with lamps(pbx) as lit:
        await pbx["a"].leave_voicemail(LAMP)
        await show(lit, 1, 0)
        others = {name: lit[name] for name in ("a", "c")}
        before = {name: len(lamp.notifications) for name, lamp in lit.items()}
        for _ in range(3):
            own = len(lit["b"].notifications)
            await b.restart()
            booted = time.monotonic()
            # Asterisk keeps the subscription, and its first word about it is from an empty cache.
            right = await lit["b"].wait_for(lambda seen: seen.counts == (1, 0), after=own)
            await pbx.wait_synced("b")
            taken = max(0.0, right.at - booted)
            measure("B's lamp right after B was fully booted", taken)
            assert taken < 3
            await quiet(pbx)
            assert lit["b"].notifications[-1].counts == (1, 0)
        for name, lamp in others.items():
            assert {seen.counts for seen in lamp.notifications[before[name] :]} <= {(1, 0)}
        for name in pbx.names:
            assert await pbx[name].mailbox_counts(LAMP) == MailboxCounts(1, 0)
        await b.leave_voicemail(LAMP)
        await show(lit, 2, 0)
        await pbx["a"].hear_voicemail(LAMP)
        await show(lit, 1, 1)


async def test_a_mailbox_of_one_server_alone_lights_lamps_on_all(pbx: Pbx) -> None:
    """1003 is in no ``voicemail.conf`` but can be left messages for all the same: nobody else announces it."""
    await pbx["a"].leave_voicemail("1002@default", 2, by="spool")
    await pbx.wait_mailbox("1002@default", MailboxCounts(2, 0))
    assert await pbx["c"].mailbox_counts(LAMP) == MailboxCounts(0, 0)
    await pbx["a"].delete_voicemail("1002@default")
    await pbx.wait_mailbox("1002@default", MailboxCounts(0, 0))
