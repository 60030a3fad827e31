import asyncio
from dataclasses import replace

import pytest

from eventfed import (
    EID,
    ClaimState,
    DeviceState,
    Event,
    Federation,
    FederationSettings,
    MailboxDeparture,
    Message,
    StateKey,
    StreamUnavailable,
    encode_envelope,
)
from tests.ground.fixture_types import Clients, Measure, Until
from tests.ground.narrowing import present

A, B = EID.derive("a"), EID.derive("b")
LAMP = Event.device("PJSIP/1", DeviceState.INUSE, A)
BOX = Event.mailbox("1001@default", 1, 0, A)


async def test_a_lease_says_complete_once_everything_before_is_stored(clients: Clients, until: Until) -> None:
    async with clients("a", "b") as (a, b):
        claim = a.claim(A, uid="u", name="a")
        await until(lambda: claim.held)
        await until(lambda: b.view.leases)
        assert not b.view.is_complete(A)
        for number in range(500):
            a.publish(Event.device(f"PJSIP/{number}", DeviceState.INUSE, A))
        claim.complete()
        await until(lambda: b.view.is_complete(A))
        assert len(b.view.states) == 500
        claim.incomplete()
        await until(lambda: not b.view.is_complete(A))


async def test_the_same_server_is_taken_over_by_another_agent_at_once(clients: Clients, until: Until) -> None:
    async with clients("a", "b", "c") as (a, b, c):
        old = a.claim(A, uid="pod-1", name="a")
        a.publish(LAMP)
        assert await a.flush(5)
        new = b.claim(A, uid="pod-1", name="a")
        assert await until(lambda: new.held and old.state is ClaimState.LOST) < 1.0
        assert new.epoch > old.epoch
        assert present(old.rival).agent == "b"
        assert not old.held
        a.publish(Event.device("PJSIP/1", DeviceState.BUSY, A))
        assert a.counters.unowned == 1
        assert a.counters.leases_lost == 1
        b.publish(Event.device("PJSIP/1", DeviceState.RINGING, A))
        await until(lambda: present(c.get(LAMP.state_key)).device_state is DeviceState.RINGING)
        assert [lease.agent for lease in c.members()] == ["b"]


async def test_another_server_of_the_same_eid_is_contested_until_the_first_is_gone(
    clients: Clients, until: Until
) -> None:
    told = []
    async with clients("a", "b") as (a, b):
        first = a.claim(A, uid="pod-1", name="first")
        await until(lambda: first.held)
        second = b.claim(A, uid="pod-2", name="second", on_change=lambda claim: told.append(claim.state))
        await until(lambda: second.state is ClaimState.CONTESTED)
        assert second.rival is not None
        assert (second.rival.name, second.rival.agent) == ("first", "a")
        b.publish(LAMP)
        await asyncio.sleep(0.3)
        assert first.held
        assert not second.held
        assert a.get(LAMP.state_key) is None
        first.release()
        await until(lambda: second.held)
        await until(lambda: a.get(LAMP.state_key))
        assert told == [ClaimState.CONTESTED, ClaimState.HELD]


async def test_a_contested_claim_is_forced_when_the_rival_is_known_to_be_gone(clients: Clients, until: Until) -> None:
    async with clients("a", "b") as (a, b):
        first = a.claim(A, uid="pod-1", name="first")
        await until(lambda: first.held)
        second = b.claim(A, uid="pod-2", name="second")
        await until(lambda: second.state is ClaimState.CONTESTED)
        second.force()
        await until(lambda: second.held and first.state is ClaimState.LOST)


async def test_a_lost_claim_can_be_made_again(clients: Clients, until: Until) -> None:
    async with clients("a", "b") as (a, b):
        old = a.claim(A, uid="u", name="a")
        await until(lambda: old.held)
        other = b.claim(A, uid="u", name="a")
        await until(lambda: old.state is ClaimState.LOST)
        again = a.claim(A, uid="u", name="a")
        await until(lambda: again.held and other.state is ClaimState.LOST)


async def test_a_departed_server_is_buried_after_the_grace_by_one_deputy(
    clients: Clients, until: Until, measure: Measure
) -> None:
    async with clients("b", "c") as (b, c):
        b.claim(B, uid="u", name="b")
        async with clients("a") as (a,):
            claim = a.claim(A, uid="u", name="a")
            for number in range(200):
                a.publish(Event.device(f"PJSIP/{number}", DeviceState.INUSE, A))
            a.publish(BOX)
            assert await a.flush(5)
            assert claim.held
        await until(lambda: A in c.view.leases)
        lapsed = await until(lambda: A not in c.view.leases)
        assert lapsed < 3
        buried = await until(lambda: all(s.tombstone for k, s in c.view.states.items() if k.type.token != "mwi"))
        assert buried >= 0.9
        measure("lease lapsed to 200 tombstones", buried)
        assert present(c.get(BOX.state_key)).counts.new == 1
        await asyncio.sleep(0.7)
        assert b.counters.tombstones + c.counters.tombstones == 200
        assert sum(s.on_stream for s in c.view.states.values()) == 1
        async with clients("late") as (late,):
            assert late.view.states[LAMP.state_key].tombstone
            assert late.get(BOX.state_key) == c.get(BOX.state_key)


async def test_mailboxes_are_removed_where_that_is_wanted_after_a_grace_of_their_own(
    clients: Clients, quick: FederationSettings, until: Until
) -> None:
    settings = replace(quick, mailboxes=MailboxDeparture.REMOVE)
    async with clients("b", settings=settings) as (b,):
        async with clients("a", settings=settings) as (a,):
            claim = a.claim(A, uid="u", name="a")
            a.publish(LAMP)
            a.publish(BOX)
            assert await a.flush(5)
            claim.release()
            assert await a.flush(5)
        await until(lambda: b.get(LAMP.state_key) is None)
        assert b.get(BOX.state_key) is not None
        await until(lambda: b.get(BOX.state_key) is None)


async def test_a_server_that_returns_within_the_grace_does_not_blink(clients: Clients, until: Until) -> None:
    async with clients("b") as (b,):
        seen = []
        async with clients("a") as (a,):
            claim = a.claim(A, uid="u", name="a")
            a.publish(LAMP)
            assert await a.flush(5)
            await until(lambda: b.get(LAMP.state_key))
            claim.release()
            assert await a.flush(5)
        revision = b.view.revision
        await until(lambda: not b.view.leases)
        async with clients("a") as (again,):
            again.claim(A, uid="u", name="a")
            again.publish(LAMP)
            assert await again.flush(5)
            for _ in range(20):
                await asyncio.sleep(0.1)
                seen.append(b.get(LAMP.state_key))
            assert all(seen)
            assert b.view.revision == revision


async def test_who_comes_back_wins_over_a_tombstone_on_its_way(clients: Clients, until: Until) -> None:
    async with clients("a", "b") as (a, b):
        claim = a.claim(A, uid="u", name="a")
        a.publish(LAMP)
        assert await a.flush(5)
        await until(lambda: b.get(LAMP.state_key))
        stale = b.view.states[LAMP.state_key].stream_sequence
        a.publish(Event.device("PJSIP/1", DeviceState.BUSY, A))
        assert await a.flush(5)
        with pytest.raises(StreamUnavailable, match="wrong last sequence"):
            await overwrite(a, LAMP.state_key, Message(b"", ttl=60.0, expected=stale, tombstone=True))
        assert claim.held
        assert present(b.get(LAMP.state_key)).device_state is DeviceState.BUSY


async def overwrite(client: Federation, key: StateKey, message: Message) -> int:
    """Store a message under a state's subject as a stranger would, without the rules of eventfed."""
    return await client._bus.administration.store(client.subjects.state(key), message)


async def test_a_value_that_overwrites_the_owners_is_corrected(clients: Clients, until: Until) -> None:
    async with clients("a", "b") as (a, b):
        claim = a.claim(A, uid="u", name="a")
        a.publish(LAMP)
        assert await a.flush(5)
        late = Event.device("PJSIP/1", DeviceState.BUSY, A).stamped(epoch=claim.epoch - 1, sequence=1)
        await overwrite(a, LAMP.state_key, Message(encode_envelope(late)))
        await until(lambda: a.counters.corrected == 1)
        assert await a.flush(5)
        await until(lambda: b.counters.older == 1)
        newer = Event.device("PJSIP/1", DeviceState.BUSY, A).stamped(epoch=claim.epoch + 5, sequence=1)
        await overwrite(a, LAMP.state_key, Message(encode_envelope(newer)))
        await until(lambda: present(b.get(LAMP.state_key)).epoch > newer.epoch)
        assert present(b.get(LAMP.state_key)).device_state is DeviceState.INUSE
        assert await a.flush(5)
        sequence = b.view.states[LAMP.state_key].stream_sequence
        await overwrite(a, LAMP.state_key, Message(b"", tombstone=True))
        await until(lambda: b.view.states[LAMP.state_key].stream_sequence > sequence and b.get(LAMP.state_key))
        async with clients("late") as (late_joiner,):
            assert present(late_joiner.get(LAMP.state_key)).device_state is DeviceState.INUSE


async def test_a_departed_state_that_a_late_write_put_back_is_buried_again(clients: Clients, until: Until) -> None:
    async with clients("a", "b") as (a, b):
        claim = a.claim(A, uid="u", name="a")
        a.publish(LAMP)
        assert await a.flush(5)
        await until(lambda: b.get(LAMP.state_key))
        last = present(b.get(LAMP.state_key))
        claim.release()
        await until(lambda: b.get(LAMP.state_key) is None)
        revision = b.view.revision
        await overwrite(a, LAMP.state_key, Message(encode_envelope(last)))
        await until(lambda: b.view.states[LAMP.state_key].on_stream)
        await until(lambda: not b.view.states[LAMP.state_key].on_stream)
        assert b.view.revision == revision


async def test_states_are_renewed_before_their_ttl_ends(
    clients: Clients, quick: FederationSettings, until: Until
) -> None:
    settings = replace(quick, state_ttl=3.0)
    async with clients("a", "b", settings=settings) as (a, b):
        a.claim(A, uid="u", name="a")
        for number in range(50):
            a.publish(Event.device(f"PJSIP/{number}", DeviceState.INUSE, A))
        await until(lambda: len(b.view.states) == 50)
        revision = b.view.revision
        await asyncio.sleep(4.5)
        assert a.counters.renewed >= 100
        assert b.view.revision == revision
        assert not any(state.tombstone for state in b.view.states.values())
