"""Messages that nobody can read take a value's place on the stream, and its owner puts it back."""

import msgpack
import nats
import pytest

from eventfed import EID, DeviceState, Event, StateKey, Subjects, encode_envelope
from eventfed_lab import NatsServer
from tests.ground.fixture_types import Clients, Until
from tests.ground.narrowing import present

A, B = EID.derive("a"), EID.derive("b")
SUBJECTS = Subjects("pbx")
LAMP = Event.device("Custom:lamp", DeviceState.INUSE, A)


def bomb() -> bytes:
    """Arrays in arrays, deeper than any stack, and a map that promises four billion pairs."""
    return b"\x91" * 60_000 + b"\xdf\xff\xff\xff\xff"


def later_version() -> bytes:
    body: bytes = msgpack.packb({**msgpack.unpackb(encode_envelope(LAMP)), "v": 2})
    return body


FORGERIES = {
    "malformed": bomb(),
    "unsupported": later_version(),
    "mismatched": encode_envelope(Event.device("Custom:other", DeviceState.BUSY, A)),
}


async def put(server: NatsServer, subject: str, body: bytes) -> None:
    client = await nats.connect(server.url)
    await client.jetstream().publish(subject, body)
    await client.close()


@pytest.mark.parametrize("counter", FORGERIES)
async def test_an_unreadable_message_in_place_of_a_state_is_counted_and_its_owner_puts_the_state_back(
    counter: str, clients: Clients, until: Until, nats_server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with clients("a", "b") as (a, b):
        a.claim(A, uid="u", name="a")
        a.publish(LAMP)
        await until(lambda: b.get(LAMP.state_key))
        while min(getattr(client.counters, counter) for client in (a, b)) < 3:
            # Again and again: the stream keeps one message a subject, so one may be replaced before it is read.
            await put(nats_server, SUBJECTS.state(LAMP.state_key), FORGERIES[counter])
        await until(lambda: a.counters.corrected)
        assert await a.flush(5)
        assert present(b.get(LAMP.state_key)).device_state is DeviceState.INUSE
        assert len([line for line in caplog.messages if "dropped a message" in line]) == 2  # one of each reader
        async with clients("late") as (late,):
            await until(lambda: late.get(LAMP.state_key))
            assert present(late.get(LAMP.state_key)).device_state is DeviceState.INUSE


@pytest.mark.parametrize("body", [b"\xc1 no lease", later_version()], ids=["malformed", "later version"])
async def test_an_unreadable_message_in_place_of_a_lease_does_not_end_it(
    body: bytes, clients: Clients, until: Until, nats_server: NatsServer
) -> None:
    async with clients("a", "b") as (a, b):
        claim = a.claim(A, uid="u", name="a")
        a.publish(LAMP)
        await until(lambda: b.get(LAMP.state_key))
        await put(nats_server, SUBJECTS.member(A), body)
        before = a.counters.acknowledged
        await until(lambda: a.counters.acknowledged >= before + 2)  # renewals go on
        assert claim.held
        async with clients("late") as (late,):
            await until(lambda: A in late.view.leases)
        await until(lambda: A in b.view.leases)
        assert present(b.get(LAMP.state_key)).device_state is DeviceState.INUSE


async def test_an_unreadable_lease_of_a_member_that_nobody_serves_does_not_keep_its_states(
    clients: Clients, until: Until, nats_server: NatsServer
) -> None:
    async with clients("b") as (b,):
        async with clients("a") as (a,):
            claim = a.claim(A, uid="u", name="a")
            a.publish(LAMP)
            await until(lambda: b.get(LAMP.state_key))
            assert claim.held
        await put(nats_server, SUBJECTS.member(A), b"\xc1 no lease")
        await until(lambda: b.get(LAMP.state_key) is None)
        assert StateKey(LAMP.type, A, LAMP.key) in b.view.states
