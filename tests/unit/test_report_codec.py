"""Reports and rosters of the bus: what is written is read, what is wrong is refused, and nothing takes members away."""

import asyncio
import contextlib

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventfed import MAX_ENVELOPE, MalformedEnvelope, Reports, Rosters, UnsupportedEnvelope
from eventfed.wire.report import AgentReport, ReportedMember, decode_report, encode_report, token_mark
from eventfed.wire.roster import MAX_ROSTER, Roster, RosterMember

MEMBER = ReportedMember("0a6f", "lost", "no answer", "02:00:00:00:00:0a", 2, token_mark("secret"))
REPORT = AgentReport("pbx-agent-x", "83339534803f07ba", "node-1", "0.1.0", (MEMBER,), ("Custom:night",), "NATS is full")
ONE = Roster("node-1", (RosterMember("a", "u-a", "10.0.0.1"),))
TWO = Roster("node-2", (RosterMember("b", "u-b", "10.0.0.2"),))


def test_a_report_is_read_as_it_was_written() -> None:
    assert decode_report(encode_report(REPORT)) == REPORT


def test_a_report_has_its_bounds() -> None:
    many = tuple(ReportedMember(f"{n:0200d}", "not_configured", "x" * 1000) for n in range(MAX_ROSTER))
    report = AgentReport("a", "i", members=many, contended_names=tuple(f"Custom:{n}" for n in range(100)))
    encoded = encode_report(report)
    assert len(encoded) <= MAX_ENVELOPE
    decoded = decode_report(encoded)
    assert [one.uid for one in decoded.members] == [one.uid for one in many]
    assert {one.reason for one in decoded.members} == {""}, "reasons go before members do"
    assert len(decoded.contended_names) == 8
    with pytest.raises(MalformedEnvelope, match="at most 256"):
        encode_report(AgentReport("a", "i", members=many + many[:1]))


def test_the_mark_of_a_token_does_not_tell_it() -> None:
    assert token_mark("secret") == token_mark("secret") != token_mark("secret2")
    assert len(token_mark("secret")) == 12


def broken(**fields: object) -> bytes:
    packed: bytes = msgpack.packb({**msgpack.unpackb(encode_report(REPORT)), **fields})
    return packed


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no msgpack"),
        (broken(v=0), "version 0"),
        (broken(agent=7), "'agent' must be text"),
        (broken(node="x" * 300), "'node' must be text of at most 253"),
        (broken(members={}), "'members' must be a list"),
        (broken(members=[["u"] * 6] * 257), "at most 256"),
        (broken(members=[["u", "synced"]]), "a member has a uid"),
        (broken(members=[["u", "synced", "", "", -1, ""]]), "-1 is no number of mailboxes"),
        (broken(members=[["u", "synced", "", "", True, ""]]), "True is no number"),
        (broken(contended=["x"] * 9), "'contended' must be a list of at most 8"),
        (broken(contended=[None]), "'contended' must be text"),
    ],
    ids=lambda value: None if isinstance(value, bytes) else value[:30],
)
def test_what_is_no_report_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(MalformedEnvelope, match=message):
        decode_report(data)


def test_a_later_version_is_told_apart_and_more_fields_are_let_be() -> None:
    with pytest.raises(UnsupportedEnvelope):
        decode_report(broken(v=2))
    assert decode_report(broken(more=1, members=[["u", "synced", "", "", 0, "", "more"]])).members[0].uid == "u"


@given(st.binary(max_size=200))
def test_any_bytes_are_a_report_or_refused(data: bytes) -> None:
    with contextlib.suppress(MalformedEnvelope):
        decode_report(data)


async def test_reports_count_for_a_while_the_newest_last_and_what_is_new_is_told() -> None:
    now, other = 0.0, AgentReport("other", "i")
    reports, told = Reports(16.0, clock=lambda: now), list[int]()
    reports.listen(lambda reports: told.append(len(reports.current())))
    reports.put(REPORT)
    reports.put(other)
    now = 10.0
    reports.put(REPORT)
    assert reports.current() == [other, REPORT]
    await asyncio.sleep(0)
    assert told == [2, 2], "a repetition is no news"
    now = 17.0
    reports.forget_old()
    reports.forget_old()
    assert reports.current() == [REPORT]
    await asyncio.sleep(0)
    assert told == [2, 2, 1]


async def test_rosters_say_who_is_where() -> None:
    rosters = Rosters()
    rosters.begin_replay(reset=True)
    rosters.put(ONE, 1)
    rosters.put(TWO, 2)
    rosters.end_replay()
    assert (rosters.node_of("u-a"), rosters.node_of("u-b"), rosters.node_of("u-c")) == ("node-1", "node-2", None)
    rosters.put(Roster("node-1", TWO.members), 3)
    rosters.put(Roster("node-2"), 4)
    assert (rosters.node_of("u-a"), rosters.node_of("u-b")) == (None, "node-1"), "it moved"


async def test_a_late_echo_of_an_older_roster_changes_nothing() -> None:
    rosters = Rosters()
    rosters.put(TWO, 7)
    rosters.put(Roster("node-2"), 6)
    rosters.put_marker("node-2", 5)
    assert rosters.known == {"node-2": TWO}


async def test_what_a_replay_lacks_is_gone_but_not_when_the_store_was_lost() -> None:
    rosters = Rosters()
    rosters.begin_replay(reset=True)
    rosters.put(ONE, 1)
    rosters.put(TWO, 2)
    rosters.end_replay()
    rosters.begin_replay(reset=False)
    rosters.put(ONE, 1)
    rosters.end_replay()
    assert rosters.known == rosters.present == {"node-1": ONE}
    rosters.begin_replay(reset=True)
    rosters.end_replay()
    assert (dict(rosters.known), dict(rosters.present)) == ({"node-1": ONE}, {})
    assert rosters.sequence("node-1") == 0


async def test_something_unreadable_is_no_roster_and_takes_none_away() -> None:
    rosters = Rosters()
    rosters.put(ONE, 1)
    rosters.put_unreadable("node-1", 2)
    assert (dict(rosters.known), dict(rosters.present), rosters.sequence("node-1")) == ({"node-1": ONE}, {}, 2)
    rosters.put(ONE, 3)
    assert rosters.present == {"node-1": ONE}
