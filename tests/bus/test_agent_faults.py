"""An agent that stands still for longer than its lease, as on a paused virtual machine, or dies with what it heard."""

import asyncio

import nats
from nats.aio.msg import Msg

from eventfed import Event, Subjects, decode_envelope
from eventfed_lab import SHORT_TIMES, MailboxCounts, Pbx

LEASE = 4.0
MAILBOX = "1001@default"


async def test_what_a_member_said_meanwhile_is_not_overwritten_once_its_lease_was_checked() -> None:
    said: list[int] = []

    async def on_message(message: Msg) -> None:
        said.append(decode_envelope(message.data).counts.new)

    async with Pbx(None, ("a", "b")) as pbx:
        first, second = pbx.servers.values()
        await first.leave_voicemail(MAILBOX)
        await second.wait_mailbox(MAILBOX, MailboxCounts(1, 0))
        listener = await nats.connect(pbx.nats.url)
        state = Event.mailbox(MAILBOX, 1, 0, first.eid).state_key
        await listener.subscribe(Subjects("lab", "local").state(state), cb=on_message)
        await listener.flush()
        pbx.agents["a"].hang()
        await asyncio.sleep(LEASE + 1)
        await first.leave_voicemail(MAILBOX, 5)
        pbx.nats.hang()
        pbx.agents["a"].resume()
        await asyncio.sleep(0.5)  # It is heard before the lease can be looked at.
        pbx.nats.resume()
        for server in (first, second):
            await server.wait_mailbox(MAILBOX, MailboxCounts(6, 0))
        await pbx.wait_quiet()
        await listener.close()
    # Not the 1 that the stream still had when the lease was seen to be held. A dump would mend that, but not of a
    # mailbox that was injected into.
    assert set(said) == {6}


async def test_counts_that_an_agent_heard_while_nats_was_away_are_not_lost_with_it() -> None:
    async with Pbx(None, ("a", "b")) as pbx:
        first, second = pbx.servers.values()
        await second.leave_voicemail(MAILBOX)
        await first.wait_mailbox(MAILBOX, MailboxCounts(1, 0))
        # From here on the first server leaves the mailbox out of its dumps, so its own next word is all that there is.
        await pbx.nats.stop()
        await first.leave_voicemail(MAILBOX, 4)
        await asyncio.sleep(0.5)
        pbx.agents["a"].kill()
        await pbx.nats.start()
        await pbx.agents["a"].start()
        for server in (first, second):
            await server.wait_mailbox(MAILBOX, MailboxCounts(5, 0))


async def test_a_server_does_not_wait_for_nats_without_end_and_then_the_agent_keeps_its_counts() -> None:
    timing = {**SHORT_TIMES["timing"], "mailbox_answer": 1.0}
    async with Pbx(None, ("a", "b"), sections={"timing": timing}) as pbx:
        first, second = pbx.servers.values()
        agent = pbx.agents["a"]
        await pbx.nats.stop()
        await first.leave_voicemail(MAILBOX, 4)
        async with asyncio.timeout(5):
            while not await agent.metric("eventfed_mailbox_answers_waiting"):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            while not await agent.metric("eventfed_mailbox_answers_early_total"):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert await agent.metric("eventfed_mailbox_answers_waiting") == 0
        await pbx.nats.start()
        await second.wait_mailbox(MAILBOX, MailboxCounts(4, 0))
