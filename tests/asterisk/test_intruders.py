"""Whoever sends what nobody should: each is counted, told once per source, and everything else goes on."""

import asyncio
import json
import random
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import msgpack
import nats
import pytest
import pytest_asyncio

from eventfed import EID, DeviceState, Event, Lease, Subjects, encode_envelope, encode_lease
from eventfed.asterisk_config import pjsip_snippet
from eventfed_lab import (
    SHORT_TIMES,
    AgentProcess,
    AsteriskConfiguration,
    AsteriskRoot,
    AsteriskServer,
    NatsServer,
    Pbx,
    allot,
)

AsteriskFactory = Callable[..., Awaitable[AsteriskServer]]
NatsFactory = Callable[..., Awaitable[NatsServer]]
LAMP = "Custom:lamp1"
USUAL = 5.0
"""Seconds within which a state crosses on a machine that other tests keep busy; it takes some milliseconds."""

shared = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pbx(asterisk_root: AsteriskRoot) -> AsyncIterator[Pbx]:
    async with Pbx(asterisk_root, ("a", "b")) as pbx:
        yield pbx


def real(pbx: Pbx, name: str) -> AsteriskServer:
    server = pbx[name]
    assert isinstance(server, AsteriskServer)
    return server


def configured(agent: AgentProcess, token: str | None = None) -> AsteriskConfiguration:
    """A server of this agent, with the agent's own token or another."""
    return AsteriskConfiguration(
        pjsip_snippet=pjsip_snippet(agent_host=agent.host, agent_port=agent.sip_port, token=token or agent.token)
    )


def lines(agent: AgentProcess, *words: str) -> list[str]:
    """Lines of an agent's log that hold all these words."""
    return [line for line in agent.log.splitlines() if all(word in line for word in words)]


async def eventually(condition: Callable[[], Awaitable[bool]], within: float = 15.0) -> None:
    async with asyncio.timeout(within):
        while not await condition():  # noqa: ASYNC110 - metrics of another process
            await asyncio.sleep(0.05)


async def crosses(origin: AsteriskServer, *others: AsteriskServer) -> float:
    """Two changes at the origin reach the others within the usual time; seconds it took for both."""
    began = time.monotonic()
    for state in (DeviceState.BUSY, DeviceState.INUSE):
        await origin.set_device(LAMP, state)
        for other in others:
            await other.wait_device(LAMP, state, USUAL)
    return time.monotonic() - began


class Stranger:
    """A UDP socket on some address."""

    def __init__(self, host: str, to: tuple[str, int]) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind((host, 0))
        self._to = to

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendto(data, self._to)

    async def answer(self, within: float) -> int | None:
        """The status of the next answer; None if there is none in `within` seconds."""
        try:
            async with asyncio.timeout(within):
                data = await asyncio.get_running_loop().sock_recv(self._socket, 65536)
        except TimeoutError:
            return None
        return int(data.split(b" ", 2)[1])

    async def ask(self, data: bytes) -> int | None:
        self.send(data)
        return await self.answer(USUAL)


_numbers = iter(range(1, 1_000_000))


def publish(
    body: str,
    *,
    user: str = "eventfed",
    host: str = "127.0.0.1",
    call_id: str | None = None,
    if_match: str | None = None,
) -> bytes:
    """A PUBLISH of a device state, initial without `if_match`, in a transaction of its own."""
    number = next(_numbers)
    condition = "" if if_match is None else f"SIP-If-Match: {if_match}\r\n"
    head = (
        f"PUBLISH sip:eventfed@{host} SIP/2.0\r\nVia: SIP/2.0/UDP {host}:5060;rport;branch=z9hG4bKstranger{number}\r\n"
        f"Max-Forwards: 70\r\nFrom: <sip:{user}@{host}>;tag=1\r\nTo: <sip:eventfed@{host}>\r\n"
        f"Call-ID: {call_id or f'stranger-{number}'}\r\nCSeq: {number} PUBLISH\r\nEvent: asterisk-devicestate\r\n"
        f"Expires: 60\r\n{condition}Content-Type: application/json\r\nContent-Length: {len(body.encode())}\r\n\r\n"
    )
    return head.encode() + body.encode()


def state(device: str, value: DeviceState, eid: object, cachable: object = 1) -> str:
    content = {"type": "devicestate", "device": device, "state": value.name, "cachable": cachable, "eid": str(eid)}
    return json.dumps(content)


# --- who is it? ---


async def test_of_two_live_servers_with_one_eid_the_second_is_refused_until_it_has_one_of_its_own(
    asterisk: AsteriskFactory, nats_server: NatsFactory
) -> None:
    async with AgentProcess("agent", (await nats_server()).url) as agent:
        first, second, other = [
            await asterisk(name, start=False, eid=EID.derive(eid), configuration=configured(agent))
            for name, eid in (("first", "one"), ("second", "one"), ("other", "other"))
        ]
        agent.members += [first, second, other]
        agent.write()
        await first.start()
        await agent.wait_members("synced", "first")
        await second.start()
        await other.start()
        await agent.wait_members("duplicate", "second")
        await agent.wait_members("synced", "first", "other")
        (told,) = [member for member in await agent.member_list() if member["name"] == "second"]
        assert "first" in told["reason"]
        assert "entityid" in told["reason"]

        async def refused() -> float:
            return await agent.metric("eventfed_member_refused_total", member="second", reason="duplicate_eid")

        before = await refused()
        await second.set_device("Custom:second", DeviceState.BUSY)
        await eventually(lambda: _more(refused, before))
        await crosses(first, other)
        await crosses(other, first)
        assert await other.device_state("Custom:second") is DeviceState.UNKNOWN
        assert len(lines(agent, "duplicate_eid")) == 1

        second.eid = EID.derive("two")
        await second.restart()
        await agent.wait_members("synced", "first", "second", "other")
        await other.wait_device("Custom:second", DeviceState.BUSY)


async def _more(count: Callable[[], Awaitable[float]], before: float) -> bool:
    return await count() > before


async def test_an_unknown_source_gets_silence_for_the_first_seconds_then_403_and_is_served_once_it_is_named(
    asterisk: AsteriskFactory, nats_server: NatsFactory
) -> None:
    times = {"timing": {**SHORT_TIMES["timing"], "unknown_source_silence": 4.0}}
    async with AgentProcess("agent", (await nats_server()).url, sections=times) as agent:
        ready = time.monotonic()
        member = await asterisk("member", start=False, configuration=configured(agent))
        agent.members.append(member)
        with allot() as address, Stranger(address.host, (agent.host, agent.sip_port)) as stranger:
            body = state("Custom:forged", DeviceState.BUSY, EID.derive("stranger"))
            answers: list[int | None] = []
            while None in answers or not answers or len(answers) < 10:
                stranger.send(publish(body))
                answers.append(await stranger.answer(0.5))
                if answers[-1] is not None:
                    break
            assert answers[-1] == 403
            assert time.monotonic() - ready > 3
            assert set(answers[:-1]) == {None}
            assert await stranger.ask(publish(body)) == 403
            assert await agent.metric("eventfed_unknown_sources_total") >= len(answers) + 1
            assert len(lines(agent, "unknown_source", address.host)) == 1
        await member.start()
        unnamed = await asterisk("unnamed", configuration=configured(agent))
        await unnamed.set_device("Custom:unnamed", DeviceState.INUSE)
        await eventually(lambda: _told(agent, "unknown_source", unnamed.host))
        agent.write()
        await agent.wait_members("synced", "member")
        assert await member.device_state("Custom:forged") is DeviceState.UNKNOWN
        assert await member.device_state("Custom:unnamed") is DeviceState.UNKNOWN
        agent.members.append(unnamed)
        agent.write()
        await agent.wait_members("synced", "member", "unnamed")
        await member.wait_device("Custom:unnamed", DeviceState.INUSE)


async def _told(agent: AgentProcess, *words: str) -> bool:
    return bool(lines(agent, *words))


async def test_a_server_that_expects_another_header_secret_gets_nothing_and_is_told_what_to_change(
    asterisk: AsteriskFactory, nats_server: NatsFactory
) -> None:
    async with AgentProcess("agent", (await nats_server()).url) as agent:
        good, other, wrong = [
            await asterisk(name, start=False, configuration=configured(agent, token))
            for name, token in (("good", None), ("other", None), ("wrong", "a-token-of-long-ago"))
        ]
        agent.members += [good, other, wrong]
        agent.write()
        async with asyncio.TaskGroup() as tasks:
            for server in (good, other, wrong):
                tasks.create_task(server.start())
        await agent.wait_members("synced", "good", "other")
        await agent.wait_members("not_configured", "wrong")
        await good.set_device("Custom:secret", DeviceState.BUSY)
        await crosses(good, other)

        async def denied() -> bool:
            return await agent.metric("eventfed_member_injection_failures_total", member="wrong", status="401") >= 4

        await eventually(denied)
        (told,) = [member for member in await agent.member_list() if member["name"] == "wrong"]
        assert told["state"] == "not_configured"
        assert "header secret" in told["reason"]
        assert "asterisk-config" in told["reason"]
        assert await agent.metric("eventfed_member_injected_total", member="wrong") == 0
        assert await wrong.device_state("Custom:secret") is DeviceState.UNKNOWN
        assert len(lines(agent, "not_configured")) == 1
        assert agent.token not in agent.log
        await crosses(good, other)

        wrong.configuration = configured(agent)
        await wrong.restart()
        await agent.wait_members("synced", "wrong")
        await wrong.wait_device("Custom:secret", DeviceState.BUSY)


# --- another endpoint of the server ---


@shared
async def test_an_endpoint_that_guesses_an_etag_can_forge_a_state_and_the_agent_tells_it(
    pbx: Pbx, measure: Callable[..., None]
) -> None:
    """As docs/security.md says: only the initial PUBLISH is checked against its endpoint."""
    a, b, agent = real(pbx, "a"), real(pbx, "b"), pbx.agents["b"]
    await asyncio.sleep(6)  # the server's own start explains what it forgot just before or after
    await crosses(a, b)
    assert await b.device_state(LAMP) is DeviceState.INUSE
    before = await agent.metric("eventfed_member_possible_intrusions_total", member="b")
    with Stranger(b.host, (b.host, b.sip_port)) as phone:
        unheard = state("Custom:forged", DeviceState.BUSY, EID.derive("nobody"))
        assert await phone.ask(publish(unheard, user="1001", host=b.host)) == 403
        assert await b.device_state("Custom:forged") is DeviceState.UNKNOWN
        # The truth: a modification is found by its ETag alone, a small integer, whoever sends it.
        forged = state(LAMP, DeviceState.RINGING, a.eid)
        accepted = [
            number
            for number in range(100)
            if await phone.ask(publish(forged, user="1001", host=b.host, if_match=str(number))) == 200
        ]
        assert accepted
        await b.wait_device(LAMP, DeviceState.RINGING)
    assert await agent.metric("eventfed_member_possible_intrusions_total", member="b") == before

    # The agent's next words on the publications that were taken from it are answered 412: it makes new ones, ...
    began = time.monotonic()
    await a.run_changes(64, 64, "Custom:lane")
    for number in range(64):
        await b.wait_device(f"Custom:lane{number}", DeviceState.INUSE if number % 2 == 0 else DeviceState.NOT_INUSE)

    # ... waits whether a restart explains it, tells, and gives the server everything again.
    async def counted() -> bool:
        return await agent.metric("eventfed_member_possible_intrusions_total", member="b") > before

    await eventually(counted)
    measure("possible intrusion told", time.monotonic() - began)
    assert len(lines(agent, "possible_intrusion")) == 1
    await b.wait_device(LAMP, DeviceState.INUSE)
    await pbx.wait_synced()
    measure("state crosses after an intrusion", await crosses(a, b) / 2)
    text = (Path(__file__).parents[2] / "docs/security.md").read_text()
    assert "SIP-If-Match" in text
    assert "possible_intrusion" in text


@shared
async def test_a_restart_is_no_intrusion(pbx: Pbx) -> None:
    a, b, agent = real(pbx, "a"), real(pbx, "b"), pbx.agents["b"]
    before = await agent.metric("eventfed_member_possible_intrusions_total", member="b")
    for _ in range(2):
        b.kill()
        await b.start()
        await a.run_changes(64, 64, "Custom:lane")
        await pbx.wait_synced()
    await b.cli("core reload")
    await a.run_changes(64, 64, "Custom:lane")
    await crosses(a, b)
    await asyncio.sleep(6)  # as long as a suspicion waits for what explains it
    await a.run_changes(64, 64, "Custom:lane")
    await crosses(a, b)
    assert await agent.metric("eventfed_member_possible_intrusions_total", member="b") == before


# --- what nobody can read, from a member's own address ---


@asynccontextmanager
async def unharmed(pbx: Pbx, measure: Callable[..., None], what: str) -> AsyncIterator[None]:
    """Whatever happens inside, member b stays synced without starting anew, and states cross as before."""
    agent = pbx.agents["b"]
    await pbx.wait_synced()

    async def upheavals() -> list[float]:
        names = ("eventfed_member_restarts_total", "eventfed_member_gaps_total", "eventfed_member_failures_total")
        return [await agent.metric(name) for name in names]

    before = await upheavals()
    yield
    took = [await crosses(real(pbx, "a"), real(pbx, "b")), await crosses(real(pbx, "b"), real(pbx, "a"))]
    measure(f"state crosses after {what}", max(took) / 2)
    assert await agent.member_states() == {"b": "synced"}
    assert await upheavals() == before
    assert await agent.get("/healthz") == "ok\n"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def recorded(asterisk_root: AsteriskRoot) -> bytes:
    """The first PUBLISH with a body that a real Asterisk sends."""
    with allot() as address, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
        sink.bind((address.host, address.sip_port))
        sink.setblocking(False)
        snippet = pjsip_snippet(agent_host=address.host, agent_port=address.sip_port, token="token-of-nobody")
        async with AsteriskServer(asterisk_root, "r", configuration=AsteriskConfiguration(pjsip_snippet=snippet)):
            async with asyncio.timeout(10):
                while True:
                    data = await asyncio.get_running_loop().sock_recv(sink, 65536)
                    if data.startswith(b"PUBLISH ") and data.endswith(b"}"):
                        return data


async def malformed(agent: AgentProcess) -> float:
    return await agent.metric("eventfed_sip_total", name="malformed")


@shared
async def test_sip_cut_anywhere_is_counted_and_told_once(
    pbx: Pbx, recorded: bytes, measure: Callable[..., None]
) -> None:
    b, agent = real(pbx, "b"), pbx.agents["b"]
    prefixes = [recorded[:size] for size in range(1, len(recorded))]
    before, told = await malformed(agent), len(lines(agent, "malformed_sip", b.host))
    async with unharmed(pbx, measure, "cut SIP"):
        with Stranger(b.host, (agent.host, agent.sip_port)) as stranger:
            for prefix in prefixes:
                stranger.send(prefix)
            await eventually(lambda: _more(lambda: malformed(agent), before + len(prefixes) - 1))
            assert await stranger.answer(0.1) is None
        assert await malformed(agent) == before + len(prefixes)
        for prefix in prefixes:
            reader, writer = await asyncio.open_connection(agent.host, agent.sip_port, local_addr=(b.host, 0))
            writer.write(prefix)
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()
        assert await malformed(agent) == before + 2 * len(prefixes)
    assert told + len(lines(agent, "malformed_sip", b.host)) == 1


@shared
@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_64_kib_of_noise_are_counted_and_told_once_per_source(
    pbx: Pbx, measure: Callable[..., None], transport: str
) -> None:
    agent = pbx.agents["b"]
    noise = random.Random(transport).randbytes(65_507 if transport == "udp" else 65_536)
    async with unharmed(pbx, measure, f"noise over {transport}"):
        with allot() as address:
            for times in range(1, 4):
                before = await malformed(agent)
                if transport == "udp":
                    with Stranger(address.host, (agent.host, agent.sip_port)) as stranger:
                        stranger.send(noise)
                else:
                    _, writer = await asyncio.open_connection(agent.host, agent.sip_port, local_addr=(address.host, 0))
                    writer.write(noise)
                    writer.close()
                await eventually(lambda before=before: _more(lambda: malformed(agent), before))
                assert len(lines(agent, "malformed_sip", address.host)) == 1, times


@shared
async def test_json_cut_anywhere_and_values_that_are_none_are_answered_400_counted_and_told_once(
    pbx: Pbx, measure: Callable[..., None]
) -> None:
    b, agent = real(pbx, "b"), pbx.agents["b"]
    good = state("Custom:forged", DeviceState.BUSY, b.eid)
    bodies = [good[:size] for size in range(1, len(good))]
    bodies += [state("Custom:forged", DeviceState.BUSY, eid) for eid in ("zzz", "", "02:00", "02:00:00:00:00:0a:0b")]
    bodies += [state("Custom:forged", DeviceState.BUSY, b.eid, cachable) for cachable in (True, None, "1", 2)]
    bodies += [good.replace(f'"{b.eid}"', "7"), good.replace('"eid"', '"id"'), good.replace("devicestate", "flood")]
    bodies += [good.replace("BUSY", "FOO"), good.replace('"Custom:forged"', "[]"), "[" * 30_000, "null", '"text"']

    async def bad() -> float:
        return await agent.metric("eventfed_malformed_payloads_total")

    before = await bad()
    async with unharmed(pbx, measure, "cut JSON"):
        with Stranger(b.host, (agent.host, agent.sip_port)) as stranger:
            answers = [await stranger.ask(publish(body)) for body in bodies]
        assert answers == [400] * len(bodies)
        assert await bad() == before + len(bodies)
    assert len(lines(agent, "malformed_payload")) == 1
    assert await real(pbx, "a").device_state("Custom:forged") is DeviceState.UNKNOWN


# --- on the bus ---


def _bus_forgeries(origin: EID) -> dict[str, tuple[bytes, bytes]]:
    """What is put in place of the lamp's state and of its owner's lease."""
    bomb = b"\x91" * 60_000 + b"\xdf\xff\xff\xff\xff"
    later = msgpack.packb({**msgpack.unpackb(encode_envelope(Event.device(LAMP, DeviceState.RINGING, origin))), "v": 2})
    other = encode_envelope(Event.device("Custom:other", DeviceState.RINGING, origin))
    lease = encode_lease(
        Lease(
            EID.derive("x"), uid="u", name="x", agent="x", instance="x", epoch=1, address="", complete=True, stream=""
        )
    )
    return {"malformed": (bomb, bomb), "unsupported": (later, later), "mismatched": (other, lease)}


@shared
@pytest.mark.parametrize("counter", ["malformed", "unsupported", "mismatched"])
async def test_what_is_no_envelope_of_ours_on_a_subject_of_ours_is_counted_told_once_and_put_right(
    pbx: Pbx, measure: Callable[..., None], counter: str
) -> None:
    a, b, agent = real(pbx, "a"), real(pbx, "b"), pbx.agents["b"]
    await crosses(a, b)
    subjects = Subjects(agent.federation)
    lamp = Event.device(LAMP, DeviceState.INUSE, a.eid)
    for_state, for_lease = _bus_forgeries(a.eid)[counter]
    client: Any = await nats.connect(pbx.nats.url)

    async def count() -> float:
        return await agent.metric("eventfed_bus_total", name=counter)

    async with unharmed(pbx, measure, f"a message {counter}"):
        told = len(lines(agent, "dropped a message"))
        for subject, body in ((subjects.state(lamp.state_key), for_state), (subjects.member(a.eid), for_lease)):
            before = await count()

            async def thrice(subject: str = subject, body: bytes = body, before: float = before) -> bool:
                # Again and again: the stream keeps one message a subject, so one may be replaced before it is read.
                await client.publish(subject, body)
                await client.flush()
                return await count() >= before + 3

            await eventually(thrice)
        assert len(lines(agent, "dropped a message")) == told + 2
        await client.publish(subjects.refresh() + ".nobody", for_state)
        await client.publish(f"{subjects.refresh().removesuffix('refresh')}state.flood.x.y", for_state)
        await client.flush()
    # What took the place of a's state and lease on the stream was replaced: whoever comes new is told the truth.
    await crosses(a, b)
    await agent.stop()
    await b.stop_now()
    await agent.start()
    await b.start()
    await pbx.wait_synced("a", "b")
    assert await b.wait_device(LAMP, DeviceState.INUSE)
    await client.close()
