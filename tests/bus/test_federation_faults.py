import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import msgpack
import nats
import pytest

from eventfed import (
    EID,
    Claim,
    ClaimState,
    Credentials,
    DeviceState,
    Event,
    Federation,
    FederationSettings,
    Mailbox,
    Reset,
    Storage,
    encode_envelope,
)
from eventfed_lab import NatsServer
from tests.ground.fixture_types import Clients, Measure, Until
from tests.ground.narrowing import present

A, B = EID.derive("a"), EID.derive("b")
BOX = Event.mailbox("1001@default", 1, 0, A)
DEVICES = 100


def devices(state: DeviceState) -> Iterator[Event]:
    for number in range(DEVICES):
        yield Event.device(f"PJSIP/{number}", state, A)


def all_are(client: Federation, state: DeviceState) -> bool:
    return all((event := client.get(e.state_key)) and event.device_state is state for e in devices(state))


def watch_for_tombstones(client: Federation) -> list[str]:
    """A list that fills with what is shown as gone from now on."""
    gone: list[str] = []
    cursor = client.view.cursor()
    cursor.skip_to_end()

    def look() -> None:
        while (key := cursor.next()) is not None:
            if client.view.states[key].tombstone:
                gone.append(key.key)

    client.view.listen(look)
    return gone


@asynccontextmanager
async def owner_and_reader(
    clients: Clients, until: Until, **options: Any
) -> AsyncIterator[tuple[Federation, Federation, Claim]]:
    """An owner with a claim, 100 devices in use and a mailbox, and a reader that has all of that."""
    async with clients("a", "b", **options) as (owner, reader):
        claim = owner.claim(A, uid="u", name="a")
        for event in devices(DeviceState.INUSE):
            owner.publish(event)
        owner.publish(BOX)
        claim.complete()
        assert await owner.flush(5)
        await until(lambda: reader.view.is_complete(A) and all_are(reader, DeviceState.INUSE))
        yield owner, reader, claim


async def test_nats_restarted_with_its_store(
    clients: Clients, nats_server: NatsServer, until: Until, measure: Measure
) -> None:
    async with owner_and_reader(clients, until) as (owner, reader, claim):
        await nats_server.stop()
        for event in devices(DeviceState.RINGING):
            owner.publish(event)
        await asyncio.sleep(0.3)
        assert not owner.connected
        assert owner.problem
        assert all_are(reader, DeviceState.INUSE)
        await nats_server.start()
        measure("NATS restarted with its store", await until(lambda: all_are(reader, DeviceState.RINGING)))
        assert await owner.flush(5)
        assert claim.held
        await until(lambda: owner.problem is None)  # its own replay may end after the other's
        assert reader.counters.resets == 0


async def test_nats_killed_and_restarted_without_its_store(
    clients: Clients, nats_server: NatsServer, until: Until, measure: Measure
) -> None:
    async with owner_and_reader(clients, until) as (_, reader, claim):
        blinked = watch_for_tombstones(reader)
        nats_server.kill()
        nats_server.wipe()
        await nats_server.start()
        took = await until(lambda: reader.counters.resets == 1 and reader.view.is_complete(A))
        measure("NATS restarted without its store", took)
        assert claim.held
        async with clients("late") as (late,):
            assert all_are(late, DeviceState.INUSE)
            assert present(late.get(BOX.state_key)).counts == Mailbox(1, 0)
        assert not blinked


async def test_a_store_in_memory_is_lost_by_a_restart_and_filled_again(
    clients: Clients, nats_server: NatsServer, quick: FederationSettings, until: Until
) -> None:
    settings = replace(quick, storage=Storage.MEMORY)
    async with owner_and_reader(clients, until, settings=settings) as (_, reader, claim):
        blinked = watch_for_tombstones(reader)
        changes = reader.watch()
        assert await anext(changes)
        await nats_server.restart()
        await until(lambda: reader.counters.resets == 1 and reader.view.is_complete(A))
        assert any(isinstance(change, Reset) for change in [await anext(changes) for _ in range(DEVICES + 3)])
        await changes.aclose()
        assert not blinked
        assert claim.held


async def test_nats_hangs_while_states_change(
    clients: Clients, nats_server: NatsServer, until: Until, measure: Measure
) -> None:
    async with owner_and_reader(clients, until) as (owner, reader, claim):
        nats_server.hang()
        for event in devices(DeviceState.BUSY):
            owner.publish(event)
        await asyncio.sleep(6)  # longer than the leases
        nats_server.resume()
        measure("NATS hung for 6 s", await until(lambda: all_are(reader, DeviceState.BUSY)))
        assert await owner.flush(5)
        assert claim.held
        await asyncio.sleep(1.5)  # longer than the grace
        assert all_are(reader, DeviceState.BUSY)


async def test_nats_is_away_for_longer_than_the_leases(
    clients: Clients, nats_server: NatsServer, until: Until, measure: Measure
) -> None:
    async with owner_and_reader(clients, until) as (owner, reader, claim):
        blinked = watch_for_tombstones(reader)
        await nats_server.stop()
        for event in devices(DeviceState.ONHOLD):
            owner.publish(event)
        await asyncio.sleep(4)
        assert all_are(reader, DeviceState.INUSE)
        epoch = claim.epoch
        await nats_server.start()
        measure("NATS away for longer than the leases", await until(lambda: all_are(reader, DeviceState.ONHOLD)))
        await until(lambda: claim.held and A in reader.view.leases)
        assert claim.epoch == epoch
        await asyncio.sleep(1.5)
        assert not blinked


async def test_the_stream_is_deleted(clients: Clients, nats_server: NatsServer, until: Until, measure: Measure) -> None:
    async with owner_and_reader(clients, until) as (owner, reader, claim):
        blinked = watch_for_tombstones(reader)
        assert b'"success":true' in await ask(nats_server, f"$JS.API.STREAM.DELETE.{owner.subjects.stream}")
        measure("stream deleted", await until(lambda: reader.counters.resets == 1 and reader.view.is_complete(A)))
        assert claim.held
        async with clients("late") as (late,):
            assert all_are(late, DeviceState.INUSE)
        assert not blinked


async def test_the_consumer_is_deleted(
    clients: Clients, nats_server: NatsServer, until: Until, measure: Measure
) -> None:
    async with owner_and_reader(clients, until) as (owner, reader, _):
        names = await ask(nats_server, f"$JS.API.CONSUMER.NAMES.{owner.subjects.stream}")
        for name in names.decode().split('"consumers":["')[1].split('"]')[0].split('","'):
            await ask(nats_server, f"$JS.API.CONSUMER.DELETE.{owner.subjects.stream}.{name}")
        for event in devices(DeviceState.RINGING):
            owner.publish(event)
        measure("consumer deleted", await until(lambda: all_are(reader, DeviceState.RINGING)))
        assert reader.counters.replays == 2
        assert reader.counters.sessions == 1


async def test_what_was_purged_without_a_word_is_gone_after_the_next_replay_and_the_owner_writes_it_again(
    clients: Clients, nats_server: NatsServer, until: Until
) -> None:
    async with owner_and_reader(clients, until) as (owner, reader, _):
        await ask(nats_server, f"$JS.API.STREAM.PURGE.{owner.subjects.stream}")
        await nats_server.restart()
        await until(lambda: reader.counters.replays >= 2 and reader.synced and all_are(reader, DeviceState.INUSE))
        async with clients("late") as (late,):
            await until(lambda: all_are(late, DeviceState.INUSE))


async def test_a_departed_mailbox_is_put_back_after_the_store_was_lost(
    clients: Clients, nats_server: NatsServer, until: Until
) -> None:
    async with clients("b", "c") as (b, c):
        b.claim(B, uid="u", name="b")
        async with clients("a") as (a,):
            claim = a.claim(A, uid="u", name="a")
            for event in devices(DeviceState.INUSE):
                a.publish(event)
            a.publish(BOX)
            assert await a.flush(5)
            claim.release()
            assert await a.flush(5)
        await until(lambda: c.get(next(devices(DeviceState.INUSE)).state_key) is None)
        await nats_server.restart(wipe=True)
        await until(lambda: b.counters.put_back + c.counters.put_back >= 1)
        async with clients("late") as (late,):
            assert present(late.get(BOX.state_key)).counts == Mailbox(1, 0)
            assert len(late.view.states) == 1
        assert b.counters.put_back + c.counters.put_back == 1


async def test_an_agent_that_hung_while_its_member_moved_does_not_win(clients: Clients, until: Until) -> None:
    async with clients("a", "b", "c") as (a, b, c):
        old = a.claim(A, uid="u", name="a")
        a.publish(BOX)
        assert await a.flush(5)
        loop = asyncio.get_running_loop()
        # Only the old agent hangs: its clock stands, and its publications wait.
        a._engine.ownership.last_tick = loop.time() - 100
        assert not old.held
        new = b.claim(A, uid="u", name="a")
        await until(lambda: new.held)
        b.publish(Event.mailbox("1001@default", 0, 1, A))
        assert await b.flush(5)
        a.publish(Event.mailbox("1001@default", 9, 9, A))
        await until(lambda: old.state is ClaimState.LOST)
        await asyncio.sleep(0.3)
        assert present(c.get(BOX.state_key)).counts == Mailbox(0, 1)
        assert not old.held


async def test_a_process_that_stood_still_checks_its_lease_before_it_acts(clients: Clients, until: Until) -> None:
    async with clients("a") as (a,):
        claim = a.claim(A, uid="u", name="a")
        a.publish(BOX)
        assert await a.flush(5)
        await until(lambda: a.get(BOX.state_key))
        time.sleep(0.6)  # noqa: ASYNC251 - the event loop has to stand still
        assert not claim.held
        assert a.get(BOX.state_key)
        await until(lambda: claim.held)
        assert a.counters.stalls >= 1
        await until(lambda: a.view.synced)


async def test_bad_messages_are_counted_and_logged_once_per_source(
    clients: Clients, nats_server: NatsServer, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "eventfed.federation")
    async with clients("a", "b") as (a, b):
        a.claim(A, uid="u", name="a")
        a.publish(BOX)
        assert await a.flush(5)
        state = a.subjects.state
        bomb = b"\x91" * 5000
        later = msgpack.packb({"v": 2, "e": A.octets})
        other = encode_envelope(Event.device("PJSIP/other", DeviceState.INUSE, B))
        client = await nats.connect(nats_server.url)
        for number in range(5):
            await client.publish(state(Event.device(f"PJSIP/{number}", DeviceState.BUSY, B).state_key), bomb)
            await client.publish(state(Event.device(f"PJSIP/{number}", DeviceState.BUSY, A).state_key), later)
            await client.publish(state(Event.mailbox(f"{number}", 0, 0, B).state_key), other)
        await client.publish(a.subjects.member(B), bomb)
        await client.publish(a.subjects.member(B), b"")
        await client.publish(f"eventfed.pbx.local.state.mwi.{A.hex}", b"")
        await client.publish(f"eventfed.pbx.local.state.mwi.{A.hex}.a.b", b"")
        await client.publish(state(BOX.state_key), b"", headers={"Nats-Marker-Reason": "Nonsense"})
        await client.publish(state(BOX.state_key), b"x" * 100_000)
        await client._send_command(b"PUB eventfed.pbx.local.state.mwi.\xff\xfe 0\r\n\r\n")
        await client.flush()
        await client.close()
        await until(lambda: b.counters.unsupported == 5 and b.counters.mismatched == 5)
        await until(lambda: b.counters.malformed >= 8)
        a.publish(Event.mailbox("1001@default", 7, 0, A))
        await until(lambda: present(b.get(BOX.state_key)).counts.new == 7)
        assert b.counters.sessions == 1
        assert b.counters.replays == 1
        lines = [record.getMessage() for record in caplog.records if "dropped a message" in record.getMessage()]
        assert len(lines) <= 2 * 9  # two clients
        assert sum("upgrade" in line for line in lines) == 2


async def test_wrong_credentials_are_told_and_tried_again(quick: FederationSettings, until: Until) -> None:
    async with NatsServer(configuration='authorization { user: "ef", password: "right" }') as server:
        async with Federation.connect(
            server.url, federation="pbx", agent="a", settings=quick, credentials=Credentials("ef", "wrong")
        ) as a:
            await until(lambda: a.problem)
            assert "credentials" in present(a.problem)
            assert "wrong" not in present(a.problem)
            await until(lambda: a.counters.connect_failures > 1)
        async with Federation.connect(
            server.url, federation="pbx", agent="a", settings=quick, credentials=Credentials("ef", "right")
        ) as a:
            assert await a.wait_synced(5)
            assert a.problem is None


async def test_a_missing_permission_is_told(quick: FederationSettings, until: Until) -> None:
    configuration = """authorization { users: [{
        user: ef, password: pw, permissions: {publish: {deny: ["eventfed.pbx.local.state.>"]}}
    }] }"""
    async with (
        NatsServer(configuration=configuration) as server,
        Federation.connect(
            server.url, federation="pbx", agent="a", settings=quick, credentials=Credentials("ef", "pw")
        ) as a,
    ):
        assert await a.wait_synced(5)
        a.claim(A, uid="u", name="a")
        a.publish(BOX)
        await until(lambda: a.problem)
        assert "permission" in present(a.problem).lower()
        assert "eventfed.pbx.local.state.mwi" in present(a.problem)


async def test_a_stream_that_somebody_else_has_to_make_is_awaited(
    clients: Clients, quick: FederationSettings, nats_server: NatsServer, until: Until
) -> None:
    settings = replace(quick, create_stream=False)
    async with Federation.connect(nats_server.url, federation="pbx", agent="a", settings=settings) as a:
        await until(lambda: a.problem)
        assert "stream not found" in present(a.problem)
        async with clients("maker"):
            assert await a.wait_synced(5)
        assert a.problem is None


async def ask(server: NatsServer, subject: str) -> bytes:
    client = await nats.connect(server.url)
    try:
        return (await client.request(subject, b"", timeout=2)).data
    finally:
        await client.close()
