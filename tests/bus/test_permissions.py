"""The permissions that docs/security.md gives are enough, and no more than needed for streams and rosters."""

import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import nats
import pytest
from nats.errors import TimeoutError as NatsTimeoutError

from eventfed import (
    EID,
    Credentials,
    DeviceState,
    Event,
    EventType,
    Federation,
    FederationSettings,
    StateKey,
    Subjects,
    stream_configuration,
)
from eventfed.wire.report import AgentReport
from eventfed.wire.roster import Roster, RosterMember, encode_roster
from eventfed_lab import NatsServer
from tests.ground.fixture_types import Until

A = EID.parse("02:00:00:00:00:0a")
SUBJECTS = Subjects("pbx")
ROSTER = Roster("node-1", (RosterMember("asterisk-0", "u", "10.0.0.1"),))
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "security.md"
OPERATOR = Credentials("operator", "pw", inbox_prefix="_INBOX_operator")
AGENT = Credentials("agent", "pw", inbox_prefix="_INBOX_agent")


def documented(direction: str) -> list[str]:
    """The list in the document, for federation pbx and site local."""
    block = re.search(
        rf"^ +{direction}: +((?:\S+\n {{12,}})*\S+)\n", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert block is not None, direction
    subjects = [re.sub(r"\bF\b", "pbx", re.sub(r"\bS\b", "local", one)) for one in block[1].split()]
    return [one.replace("EVENTFED_F_S", "EVENTFED_pbx_local") for one in subjects]


def user(name: str, role: str, publish: int, subscribe: int) -> str:
    allowed = {"publish": documented(f"{role}publish"), "subscribe": documented(f"{role}subscribe")}
    assert (len(allowed["publish"]), len(allowed["subscribe"])) == (publish, subscribe)
    return f"{{user: {name}, password: pw, permissions: {json.dumps(allowed)}}}"


@pytest.fixture
async def server() -> AsyncIterator[NatsServer]:
    users = [user("operator", "operator ", 8, 2), user("agent", "", 11, 5)]
    async with NatsServer(configuration=f"authorization {{ users: [{', '.join(users)}] }}") as server:
        yield server


async def test_operator_and_agents_get_along_with_the_documented_permissions(
    server: NatsServer, quick: FederationSettings, until: Until
) -> None:
    settings = replace(quick, create_stream=False)
    connect = partial(Federation.connect, server.url, federation="pbx", settings=settings, credentials=AGENT)
    administers = replace(quick, create_stream=False, deputy=False, read_states=False, read_reports=True)
    async with (
        Federation.connect(
            server.url, federation="pbx", agent="op", settings=administers, credentials=OPERATOR
        ) as operator,
        connect(agent="a") as a,
        connect(agent="b") as b,
    ):
        await until(lambda: operator.connected)
        configuration = stream_configuration(SUBJECTS, quick)
        await operator.administration.make_stream(configuration)
        await operator.administration.update_stream({**configuration, "max_bytes": 1_000_000, "discard": "new"})
        for client in (operator, a, b):
            assert await client.wait_synced(5), client.problem
        await operator.administration.write_roster(ROSTER)
        await until(lambda: a.rosters.known == b.rosters.known == {"node-1": ROSTER})
        asked: list[EID | None] = []
        heard: list[Event] = []
        a.on_refresh(asked.append)
        b.on_event(heard.append)
        claim = a.claim(A, uid="u", name="a")
        event = Event.device("PJSIP/1001", DeviceState.INUSE, A)
        a.publish(event)
        await until(lambda: (seen := b.get(event.state_key)) is not None and seen.same_value(event))
        await until(lambda: [lease.eid for lease in operator.members()] == [A])
        await b.request_refresh()
        await b.request_refresh(A)
        await until(lambda: asked == [None, A])
        forgotten: list[StateKey] = []
        a.requests.on_forget(forgotten.append)
        box = StateKey(EventType.MWI, A, "1001@default")
        assert b.requests.forget(box)
        await until(lambda: forgotten == [box])
        a.publish_event(Event.device("Local/1@x", DeviceState.INUSE, A, cachable=False))
        await until(lambda: heard)
        report = AgentReport("a", a.instance)
        a.report(report)
        await until(lambda: operator.reports.current() == [report])
        a.retract(event.state_key)
        await until(lambda: b.get(event.state_key) is None)
        claim.release()
        await until(lambda: not operator.members())
        assert [client.problem for client in (operator, a, b)] == [None] * 3
        await operator.administration.delete_roster("node-1")
        await operator.administration.delete_stream()
        await until(lambda: a.problem)
        assert "stream not found" in str(a.problem)


async def test_agents_write_no_rosters_and_make_and_delete_no_streams(
    server: NatsServer, quick: FederationSettings, until: Until
) -> None:
    administers = replace(quick, create_stream=False, read_states=False)
    async with Federation.connect(
        server.url, federation="pbx", agent="op", settings=administers, credentials=OPERATOR
    ) as operator:
        await until(lambda: operator.connected)
        await operator.administration.make_stream(stream_configuration(SUBJECTS, quick))
        assert await operator.wait_synced(5)
        await operator.administration.write_roster(ROSTER)
        made = await operator.administration.stream()
        refusals: list[str] = []

        async def refused(error: Exception) -> None:
            refusals.append(str(error))

        agent = await nats.connect(
            server.url, user="agent", password="pw", inbox_prefix=b"_INBOX_agent", error_cb=refused
        )
        try:
            api = "$JS.API.STREAM"
            other = json.dumps({"name": "EVENTFED_other_local", "subjects": ["eventfed.other.local.state.>"]}).encode()
            for subject, body in (
                (SUBJECTS.roster("node-1"), encode_roster(Roster("node-1"))),
                (f"{api}.DELETE.{SUBJECTS.stream}", b""),
                (f"{api}.PURGE.{SUBJECTS.stream}", b""),
                (f"{api}.UPDATE.{SUBJECTS.stream}", json.dumps({"name": SUBJECTS.stream}).encode()),
                (f"{api}.CREATE.EVENTFED_other_local", other),
                (f"{api}.NAMES", b""),
            ):
                with pytest.raises(NatsTimeoutError):
                    await agent.request(subject, body, timeout=0.3)
            await until(lambda: len(refusals) == 6)
            # What stays possible inside one account: an acknowledgement is stored where its sender may not write.
            state = SUBJECTS.state(Event.device("PJSIP/1", DeviceState.INUSE, A).state_key)
            await agent.publish(state, b"x", reply=SUBJECTS.roster("node-1"))
            await until(lambda: not operator.rosters.present)
            assert operator.rosters.known == {"node-1": ROSTER}
            await operator.administration.write_roster(ROSTER)
        finally:
            await agent.close()
        assert operator.rosters.present == {"node-1": ROSTER}
        after = await operator.administration.stream()
        assert made is not None
        assert after is not None
        assert (after.created, after.configuration) == (made.created, made.configuration)


async def test_a_missing_permission_is_told(server: NatsServer, quick: FederationSettings, until: Until) -> None:
    settings = replace(quick, create_stream=False, read_reports=True)
    async with (
        Federation.connect(server.url, federation="pbx", agent="op", settings=settings, credentials=OPERATOR) as maker,
        Federation.connect(server.url, federation="pbx", agent="a", settings=settings, credentials=AGENT) as agent,
    ):
        await until(lambda: maker.connected)
        await maker.administration.make_stream(stream_configuration(SUBJECTS, quick))
        assert await agent.wait_synced(5)
        await until(lambda: "NATS lacks a permission for us" in str(agent.problem))
        assert "eventfed.pbx.local.report.*" in str(agent.problem)
