"""Voicemail lamps with ``voicemail_storage = "Shared"``: one spool behind all servers, phones show the latest news."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

import pytest
import pytest_asyncio

from eventfed import EID, EventType, Federation
from eventfed_agent.members.names import PROBE_MAILBOX
from eventfed_lab import AsteriskRoot, AsteriskUnavailable, Lamps, MailboxCounts, Pbx, obtain_asterisk

pytestmark = pytest.mark.asyncio(loop_scope="module")

LAMP = "1001@default"
EVENTS = [{"type": "mwi", "voicemail_storage": "Shared"}, {"type": "device_state"}]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pbx(asterisk_root: AsteriskRoot) -> AsyncIterator[Pbx]:
    async with Pbx(asterisk_root, events=EVENTS, shared_spool=True) as pbx:
        yield pbx


@asynccontextmanager
async def lamps_of(pbx: Pbx) -> AsyncIterator[Lamps]:
    """The lamps; afterwards the spool is empty, and all know."""
    async with pbx.lamps() as lamps:
        yield lamps
        await pbx["a"].delete_voicemail(LAMP)
        await lamps.show(0, 0)


async def refresh_all(pbx: Pbx) -> None:
    """What ``eventfed refresh`` does: ask every agent to have its server tell everything again."""
    async with Federation.connect(pbx.nats.url, federation="lab", agent="test") as federation:
        assert await federation.wait_synced(10)
        dumps = {name: await pbx.agents[name].metric("eventfed_member_dumps_total") for name in pbx.names}
        await federation.request_refresh()
        for name, before in dumps.items():
            while await pbx.agents[name].metric("eventfed_member_dumps_total") == before:
                pass
    await pbx.wait_quiet()


async def foreign_devices(pbx: Pbx, eid: EID) -> int:
    """How many device states other servers have."""
    async with Federation.connect(pbx.nats.url, federation="lab", agent="test") as federation:
        assert await federation.wait_synced(10)
        states = federation.view.states
        return sum(key.type is EventType.DEVICE_STATE_CHANGE and key.eid != eid for key in states)


async def test_a_message_left_on_a_and_heard_through_b_is_old_everywhere(pbx: Pbx) -> None:
    async with lamps_of(pbx) as lamps:
        await pbx["a"].leave_voicemail(LAMP)
        await lamps.show(1, 0)
        await pbx["b"].hear_voicemail(LAMP)
        await lamps.show(0, 1)
        await pbx["c"].delete_voicemail(LAMP)
        await lamps.show(0, 0)


async def test_every_server_counts_the_one_spool_and_not_the_others(pbx: Pbx) -> None:
    async with lamps_of(pbx) as lamps:
        for number, name in enumerate(pbx.names, 1):
            await pbx[name].leave_voicemail(LAMP, 1, by="spool")
            await lamps.show(number, 0)
        lamps.mark()
        for name in pbx.names:
            await pbx.asterisk(name).refresh_voicemail(LAMP)
        await refresh_all(pbx)
        assert {name: lamps.history(name) for name in pbx.names} == {name: [(3, 0)] for name in pbx.names}


@pytest.mark.parametrize("heard", [False, True], ids=["a new message", "a message that was heard"])
async def test_what_a_server_said_before_the_news_does_not_win_when_it_says_it_again(pbx: Pbx, heard: bool) -> None:
    """C's own word of before, still in its slot, comes back in its agent's answer to ``refresh``."""
    c, agent = pbx.asterisk("c"), pbx.agents["c"]
    async with lamps_of(pbx) as lamps:
        stale, news = MailboxCounts(0, 0), MailboxCounts(1, 0)
        if heard:
            await pbx["a"].leave_voicemail(LAMP, by="spool")
            await lamps.show(1, 0)
            stale, news = MailboxCounts(1, 0), MailboxCounts(0, 1)
        await agent.stop()
        await c.refresh_voicemail(LAMP)
        if heard:
            await pbx["b"].hear_voicemail(LAMP)
        else:
            await pbx["a"].leave_voicemail(LAMP)
        await lamps.show(*news, on=("a", "b"))
        assert await c.mailbox_counts(LAMP) == stale
        lamps.mark()
        await agent.start()
        await lamps.show(*news)
        await pbx.wait_synced()
        await refresh_all(pbx)
        assert lamps.history("a") == lamps.history("b") == [news]
        assert lamps.history("c") == [stale, news]


async def test_a_server_that_restarts_changes_no_lamp(pbx: Pbx) -> None:
    async with lamps_of(pbx) as lamps:
        await pbx["a"].leave_voicemail(LAMP, 2, by="spool")
        await lamps.show(2, 0)
        lamps.mark()
        await pbx["b"].restart()
        await pbx.wait_synced()
        await pbx.wait_quiet()
        await lamps.show(2, 0)
        assert lamps.history("a") == lamps.history("c") == [(2, 0)]
        await pbx["b"].hear_voicemail(LAMP, by="spool")
        await lamps.show(0, 2)


async def test_a_restart_a_reload_and_an_agents_restart_give_everything_and_only_the_first_makes_news(
    pbx: Pbx,
) -> None:
    """The agent asks for a dump and gives the server all states of the others; old counts become news by a start."""
    b, agent = pbx.asterisk("b"), pbx.agents["b"]

    async def counts() -> tuple[float, float, float]:
        injected, dumps, starts = [
            await agent.metric(f"eventfed_member_{what}_total") for what in ("injected", "dumps", "restarts")
        ]
        return injected, dumps, starts

    async def gave_everything(before: tuple[float, float, float]) -> float:
        """Wait for it; how many starts of the server the agent saw."""
        await pbx.wait_quiet(1.0)
        await pbx.wait_synced()
        after = await counts()
        assert after[0] - before[0] >= states
        assert after[1] > before[1]
        return after[2] - before[2]

    async with lamps_of(pbx) as lamps:
        await pbx["a"].leave_voicemail(LAMP, 2, by="spool")
        await lamps.show(2, 0)
        await pbx.wait_quiet()
        states = await foreign_devices(pbx, b.eid)
        assert states >= 6
        before = await counts()
        await b.ami.command("module reload res_pjsip_publish_asterisk.so")
        assert await gave_everything(before) == 0
        before = await counts()
        await b.restart()
        # One refresh in each of its two publications.
        assert await gave_everything(before) == 2
        await agent.stop()
        await agent.start()
        assert await gave_everything((0, 0, 0)) == 0
        await lamps.show(2, 0)


@pytest.mark.parametrize("version", [16, 22])
async def test_each_dump_ends_with_the_probe_mailbox_of_which_no_other_server_hears(version: int) -> None:
    """A mark is random: had it crossed, two servers would show the same one."""
    try:
        root = await asyncio.to_thread(obtain_asterisk, print, version=version)
    except AsteriskUnavailable as error:
        pytest.skip(f"no real Asterisk {version}: {error}")
    marks: dict[str, set[str]] = {}
    with ExitStack() as stack:
        async with Pbx(root, events=EVENTS) as pbx:
            listeners = {
                name: stack.enter_context(pbx.asterisk(name).ami.events("MessageWaiting")) for name in pbx.names
            }
            for _ in range(2):
                await refresh_all(pbx)
            for name in pbx.names:
                heard = [message for _, message in listeners[name].drain() if message["Mailbox"] == PROBE_MAILBOX]
                assert {message["New"] for message in heard} == {"0"}
                marks[name] = {message["Old"] for message in heard}
                assert len(marks[name] - {"0"}) >= 2
            # A message is left all the same, and the lamp of the other server follows.
            await pbx["a"].leave_voicemail(LAMP)
            await pbx["b"].wait_mailbox(LAMP, MailboxCounts(1, 0))
            assert len(set.union(*marks.values())) == sum(map(len, marks.values()))
            assert [name for name in pbx.names if "probe_unheard" in pbx.agents[name].log] == []
            async with Federation.connect(pbx.nats.url, federation="lab", agent="test") as federation:
                assert await federation.wait_synced(10)
                assert PROBE_MAILBOX not in {key.key for key in federation.view.states}
            for name in pbx.names:
                assert PROBE_MAILBOX not in await pbx.agents[name].get("/metrics")
