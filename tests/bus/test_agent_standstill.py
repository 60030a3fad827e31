"""An agent that stood still for longer than its lease, as on a paused virtual machine, and goes on."""

import asyncio

import nats
from nats.aio.msg import Msg

from eventfed import Event, Subjects, decode_envelope
from eventfed_lab import MailboxCounts, Pbx

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
