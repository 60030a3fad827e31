"""What no server says, on the wire and on the bus: a counter, one log line a source, and all else goes on."""

import asyncio
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import msgpack
import nats
import pytest
import pytest_asyncio

from eventfed import EID, DeviceState, Event, Lease, Subjects, encode_envelope, encode_lease
from eventfed.asterisk_config import pjsip_snippet
from eventfed_lab import (
    AgentProcess,
    AsteriskConfiguration,
    AsteriskRoot,
    AsteriskServer,
    Pbx,
    allot,
)
from tests.ground.fixture_types import Measure
from tests.ground.strangers import LAMP, Stranger, crosses, eventually, lines, more, publish, real, state

shared = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pbx(asterisk_root: AsteriskRoot) -> AsyncIterator[Pbx]:
    async with Pbx(asterisk_root, ("a", "b")) as pbx:
        yield pbx


@asynccontextmanager
async def unharmed(pbx: Pbx, measure: Measure, what: str) -> AsyncIterator[None]:
    """Whatever happens inside, member b stays synced without a restart, and states cross as before."""
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
async def test_sip_cut_anywhere_is_counted_and_told_once(pbx: Pbx, recorded: bytes, measure: Measure) -> None:
    b, agent = real(pbx, "b"), pbx.agents["b"]
    prefixes = [recorded[:size] for size in range(1, len(recorded))]
    before, told = await malformed(agent), len(lines(agent, "malformed_sip", b.host))
    async with unharmed(pbx, measure, "cut SIP"):
        with Stranger(b.host, (agent.host, agent.sip_port)) as stranger:
            for prefix in prefixes:
                stranger.send(prefix)
            await eventually(lambda: more(lambda: malformed(agent), before + len(prefixes) - 1))
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
async def test_64_kib_of_noise_are_counted_and_told_once_per_source(pbx: Pbx, measure: Measure, transport: str) -> None:
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
                await eventually(partial(more, partial(malformed, agent), before))
                assert len(lines(agent, "malformed_sip", address.host)) == 1, times


@shared
async def test_json_cut_anywhere_and_values_that_are_none_are_answered_400_counted_and_told_once(
    pbx: Pbx, measure: Measure
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
    pbx: Pbx, measure: Measure, counter: str
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
    # What took the place of a's state and lease on the stream was replaced: anyone who comes new is told the truth.
    await crosses(a, b)
    await agent.stop()
    await b.stop_now()
    await agent.start()
    await b.start()
    await pbx.wait_synced("a", "b")
    assert await b.wait_device(LAMP, DeviceState.INUSE)
    await client.close()
