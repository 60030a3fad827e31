"""A spool that several servers share: what a server still has to say of before is no news, however late it comes."""

import asyncio

from eventfed import Federation
from eventfed_lab import AsteriskConfiguration, MailboxCounts, Pbx, SimulatedServer

LAMP = "1001@default"
NAMES = ("a", "b", "c")
SLOW = AsteriskConfiguration(mailboxes=(*(f"{3000 + number}@default" for number in range(200)), LAMP))
QUICK = AsteriskConfiguration(mailboxes=())
"""It says nothing of mailboxes at its start, so that nobody's counts come into those of the slow server."""


def queue_of(server: SimulatedServer) -> int:
    """How many words of mailboxes it has yet to say."""
    return len(server._outbound["asterisk-mwi"].queue)


def has_yet_to_say(server: SimulatedServer, mailbox: str) -> bool:
    return any(mailbox.encode() in body for body in server._outbound["asterisk-mwi"].queue)


async def test_a_dump_whose_mailboxes_are_still_on_their_way_is_no_news_over_a_new_message() -> None:
    """B tells of 201 mailboxes, of which the lamp's is the last one; A's word of it overtakes that."""
    async with Pbx(
        None,
        NAMES,
        configurations={"a": QUICK, "b": SLOW, "c": QUICK},
        events=[{"type": "mwi", "voicemail_storage": "Shared"}, {"type": "device_state"}],
    ) as pbx:
        servers = {name: pbx[name] for name in NAMES}
        slow = servers["b"]
        assert isinstance(slow, SimulatedServer)
        async with Federation.connect(pbx.nats.url, federation="lab", agent="test") as federation:
            assert await federation.wait_synced(10)
            while queue_of(slow):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            await federation.request_refresh()
            async with asyncio.timeout(10):
                while not has_yet_to_say(slow, LAMP):  # noqa: ASYNC110
                    await asyncio.sleep(0)
        await servers["a"].leave_voicemail(LAMP)
        await slow.wait_mailbox(LAMP, MailboxCounts(1, 0))
        overtaken = has_yet_to_say(slow, LAMP)
        async with asyncio.timeout(20):
            while queue_of(slow):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await pbx.wait_quiet(1.0)
        assert overtaken
        assert {name: await servers[name].mailbox_counts(LAMP) for name in NAMES} == dict.fromkeys(
            NAMES, MailboxCounts(1, 0)
        )
        # What was said before, once it has been heard, is news when it is said again.
        await slow.delete_voicemail(LAMP)
        for name in NAMES:
            await servers[name].wait_mailbox(LAMP, MailboxCounts(0, 0))
