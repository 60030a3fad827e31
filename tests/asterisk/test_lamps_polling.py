"""``pollmailboxes=yes`` on one server: it answers each injection with its own count. That is found and told."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from eventfed_lab import SHORT_TIMES, AsteriskConfiguration, AsteriskRoot, Pbx

pytestmark = pytest.mark.asyncio(loop_scope="module")

LAMP = "1001@default"
PAUSE = 4.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pbx(asterisk_root: AsteriskRoot) -> AsyncIterator[Pbx]:
    polling = {"b": AsteriskConfiguration(poll_mailboxes=True, poll_frequency=1)}
    timing = {"timing": {**SHORT_TIMES["timing"], "contended_pause": PAUSE}}
    async with Pbx(asterisk_root, ("a", "b"), configurations=polling, sections=timing) as pbx:
        yield pbx


async def test_a_server_that_polls_is_found_told_and_injected_into_once_a_pause(pbx: Pbx) -> None:
    agent = pbx.agents["b"]

    async def injected() -> float:
        return await agent.metric("eventfed_member_injected_total", member="b")

    async with pbx.lamps() as lamps:
        await pbx["a"].leave_voicemail(LAMP, by="spool")
        deadline = time.monotonic() + 30
        while (found := (await agent.member_list())[0]["contended_mailboxes"]) != [LAMP]:
            assert time.monotonic() < deadline, found
            await asyncio.sleep(0.1)
        assert await agent.metric("eventfed_member_contended_mailboxes", member="b") == 1
        before, began = await injected(), time.monotonic()
        await asyncio.sleep(2.5 * PAUSE)
        pauses = (time.monotonic() - began) / PAUSE
        assert 1 <= await injected() - before <= pauses + 1
        assert agent.log.count("pollmailboxes") == 1
        # The others are none the worse for it.
        assert lamps["a"].notifications[-1].counts == (1, 0)
        assert (await pbx.agents["a"].member_list())[0]["contended_mailboxes"] == []


async def test_once_it_no_longer_polls_its_lamp_is_right(pbx: Pbx) -> None:
    b = pbx.asterisk("b")
    b.configuration = AsteriskConfiguration(pjsip_snippet=b.configuration.pjsip_snippet)
    async with pbx.lamps() as lamps:
        await b.restart()
        await pbx.wait_synced()
        await pbx.wait_quiet()
        await lamps.show(1, 0)
        assert (await pbx.agents["b"].member_list())[0]["contended_mailboxes"] == []
        await pbx["a"].delete_voicemail(LAMP)
        await lamps.show(0, 0)
