"""What an agent costs while nothing happens."""

import asyncio
import time

from eventfed_lab import AsteriskRoot, MailboxCounts, Pbx, process_figures
from tests.ground.fixture_types import Measure

_MEBIBYTE = 1 << 20
_OBSERVED = 20.0


async def test_an_idle_agent_uses_less_than_80_mib_and_less_than_1_percent_of_a_core(
    asterisk_root: AsteriskRoot, measure: Measure
) -> None:
    # With the times of production: empty sections take the place of the lab's short times.
    async with Pbx(asterisk_root, ("a",), sections={"departure": {}, "timing": {}}) as pbx:
        agent = pbx.agents["a"]
        assert "lease" not in agent.file.read_text()
        await pbx["a"].leave_voicemail("1001@default", by="spool")
        await pbx["a"].wait_mailbox("1001@default", MailboxCounts(1, 0))
        await asyncio.sleep(3)
        pid = agent.process.pid
        before, began = process_figures(pid), time.monotonic()
        await asyncio.sleep(_OBSERVED)
        after = process_figures(pid)
        used = (after.processor_seconds - before.processor_seconds) / (time.monotonic() - began)
        resident = after.resident_bytes / _MEBIBYTE
        measure("idle agent: core", 100 * used, "%")
        measure("idle agent: resident memory", resident, "MiB")
        assert used < 0.01
        assert resident < 80
        assert await agent.metric("eventfed_member_state", state="synced") == 1
        assert 1 <= await agent.metric("eventfed_tasks") < 100
