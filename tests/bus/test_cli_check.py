"""``eventfed check`` against a real agent, whose server and whose NATS go."""

import asyncio
import sys

from eventfed_lab import AgentProcess, Pbx
from tests.ground.strangers import eventually


async def check(agent: AgentProcess) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "eventfed_cli", "check", "--config", str(agent.file), "--format", "nagios",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


async def test_a_monitoring_system_sees_an_agent_its_server_and_its_nats_go() -> None:
    async with Pbx(None, ("a",)) as pbx:
        agent = pbx.agents["a"]
        code, line = await check(agent)
        assert (code, line.partition(" | ")[0]) == (0, "EVENTFED OK - 1 members synced")
        assert " synced=1 " in line
        await pbx.nats.stop()

        async def lost() -> bool:
            return await agent.metric("eventfed_bus_connected") == 0

        await eventually(lost)
        code, line = await check(agent)
        assert code == 2
        assert line.startswith("EVENTFED CRITICAL - NATS is not connected")
        await agent.stop()
        code, line = await check(agent)
        assert code == 2
        assert "no agent answers at http://" in line
