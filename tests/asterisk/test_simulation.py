"""The simulated server answers its agent as a real one does: the same requests to both."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from sipmessage import Request, Response

from eventfed import EID, DeviceState
from eventfed.asterisk_config import pjsip_snippet
from eventfed_lab import AsteriskConfiguration, MailboxCounts, Server, SimulatedServer, allot
from eventfed_lab._sip import SipSocket, answer
from tests.ground.fixture_types import AsteriskFactory

TOKEN = "token-of-the-lab-1"
FOREIGN = "02:00:00:00:00:0f"
DEVICES, MAILBOXES = "asterisk-devicestate", "asterisk-mwi"


class Agent:
    """Accepts all publications and sends what a test asks for."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Any]] = []
        """(event, body) of each PUBLISH, the body as JSON or None; ``"leave"`` for Expires: 0."""
        self.arrived = asyncio.Event()
        self.server: Server
        self.socket: SipSocket
        self._number = 0

    def handle(self, request: Request, source: tuple[str, int]) -> Response:
        body = json.loads(request.body) if request.body else None
        self.heard.append((request.headers["Event"], "leave" if request.expires == 0 else body))
        self.arrived.set()
        response = answer(request, 200, "OK")
        response.headers.set("SIP-ETag", "x")
        response.headers.set("Expires", "60")
        return response

    async def send(
        self,
        body: object = None,
        *,
        event: str = DEVICES,
        etag: str | None = None,
        expires: int = 60,
        token: str | None = TOKEN,
        resource: str = "eventfed",
        method: str = "PUBLISH",
    ) -> Response:
        self._number += 1
        host = self.server.host
        uri = f"sip:{resource}@{host}:{self.server.sip_port}"
        request = self.socket.request(
            method,
            uri,
            caller=f"<sip:agent@{host}>;tag=a",
            callee=f"<{uri}>",
            call_id=f"call-{self._number}",
            number=self._number,
        )
        if method == "PUBLISH":
            request.headers.set("Event", event)
            request.headers.set("Expires", str(expires))
        if etag is not None:
            request.headers.set("SIP-If-Match", etag)
        if token is not None:
            request.headers.set("X-Eventfed-Token", token)
        if body is not None:
            request.headers.set("Content-Type", "application/json")
            request.body = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.socket.send(request, (host, self.server.sip_port), within=5)

    async def wait_heard(self, wanted: Callable[[str, Any], bool], after: int = 0) -> int:
        """Number of the first PUBLISH from `after` on that `wanted` accepts."""
        async with asyncio.timeout(10):
            while True:
                for number in range(after, len(self.heard)):
                    if wanted(*self.heard[number]):
                        return number
                self.arrived.clear()
                await self.arrived.wait()


def state(device: str, value: str, eid: str = FOREIGN, cachable: object = 1) -> dict[str, object]:
    return {"type": "devicestate", "device": device, "state": value, "cachable": cachable, "eid": eid}


def counts(new: int, old: int, mailbox: str = "1001@default", eid: str = FOREIGN) -> dict[str, object]:
    return {"type": "mailboxstate", "uniqueid": mailbox, "old": old, "new": new, "eid": eid}


@pytest.fixture(params=["asterisk", "simulated"])
async def agent(request: pytest.FixtureRequest, asterisk: AsteriskFactory) -> AsyncIterator[Agent]:
    agent = Agent()
    with allot() as address:
        agent.socket = await SipSocket.open(address.host, address.sip_port, agent.handle)
        try:
            if request.param == "asterisk":
                snippet = pjsip_snippet(agent_host=address.host, agent_port=address.sip_port, token=TOKEN)
                agent.server = await asterisk(configuration=AsteriskConfiguration(pjsip_snippet=snippet))
                yield agent
            else:
                async with SimulatedServer("s", agent=(address.host, address.sip_port), tokens=(TOKEN,)) as server:
                    agent.server = server
                    yield agent
        finally:
            await agent.socket.close()


async def test_it_starts_with_a_refresh_and_then_tells_its_own_states(agent: Agent) -> None:
    server = agent.server
    await agent.wait_heard(lambda _, body: body == {"type": "refresh", "eid": str(server.eid)})
    await agent.wait_heard(lambda event, body: event == DEVICES and body.get("device") == "PJSIP/1001")
    await agent.wait_heard(lambda event, body: event == MAILBOXES and body.get("uniqueid") == "1001@default")
    assert {event for event, body in agent.heard if body["type"] == "refresh"} == {DEVICES, MAILBOXES}
    assert {body["eid"] for _, body in agent.heard} == {str(server.eid)}
    for event in (DEVICES, MAILBOXES):
        assert next(body for name, body in agent.heard if name == event)["type"] == "refresh"


async def test_its_answers_to_right_and_wrong_publications(agent: Agent) -> None:
    body = state("PJSIP/remoteonly", "INUSE")
    assert (await agent.send(body, token=None)).code == 401
    assert (await agent.send(body, token="wrong-token")).code == 401
    assert (await agent.send(body, resource="nobody")).code == 404
    assert (await agent.send(body, event="presence")).code == 489
    assert (await agent.send(body, etag="77777")).code == 412
    assert (await agent.send(body, expires=0)).code == 412
    assert (await agent.send()).code == 400
    assert (await agent.send(b"{")).code == 500
    assert (await agent.send({"type": "devicestate", "device": "x", "state": "BUSY", "cachable": 1})).code == 500
    assert (await agent.send({"type": "nonsense", "eid": FOREIGN})).code == 500
    assert (await agent.send(method="OPTIONS")).code == 404
    assert await agent.server.device_state("PJSIP/remoteonly") == DeviceState.INVALID
    first = await agent.send(body)
    assert (first.code, first.headers["SIP-ETag"], first.headers["Expires"]) == (200, "3", "60")  # refused bodies count
    second = await agent.send(state("PJSIP/remoteonly", "ringing"), etag="3")
    assert (second.code, second.headers["SIP-ETag"]) == (200, "4")
    assert (await agent.send(body, etag="3")).code == 412
    assert await agent.server.device_state("PJSIP/remoteonly") == DeviceState.RINGING
    assert (await agent.send(etag="4")).code == 200  # renewal
    spoilt = await agent.send(b"{", etag="5")
    assert spoilt.code == 200
    assert (await agent.send(body, etag=spoilt.headers["SIP-ETag"])).code == 412


async def test_states_of_several_eids_aggregate_and_unknown_withdraws(agent: Agent) -> None:
    server, device = agent.server, "PJSIP/remoteonly"
    other = "02:00:00:00:00:1f"

    async def inject(value: str, eid: str) -> DeviceState:
        assert (await agent.send(state(device, value, eid))).code == 200
        return await server.device_state(device)

    assert await inject("INUSE", FOREIGN) == DeviceState.INUSE
    assert await inject("RINGING", other) == DeviceState.RINGINUSE
    assert await inject("NOT_INUSE", FOREIGN) == DeviceState.RINGING
    assert await server.hint("2001") == "Ringing"
    assert await inject("UNKNOWN", other) == DeviceState.NOT_INUSE
    assert await inject("INVALID", other) == DeviceState.NOT_INUSE
    assert await inject("INVALID", FOREIGN) == DeviceState.INVALID
    assert dict(await server.queue_members("support"))[device] == DeviceState.INVALID


async def test_cachable_must_be_the_integer_one(agent: Agent) -> None:
    for cachable in (True, "1", 0, None):
        assert (await agent.send(state("PJSIP/remoteonly", "BUSY", cachable=cachable))).code == 200
        assert await agent.server.device_state("PJSIP/remoteonly") == DeviceState.INVALID


async def test_a_probe_under_its_own_eid_comes_back_after_the_dump(agent: Agent) -> None:
    server = agent.server
    expected = await server.run_changes(120, 60)
    own = str(server.eid)
    probe = state("Custom:eventfed-probe-1", "NOT_INUSE", own, cachable=0)
    await agent.send(state("Custom:load1", "BUSY"))  # of another server: not for the dump
    await agent.wait_heard(lambda _, body: body["type"] == "devicestate" and body["device"] == "Custom:load59")
    await asyncio.sleep(0.2)
    start = len(agent.heard)
    assert (await agent.send({"type": "refresh", "eid": FOREIGN})).code == 200
    assert (await agent.send(probe)).code == 200
    end = await agent.wait_heard(lambda _, body: body.get("device") == "Custom:eventfed-probe-1", start)
    dump = {body["device"]: body["state"] for _, body in agent.heard[start:end]}
    assert {device: dump[device] for device in expected} == {name: value.name for name, value in expected.items()}
    assert {body["eid"] for _, body in agent.heard[start:end]} == {own}
    assert agent.heard[end][1]["cachable"] == 0
    assert await server.device_state("Custom:eventfed-probe-1") == DeviceState.UNKNOWN


async def test_a_probe_mailbox_under_its_own_eid_comes_back_after_the_dump_of_mailboxes(agent: Agent) -> None:
    """Also the second time, when the server tells in the dump what the first probe put into it."""
    server, probe = agent.server, "eventfed-probe@eventfed"
    own = str(server.eid)

    def says(mailbox: str, old: int) -> Callable[[str, Any], bool]:
        return lambda _, body: (body.get("uniqueid"), body.get("old")) == (mailbox, old)

    for mailbox in ("1001@default", "1002@default"):
        await agent.wait_heard(says(mailbox, 0))
    await asyncio.sleep(0.2)
    for old, told in ((7, []), (8, [7])):
        start = len(agent.heard)
        assert (await agent.send({"type": "refresh", "eid": FOREIGN}, event=MAILBOXES)).code == 200
        assert (await agent.send(counts(0, old, probe, own), event=MAILBOXES)).code == 200
        end = await agent.wait_heard(says(probe, old), start)
        dump = [body for event, body in agent.heard[start : end + 1] if event == MAILBOXES]
        assert {body["uniqueid"] for body in dump} == {"1001@default", "1002@default", probe}
        assert [body["old"] for body in dump if body["uniqueid"] == probe] == [*told, old]
        assert {body["eid"] for body in dump} == {own}
    await asyncio.sleep(0.2)
    assert {body.get("uniqueid") for event, body in agent.heard[end + 1 :] if event == MAILBOXES} <= {probe}


async def test_a_mailbox_has_one_slot_and_a_dump_omits_what_was_overwritten(agent: Agent) -> None:
    server, mailbox = agent.server, "1001@default"
    await server.leave_voicemail(mailbox, by="spool")
    await agent.wait_heard(lambda _, body: body.get("uniqueid") == mailbox and body["new"] == 1)
    assert (await agent.send(counts(4, 2), event=MAILBOXES)).code == 200
    await server.wait_mailbox(mailbox, MailboxCounts(4, 2))
    start = len(agent.heard)
    assert (await agent.send({"type": "refresh", "eid": FOREIGN}, event=MAILBOXES)).code == 200
    await agent.wait_heard(lambda _, body: body.get("uniqueid") == "1002@default", start)
    await asyncio.sleep(0.2)
    assert mailbox not in {body.get("uniqueid") for _, body in agent.heard[start:]}
    await server.leave_voicemail(mailbox, by="spool")
    assert await server.mailbox_counts(mailbox) == MailboxCounts(2, 0)


async def test_it_leaves_its_publications_when_it_stops_gracefully_and_forgets_others_states(agent: Agent) -> None:
    server = agent.server
    # Answers that Asterisk gets before it is fully booted do not count, so the second message has to be there.
    await agent.wait_heard(lambda _, body: body.get("uniqueid") == "1002@default")
    await agent.wait_heard(lambda _, body: body.get("device") == "PJSIP/1002")
    await agent.send(state("PJSIP/remoteonly", "BUSY"))
    await server.set_device("Custom:lamp1", DeviceState.ONHOLD)
    # With a message in flight Asterisk may end without leaving.
    await agent.wait_heard(lambda _, body: body.get("device") == "Custom:lamp1")
    await asyncio.sleep(0.2)
    await server.stop_gracefully()
    assert sorted(event for event, body in agent.heard if body == "leave") == [DEVICES, MAILBOXES]
    start = len(agent.heard)
    await server.start()
    await agent.wait_heard(lambda _, body: body == {"type": "refresh", "eid": str(server.eid)}, start)
    await agent.wait_heard(lambda _, body: body.get("device") == "Custom:lamp1", start)
    assert await server.device_state("PJSIP/remoteonly") == DeviceState.INVALID
    assert await server.device_state("Custom:lamp1") == DeviceState.ONHOLD


async def test_an_agent_away_for_a_moment_misses_nothing(agent: Agent) -> None:
    await agent.wait_heard(lambda _, body: body.get("device") == "PJSIP/1001")
    agent.socket.hang()
    start = len(agent.heard)
    for value in (DeviceState.RINGING, DeviceState.INUSE, DeviceState.NOT_INUSE):
        await agent.server.set_device("Custom:lamp1", value)
    await asyncio.sleep(0.7)
    agent.socket.resume()
    await agent.wait_heard(lambda _, body: body.get("state") == "NOT_INUSE", start)
    told = [body["state"] for _, body in agent.heard[start:] if body.get("device") == "Custom:lamp1"]
    assert told == ["RINGING", "INUSE", "NOT_INUSE"]


async def test_polling_puts_its_own_counts_over_an_injection(
    asterisk: AsteriskFactory,
) -> None:
    """Both at once: it takes the polling interval."""
    with allot() as address:
        agent = Agent()
        agent.socket = await SipSocket.open(address.host, address.sip_port, agent.handle)
        snippet = pjsip_snippet(agent_host=address.host, agent_port=address.sip_port, token=TOKEN)
        configuration = AsteriskConfiguration(pjsip_snippet=snippet, poll_mailboxes=True, poll_frequency=1)
        real = await asterisk(configuration=configuration, eid=EID.derive("real"))
        try:
            async with (
                SimulatedServer(
                    "s", agent=(address.host, address.sip_port), tokens=(TOKEN,), configuration=configuration
                ) as simulated,
                real.phone("1001") as phone,
            ):
                await phone.subscribe("message-summary", "1001")
                servers: list[Server] = [real, simulated]
                for server in servers:
                    agent.server = server
                    await agent.send(counts(4, 2), event=MAILBOXES)
                for server in servers:
                    await server.wait_mailbox("1001@default", MailboxCounts(0, 0), within=5)
        finally:
            await agent.socket.close()
