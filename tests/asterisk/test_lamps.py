"""Voicemail lamps with ``voicemail_storage = "Separate"``: each server keeps its own messages, phones show the sum.

All three servers have the same ``voicemail.conf``, but for one mailbox that only A has.
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import pytest_asyncio

from eventfed_lab import AsteriskConfiguration, AsteriskRoot, Lamps, MailboxCounts, Pbx
from tests.ground.fixture_types import Measure

pytestmark = pytest.mark.asyncio(loop_scope="module")

LAMP = "1001@default"
ON_A_ONLY = "1003@default"
ON_A = replace(AsteriskConfiguration(), mailboxes=(*AsteriskConfiguration().mailboxes, ON_A_ONLY))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pbx(asterisk_root: AsteriskRoot) -> AsyncIterator[Pbx]:
    async with Pbx(asterisk_root, configurations={"a": ON_A}) as pbx:
        yield pbx


@asynccontextmanager
async def lamps_of(pbx: Pbx) -> AsyncIterator[Lamps]:
    """The lamps; afterwards nobody has a message."""
    async with pbx.lamps() as lamps:
        yield lamps
        for name in pbx.names:
            await pbx[name].delete_voicemail(LAMP)
        await lamps.show(0, 0)


async def test_a_call_into_voicemail_lights_every_lamp_and_hearing_it_puts_them_out(pbx: Pbx, measure: Measure) -> None:
    async with lamps_of(pbx) as lamps:
        await pbx["a"].leave_voicemail(LAMP)
        await lamps.show(1, 0)
        last = {name: lamp.notifications[-1] for name, lamp in lamps.subscriptions.items()}
        assert all(seen.messages_waiting for seen in last.values())
        measure("a voicemail on A, from A's own lamp to B's and C's", max(s.at for s in last.values()) - last["a"].at)
        await pbx["a"].hear_voicemail(LAMP)
        await lamps.show(0, 1)
        assert not any(lamp.notifications[-1].messages_waiting for lamp in lamps.subscriptions.values())


async def test_deleting_messages_and_a_refresh_of_voicemail_put_every_lamp_out(pbx: Pbx) -> None:
    async with lamps_of(pbx) as lamps:
        await pbx["b"].leave_voicemail(LAMP, 3, by="spool")
        await lamps.show(3, 0)
        await pbx["b"].delete_voicemail(LAMP)
        await lamps.show(0, 0)


async def test_messages_on_several_servers_add_up(pbx: Pbx) -> None:
    async with lamps_of(pbx) as lamps:
        await pbx["a"].leave_voicemail(LAMP, 1, by="spool")
        await pbx["b"].leave_voicemail(LAMP, 2, by="spool")
        await pbx["c"].leave_voicemail(LAMP, 4, by="spool")
        await lamps.show(7, 0)
        await pbx["b"].hear_voicemail(LAMP, by="spool")
        await lamps.show(5, 2)
        await pbx["c"].delete_voicemail(LAMP)
        await lamps.show(1, 2)


async def test_a_mailbox_that_only_one_server_has_lights_lamps_on_all(pbx: Pbx) -> None:
    await pbx["a"].leave_voicemail(ON_A_ONLY, 2, by="spool")
    await pbx.wait_mailbox(ON_A_ONLY, MailboxCounts(2, 0))
    assert await pbx["c"].mailbox_counts(LAMP) == MailboxCounts(0, 0)
    await pbx["a"].delete_voicemail(ON_A_ONLY)
    await pbx.wait_mailbox(ON_A_ONLY, MailboxCounts(0, 0))


async def test_a_replica_that_restarts_changes_no_lamp_of_another_server(pbx: Pbx, measure: Measure) -> None:
    b = pbx["b"]
    async with lamps_of(pbx) as lamps:
        await pbx["a"].leave_voicemail(LAMP)
        await lamps.show(1, 0)
        lamps.mark()
        for _ in range(3):
            before = len(lamps["b"].notifications)
            await b.restart()
            booted = time.monotonic()
            # Asterisk keeps the subscription over its restart; its first words about it are its own empty mailbox.
            right = await lamps["b"].wait_for(lambda seen: seen.counts == (1, 0), after=before)
            taken = max(0.0, right.at - booted)
            measure("B's lamp right after B was fully booted", taken)
            assert taken < 3
            await pbx.wait_synced("b")
            await pbx.wait_quiet()
            await lamps.show(1, 0)
        assert lamps.history("a") == lamps.history("c") == [(1, 0)]
        for name in pbx.names:
            assert await pbx[name].mailbox_counts(LAMP) == MailboxCounts(1, 0)
        await b.leave_voicemail(LAMP)
        await lamps.show(2, 0)
        await pbx["a"].hear_voicemail(LAMP)
        await lamps.show(1, 1)


async def test_voicemail_that_is_reloaded_everywhere_leaves_the_lamps_right(pbx: Pbx) -> None:
    """A reload announces every mailbox again, each server's with its own counts alone."""
    async with lamps_of(pbx) as lamps:
        await pbx["a"].leave_voicemail(LAMP, 1, by="spool")
        await pbx["c"].leave_voicemail(LAMP, 2, by="spool")
        await lamps.show(3, 0)
        for name in pbx.names:
            await pbx.asterisk(name).cli("module reload app_voicemail.so")
        await pbx.wait_quiet()
        await lamps.show(3, 0)
