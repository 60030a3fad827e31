"""How a roster travels from the operator to an agent."""

from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventfed import MalformedEnvelope, UnsupportedEnvelope
from eventfed.wire.roster import MAX_ROSTER, MAX_RULES, Roster, RosterMember, decode_roster, encode_roster

MEMBER = RosterMember("asterisk-0", "7c0a", "10.244.1.7", 5060, "udp", leaving=False)
WIRE: list[Any] = ["asterisk-0", "7c0a", "10.244.1.7", 5060, "udp", False]

members = st.builds(
    RosterMember,
    name=st.text(min_size=1, max_size=30),
    uid=st.text(min_size=1, max_size=36),
    host=st.sampled_from(["10.0.0.1", "192.0.2.255", "fd00::1", "::"]),
    port=st.integers(1, 65_535),
    transport=st.sampled_from(["udp", "tcp"]),
    leaving=st.booleans(),
)


@settings(max_examples=200)
@given(st.lists(members, max_size=5), st.text(min_size=1, max_size=60), st.text(max_size=60))
def test_a_roster_reads_as_it_was_written(some: list[RosterMember], node: str, rules: str) -> None:
    read = decode_roster(encode_roster(Roster(node, tuple(some), rules)))
    assert (read.node, read.rules) == (node, rules)
    assert sorted(read.members, key=repr) == sorted(some, key=repr)


def test_the_order_of_members_makes_no_difference() -> None:
    other = RosterMember("asterisk-1", "99ff", "fd00::1", 5060, "tcp", leaving=True)
    assert encode_roster(Roster("node-a", (MEMBER, other))) == encode_roster(Roster("node-a", (other, MEMBER)))


def test_an_empty_roster_is_a_roster() -> None:
    assert decode_roster(encode_roster(Roster("node-a"))) == Roster("node-a")


def test_what_a_later_version_adds_is_let_be() -> None:
    data = msgpack.packb({"v": 1, "node": "a", "members": [[*WIRE, "news"]], "more": True})
    assert decode_roster(data) == Roster("a", (MEMBER,))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"node": "a"}, "'members' must be a list"),
        ({"node": "a", "members": [WIRE] * (MAX_ROSTER + 1)}, "at most 256"),
        ({"node": "", "members": []}, "'node' must be text"),
        ({"node": "a", "members": [], "rules": {}}, "'rules' must be text"),
        ({"node": "a", "members": [], "rules": "ä" * (MAX_RULES // 2 + 1)}, "at most 16384 bytes"),
        ({"node": "a", "members": [{}]}, "a member has a name"),
        ({"node": "a", "members": [WIRE[:5]]}, "a member has a name"),
        ({"node": "a", "members": [[7, *WIRE[1:]]]}, "'name' must be text"),
        ({"node": "a", "members": [[*WIRE[:2], "asterisk", *WIRE[3:]]]}, "is no IP address"),
        ({"node": "a", "members": [[*WIRE[:3], 0, *WIRE[4:]]]}, "port 0 is none"),
        ({"node": "a", "members": [[*WIRE[:3], True, *WIRE[4:]]]}, "port True is none"),
        ({"node": "a", "members": [[*WIRE[:4], "tls", False]]}, "neither udp nor tcp"),
        ({"node": "a", "members": [[*WIRE[:4], [], False]]}, "neither udp nor tcp"),
    ],
)
def test_what_is_no_roster_is_refused(body: dict[str, Any], message: str) -> None:
    with pytest.raises(MalformedEnvelope, match=message):
        decode_roster(msgpack.packb({"v": 1, **body}))


def test_a_roster_of_a_later_version_says_so() -> None:
    with pytest.raises(UnsupportedEnvelope, match="upgrade it first"):
        decode_roster(msgpack.packb({"v": 2}))


def test_more_than_a_node_can_have_is_not_written() -> None:
    with pytest.raises(MalformedEnvelope, match="at most 16384 bytes"):
        encode_roster(Roster("node-a", (), "x" * (MAX_RULES + 1)))
    some = tuple(RosterMember(f"asterisk-{i}", "u", "10.0.0.1") for i in range(MAX_ROSTER + 1))
    with pytest.raises(MalformedEnvelope, match="257 members on 'node-a'"):
        encode_roster(Roster("node-a", some))


@pytest.mark.parser
@given(st.binary(max_size=200))
def test_any_bytes_are_a_roster_or_malformed(data: bytes) -> None:
    try:
        decode_roster(data)
    except MalformedEnvelope:
        return
