"""IPv6 between phones, Asterisk, agents and NATS: nothing here has another address than ``::1``."""

from eventfed import DeviceState
from eventfed_lab import AsteriskRoot, AsteriskServer, MailboxCounts, Pbx
from tests.ground.fixture_types import Measure

LAMP = "1001@default"


async def test_states_and_lamps_cross_over_ipv6(asterisk_root: AsteriskRoot, measure: Measure) -> None:
    async with Pbx(asterisk_root, ("a", "b"), ipv6=True) as pbx:
        assert {server.host for server in pbx.servers.values()} == {"::1"}
        assert {agent.host for agent in pbx.agents.values()} == {"::1"}
        assert pbx.nats.url.startswith("nats://[::1]:")
        a, b = pbx["a"], pbx["b"]
        assert isinstance(b, AsteriskServer)
        await a.set_device("Custom:lamp1", DeviceState.INUSE)
        measure("device state over IPv6", await pbx.wait_device("Custom:lamp1", DeviceState.INUSE))
        await b.set_device("Custom:lamp1", DeviceState.BUSY)
        await pbx.wait_device("Custom:lamp1", DeviceState.BUSY)
        async with b.phone("1001") as phone:
            lamp = await phone.subscribe("message-summary", "1001")
            await a.leave_voicemail(LAMP)
            lit = await lamp.wait_for(lambda seen: seen.messages_waiting)
            assert lit.counts == MailboxCounts(1, 0)
            before = len(lamp.notifications)
            await a.hear_voicemail(LAMP, by="spool")
            await lamp.wait_for(lambda seen: not seen.messages_waiting, after=before)
        await b.restart()
        await pbx.wait_synced()
        await pbx.wait_device("Custom:lamp1", DeviceState.BUSY)
        await pbx.wait_mailbox(LAMP, MailboxCounts(0, 1))
