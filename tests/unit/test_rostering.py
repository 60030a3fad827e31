"""What an agent makes of rosters."""

from collections.abc import Callable

import pytest

from eventfed.wire.roster import Roster, RosterMember
from eventfed_agent.configuration import NODE_VARIABLE, ConfigurationError, MemberConfiguration, parse_configuration
from eventfed_agent.roster_changes import Parting, part_with, roster_members, with_rules

LEAST = """
events = [{ type = "device_state" }]
[federation]
name = "pbx"
[nats]
servers = ["nats://127.0.0.1:4222"]
"""
OLD = RosterMember("asterisk-0", "uid-old", "10.0.0.1")
LEAVING = RosterMember("asterisk-0", "uid-old", "10.0.0.1", leaving=True)
NEW = RosterMember("asterisk-0", "uid-new", "10.0.0.2", 5080, "tcp")


def roster(*members: RosterMember) -> Roster:
    return Roster("node-1", members)


def test_the_rules_of_a_roster_go_before_those_of_the_file() -> None:
    file = parse_configuration(LEAST, "file")
    assert with_rules(file, None) == with_rules(file, roster(NEW)) == file
    rules = '{"events": [{"type": "mwi", "voicemail_storage": "Shared"}], "departure": {"grace_period": 7}}'
    ruled = with_rules(file, Roster("node-1", (), rules))
    assert [event.type for event in ruled.events] == ["mwi"]
    assert ruled.departure.grace_period == 7
    assert ruled.model_copy(update={"events": file.events, "departure": file.departure}) == file


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ("no JSON", "roster of node-1"),
        ('{"events": []}', "events"),
        ('{"events": [{"type": "mwi"}]}', "voicemailStorage"),
        ('{"events": [{"type": "device_state"}], "news": 1}', "news"),
    ],
)
def test_rules_that_cannot_be_read_are_refused(rules: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        with_rules(parse_configuration(LEAST, "file"), Roster("node-1", (), rules))


def test_a_roster_names_members_by_their_uid() -> None:
    (member,) = roster_members(roster(NEW))
    assert (member.name, member.identity, member.address) == ("asterisk-0", "uid-new", "tcp:10.0.0.2:5080")
    assert roster_members(roster()) == ()


def test_that_a_member_is_about_to_end_changes_nothing_for_it() -> None:
    assert roster_members(roster(LEAVING)) == roster_members(roster(OLD))


@pytest.mark.parametrize("order", [1, -1])
def test_an_address_is_of_the_one_that_stays(order: int) -> None:
    other = RosterMember("b", "uid-b", "10.0.0.1")
    members = roster_members(roster(*[LEAVING, other][::order]))
    assert [member.name for member in members] == ["b"]


def test_of_two_lives_of_one_name_the_younger_counts() -> None:
    for order in (1, -1):
        assert [one.uid for one in roster_members(roster(*[LEAVING, NEW][::order]))] == ["uid-new"]


def parting(before: Roster | None, now: Roster, node_of: Callable[[str], str | None] = lambda uid: None) -> Parting:
    (member,) = roster_members(roster(OLD))
    return part_with(member, before=before, wanted=roster_members(now), node_of=node_of)


def test_a_server_that_left_the_federation_is_given_back_what_was_its_own() -> None:
    assert parting(roster(OLD), roster()) is Parting.WITHDRAW


def test_a_server_that_had_been_told_to_end_is_gone() -> None:
    assert parting(roster(LEAVING), roster()) is Parting.RELEASE


def test_a_server_of_which_another_has_the_name_is_gone() -> None:
    assert parting(roster(OLD), roster(NEW)) is Parting.RELEASE


def test_a_server_that_another_node_lists_is_let_go() -> None:
    assert parting(roster(OLD), roster(), {"uid-old": "node-2"}.get) is Parting.RELEASE


def test_the_node_is_named_by_the_file_or_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(NODE_VARIABLE, raising=False)
    assert parse_configuration(LEAST, "agent.toml").roster_node is None
    assert parse_configuration(LEAST + '[agent]\nnode = "n1"\n', "agent.toml").roster_node == "n1"
    monkeypatch.setenv(NODE_VARIABLE, "n2")
    assert parse_configuration(LEAST, "agent.toml").roster_node == "n2"
    assert parse_configuration(LEAST + '[agent]\nnode = "n1"\n', "agent.toml").roster_node == "n1"


def test_members_stand_in_the_file_or_on_the_roster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NODE_VARIABLE, "n2")
    member = '[[members]]\nname = "a"\nhost = "10.0.0.1"\n'
    assert parse_configuration(LEAST + member, "agent.toml").roster_node is None, "the file is more particular"
    with pytest.raises(ConfigurationError, match="node takes the members from NATS: remove it, or"):
        parse_configuration(LEAST + '[agent]\nnode = "n1"\n' + member, "agent.toml")


def test_inboxes_may_have_a_prefix_of_their_own() -> None:
    text = LEAST + 'inbox_prefix = "_INBOX_agent"\n'
    assert parse_configuration(text, "agent.toml").nats.inbox_prefix == "_INBOX_agent"
    with pytest.raises(ConfigurationError, match=r"nats\.inbox_prefix"):
        parse_configuration(LEAST + 'inbox_prefix = "a.>"\n', "agent.toml")


def test_identity_of_a_file_member_is_its_address() -> None:
    assert ":" in MemberConfiguration(name="a", host="10.0.0.1").identity, "so that rosters never call it gone"
