"""Voicemail lamps with ``injection = "Beside"``: phones list the mailbox and the others' sum beside it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

import pytest
import pytest_asyncio

from eventfed_lab import AsteriskConfiguration, AsteriskRoot, MailboxCounts, Pbx

pytestmark = pytest.mark.asyncio(loop_scope="module")

LAMP, BESIDE = "1001@default", "1001@eventfed"
EVENTS = [{"type": "mwi", "voicemail_storage": "Separate", "injection": "Beside"}, {"type": "device_state"}]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pbx(asterisk_root: AsteriskRoot) -> AsyncIterator[Pbx]:
    phones = AsteriskConfiguration(phones={"1001": f"{LAMP},{BESIDE}", "1002": "1002@default"})
    async with Pbx(asterisk_root, configuration=phones, events=EVENTS) as pbx:
        yield pbx


async def test_every_phone_shows_each_right_sum_and_nothing_else(pbx: Pbx) -> None:
    """Steps in which only one server speaks: anyone who shows anything but the sums before and after has blinked."""
    async with pbx.lamps() as lamps:
        steps: list[tuple[Callable[[str], Awaitable[None]], int, int]] = [
            (pbx["a"].leave_voicemail, 1, 0),
            (pbx["b"].leave_voicemail, 2, 0),
            (pbx["a"].leave_voicemail, 3, 0),
            (partial(pbx["a"].hear_voicemail, by="spool"), 1, 2),
            (pbx["b"].hear_voicemail, 0, 3),
            (pbx["a"].delete_voicemail, 0, 1),
            (pbx["b"].delete_voicemail, 0, 0),
        ]
        for act, new, old in steps:
            await act(LAMP)
            await lamps.show(new, old)
        await pbx.wait_quiet()
        for name in pbx.names:
            assert lamps.history(name) == [(0, 0), *((new, old) for _, new, old in steps)]


async def test_a_replica_that_restarts_changes_no_lamp_and_each_server_keeps_its_own_count(pbx: Pbx) -> None:
    async with pbx.lamps() as lamps:
        await pbx["a"].leave_voicemail(LAMP, 2, by="spool")
        await pbx["b"].leave_voicemail(LAMP, 1, by="spool")
        await lamps.show(3, 0)
        lamps.mark()
        await pbx["b"].restart()
        await lamps.show(3, 0)
        await pbx.wait_synced()
        await pbx.wait_quiet()
        await lamps.show(3, 0)
        assert lamps.history("a") == lamps.history("c") == [(3, 0)]
        own = {name: await pbx[name].mailbox_counts(LAMP) for name in pbx.names}
        assert own == {"a": MailboxCounts(2, 0), "b": MailboxCounts(1, 0), "c": MailboxCounts(0, 0)}
        for name in ("a", "b"):
            await pbx[name].delete_voicemail(LAMP)
        await lamps.show(0, 0)
