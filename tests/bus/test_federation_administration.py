"""What the operator does on a real nats-server: stream, rosters, and hearing what agents report."""

import asyncio
from dataclasses import replace

import pytest

from eventfed import (
    EID,
    ConnectionLost,
    DeviceState,
    Event,
    Federation,
    FederationSettings,
    MailboxDeparture,
    Message,
    StreamUnavailable,
    Subjects,
    stream_configuration,
)
from eventfed.wire.report import AgentReport, ReportedMember
from eventfed.wire.roster import Roster, RosterMember
from eventfed_lab import NatsServer
from tests.ground.fixture_types import Clients, Until

A = EID.parse("02:00:00:00:00:0a")
SUBJECTS = Subjects("pbx")
ONE = Roster("node-1", (RosterMember("asterisk-0", "u-0", "10.0.0.1"),))
OTHER = Roster("node-1", (RosterMember("asterisk-1", "u-1", "10.0.0.2", 5080, "tcp", leaving=True),))


async def test_the_stream_is_made_changed_looked_at_and_deleted(
    nats_server: NatsServer, administers: FederationSettings, until: Until
) -> None:
    async with Federation.connect(nats_server.url, federation="pbx", agent="op", settings=administers) as operator:
        await until(lambda: operator.connected)
        administration = operator.administration
        assert await administration.stream() is None
        await administration.delete_stream()
        wanted = stream_configuration(SUBJECTS, administers)
        await administration.make_stream(wanted)
        assert await operator.wait_synced(5), operator.problem
        made = await administration.stream()
        assert made is not None
        assert made.configuration["subjects"] == SUBJECTS.stored
        await administration.make_stream({**wanted, "max_bytes": 1_000_000})
        assert (await administration.stream()) == made, "what is there is left as it is"
        await administration.update_stream({**wanted, "max_bytes": 1_000_000})
        changed = await administration.stream()
        assert changed is not None
        assert (changed.created, changed.configuration["max_bytes"]) == (made.created, 1_000_000)
        with pytest.raises(StreamUnavailable, match="storage"):
            await administration.update_stream({**wanted, "storage": "memory"})
        await administration.delete_stream()
        assert await administration.stream() is None
        await nats_server.stop()
        with pytest.raises(ConnectionLost):
            await administration.stream()


async def test_rosters_reach_every_client_and_go_again(
    clients: Clients, administers: FederationSettings, until: Until
) -> None:
    async with (
        clients("a") as (agent,),
        clients("op", settings=administers) as (operator,),
    ):
        changes: list[int] = []
        agent.rosters.listen(lambda rosters: changes.append(len(rosters.known)))
        await operator.administration.write_roster(ONE)
        assert operator.rosters.present == {"node-1": ONE}, "at once, without waiting for its own echo"
        await operator.administration.write_roster(Roster("node-2"))
        await until(lambda: agent.rosters.known == {"node-1": ONE, "node-2": Roster("node-2")})
        assert (agent.rosters.node_of("u-0"), agent.rosters.node_of("u-1")) == ("node-1", None)
        await operator.administration.write_roster(OTHER)
        await until(lambda: agent.rosters.node_of("u-1") == "node-1")
        assert agent.rosters.node_of("u-0") is None
        async with clients("late") as (late,):
            assert late.rosters.known == agent.rosters.known, "an agent that starts finds it"
        await operator.administration.delete_roster("node-2")
        await until(lambda: agent.rosters.known == {"node-1": OTHER})
        assert changes
        assert operator.view.states == {}


async def test_of_two_operators_only_one_who_has_read_the_last_roster_writes_the_next(
    clients: Clients, administers: FederationSettings, until: Until
) -> None:
    async with clients("a") as _, clients("one", "other", settings=administers) as (one, other):
        await one.administration.write_roster(ONE)
        await until(lambda: other.rosters.present == {"node-1": ONE})
        read = other.rosters.sequence("node-1")
        await one.administration.write_roster(OTHER)
        await until(lambda: other.rosters.present == {"node-1": OTHER})
        other.rosters.put_unreadable("node-1", read)  # as if the last one were still on its way
        with pytest.raises(StreamUnavailable, match="wrong last sequence"):
            await other.administration.write_roster(ONE)
        await one.administration.write_roster(OTHER)
        await until(lambda: other.rosters.present == {"node-1": OTHER})
        await other.administration.write_roster(ONE)
        await until(lambda: one.rosters.present == {"node-1": ONE})


async def test_a_roster_that_nobody_can_read_is_missed_by_the_operator_and_changes_nothing_for_agents(
    clients: Clients, administers: FederationSettings, until: Until
) -> None:
    async with clients("a") as (agent,), clients("op", settings=administers) as (operator,):
        await operator.administration.write_roster(ONE)
        await until(lambda: "node-1" in agent.rosters.known)
        await operator._bus.administration.store(SUBJECTS.roster("node-1"), Message(b"{}"))
        await until(lambda: not operator.rosters.present and not agent.rosters.present)
        assert agent.rosters.known == {"node-1": ONE}
        assert agent.counters.malformed == 1
        await operator.administration.write_roster(ONE)
        await until(lambda: agent.rosters.present == {"node-1": ONE})


async def test_a_lost_store_takes_nobodys_members_away(
    nats_server: NatsServer, clients: Clients, administers: FederationSettings, until: Until
) -> None:
    async with clients("a") as (agent,), clients("op", settings=administers) as (operator,):
        await operator.administration.write_roster(ONE)
        await until(lambda: agent.rosters.known)
        await nats_server.stop()
        nats_server.wipe()
        await nats_server.start()
        await until(lambda: operator.synced and operator.view.synced and not operator.rosters.present, within=20)
        assert agent.rosters.known == {"node-1": ONE}
        await operator.administration.write_roster(ONE)
        await until(lambda: agent.rosters.present == {"node-1": ONE}, within=20)


async def test_reports_are_heard_and_lapse(clients: Clients, administers: FederationSettings, until: Until) -> None:
    async with clients("a") as (agent,), clients("op", settings=administers) as (operator,):
        told: list[int] = []
        operator.reports.listen(lambda reports: told.append(len(reports.current())))
        report = AgentReport("a", agent.instance, "node-1", "1.0", (ReportedMember("u-0", "synced"),), ("Custom:x",))
        agent.report(report)
        await until(lambda: operator.reports.current() == [report])
        agent.report(report)
        await until(lambda: not operator.reports.current(), within=5)
        await until(lambda: told == [1, 0])
        agent.report(replace(report, agent="b"))
        await until(lambda: operator.counters.mismatched == 1)
        assert operator.reports.current() == []


async def test_times_of_departures_change_while_the_client_runs(
    clients: Clients, quick: FederationSettings, until: Until
) -> None:
    patient = replace(quick, grace_period=600.0, mailbox_grace_period=600.0)
    async with clients("a", "b", settings=patient) as (a, b):
        claim = a.claim(A, uid="u", name="a")
        box, device = Event.mailbox("1001@default", 1, 0, A), Event.device("PJSIP/1", DeviceState.INUSE, A)
        a.publish(box)
        a.publish(device)
        await until(lambda: b.get(box.state_key) and b.get(device.state_key))
        await until(lambda: claim.held)
        claim.release()
        await until(lambda: A not in b.view.leases)
        await asyncio.sleep(1.5)
        assert b.get(device.state_key), "the grace is long"
        b.configure(replace(patient, grace_period=1.0))
        await until(lambda: b.get(device.state_key) is None)
        assert b.get(box.state_key), "mailboxes are kept"
        b.configure(replace(patient, grace_period=1.0, mailboxes=MailboxDeparture.REMOVE, mailbox_grace_period=1.0))
        await until(lambda: b.get(box.state_key) is None)


async def test_mailboxes_get_a_ttl_when_they_are_no_longer_kept(
    clients: Clients, quick: FederationSettings, until: Until
) -> None:
    async with clients("a") as (a,):
        a.claim(A, uid="u", name="a")
        box = Event.mailbox("1001@default", 1, 0, A)
        a.publish(box)
        await until(lambda: a.get(box.state_key))
        assert await a.flush(5)
        before = a.view.states[box.state_key].stream_sequence
        a.configure(replace(quick, mailboxes=MailboxDeparture.REMOVE))
        await until(lambda: a.view.states[box.state_key].stream_sequence > before)
        a.configure(replace(quick, mailboxes=MailboxDeparture.REMOVE, grace_period=9.0))
        assert await a.flush(5)
        assert a.counters.corrected == 0
