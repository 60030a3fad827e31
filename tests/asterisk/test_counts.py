"""Counts that no server has: what Asterisk can hold is shown, and nothing else suffers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgpack
import nats
import pytest

from eventfed import EID, MAX_COUNT, DeviceState, Event, Subjects, encode_envelope
from eventfed_agent.pjsip.payloads import MWI_PACKAGE, build_payload
from eventfed_agent.pjsip.sip import Address, Bind, OutboundPublication, Publisher, Response, SecretHeader, UserAgent
from eventfed_lab import AsteriskConfiguration, AsteriskRoot, MailboxCounts, Pbx, allot
from tests.ground.strangers import crosses, real

FIRST, SECOND = "1001@default", "1002@default"
MOST = 2**32 - 1


@asynccontextmanager
async def three_servers(root: AsteriskRoot, injection: str) -> AsyncIterator[Pbx]:
    mwi: dict[str, object] = {"type": "mwi", "voicemail_storage": "Separate", "injection": injection}
    beside = injection == "Beside"
    phones = {
        box.partition("@")[0]: f"{box},{box.partition('@')[0]}@eventfed" if beside else box for box in (FIRST, SECOND)
    }
    configuration = AsteriskConfiguration(phones=phones)
    async with Pbx(root, configuration=configuration, events=[mwi, {"type": "device_state"}]) as pbx:
        yield pbx


async def announce(pbx: Pbx, name: str, mailbox: str, new: int) -> None:
    """Make a server believe, and publish, that it has so many messages of its own."""
    server = real(pbx, name)
    to = Address(server.host, server.sip_port)
    with allot() as address:
        async with UserAgent([Bind(address.host, 0)], lambda request, source: Response.answer(request, 405)) as sender:
            publication = OutboundPublication(MWI_PACKAGE, to, secret=SecretHeader(pbx.agents[name].token))
            told = await Publisher(sender, to, publication).publish(
                build_payload(Event.mailbox(mailbox, new, 0, server.eid))
            )
            assert told.accepted


def envelope_of(mailbox: str, new: int, eid: EID) -> bytes:
    """An envelope that no program of the project would write."""
    body: dict[str, Any] = msgpack.unpackb(encode_envelope(Event.mailbox(mailbox, 7, 0, eid, time=1.0)))
    body["i"] = [[number, new if value == 7 else value] for number, value in body["i"]]
    packed: bytes = msgpack.packb(body)
    return packed


@pytest.mark.parametrize("injection", ["InPlace", "Beside"])
async def test_counts_beyond_what_asterisk_holds_end_nothing_and_lamps_show_the_largest_number(
    asterisk_root: AsteriskRoot, injection: str
) -> None:
    largest = MailboxCounts(MAX_COUNT, 0)
    async with three_servers(asterisk_root, injection) as pbx:
        servers = [real(pbx, name) for name in pbx.names]
        async with pbx.lamps("1001") as first, pbx.lamps("1002") as second:
            # Three servers, two of which announce the largest number that there is.
            await announce(pbx, "c", FIRST, 1)
            await first.show(1, 0)
            for name in ("a", "b"):
                await announce(pbx, name, FIRST, MAX_COUNT)
            await first.show(*largest)
            await crosses(servers[1], servers[0], servers[2])

            # Two envelopes of what no Asterisk can count.
            client = await nats.connect(pbx.nats.url)
            for number in range(2):
                state = Event.mailbox(SECOND, 7, 0, EID.derive(f"forged {number}")).state_key
                await client.publish(Subjects("lab").state(state), envelope_of(SECOND, MOST, state.eid))
            await client.close()
            await second.show(*largest)
            await crosses(servers[0], servers[1], servers[2])

            # They stand on the stream, so anyone who starts afterwards reads them.
            for agent in pbx.agents.values():
                await agent.stop()
                await agent.start()
            await pbx.wait_synced()
            await crosses(servers[2], servers[0], servers[1])
            await first.show(*largest)
            await second.show(*largest)

            # And a lamp goes down again.
            for name in ("a", "b"):
                await announce(pbx, name, FIRST, 0)
            await first.show(1, 0)
        for agent in pbx.agents.values():
            assert await agent.metric("eventfed_member_failures_total") == 0
            assert await agent.metric("eventfed_member_injections_unbuildable_total") == 0
            assert "Traceback" not in agent.log
        assert await servers[0].device_state("Custom:lamp1") is DeviceState.INUSE
