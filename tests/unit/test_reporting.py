"""What an agent reports: contended names, and members by uid."""

from types import SimpleNamespace
from typing import Any, cast

from eventfed import EID, DeviceState, Event, View
from eventfed.wire.report import MAX_NAMES, MemberState
from eventfed_agent.configuration import MemberConfiguration
from eventfed_agent.contention import contended_names, cut_names
from eventfed_agent.members.member import Member
from eventfed_agent.reporting import ContendedNames, reported

A, B = EID.parse("02:00:00:00:00:0a"), EID.parse("02:00:00:00:00:0b")


def view_of(*names: str, eids: tuple[EID, ...] = (A, B)) -> View:
    view = View()
    view.begin_replay("one")
    for number, name in enumerate(names):
        for eid in eids:
            event = Event.device(name, DeviceState.INUSE, eid).stamped(epoch=1, sequence=number + 1)
            view.put_state(event.state_key, event, number + 1)
    view.end_replay()
    return view


def test_a_name_is_contended_when_two_servers_provide_it() -> None:
    assert contended_names(view_of("Custom:b", "Custom:a", "PJSIP/1001")) == ["Custom:a", "Custom:b"]
    assert contended_names(view_of("Custom:b", eids=(A,))) == []


def test_a_departed_server_contends_for_nothing() -> None:
    view = view_of("Custom:a")
    view.put_marker(Event.device("Custom:a", DeviceState.INUSE, B).state_key, 2)
    assert contended_names(view) == []


def test_names_of_the_length_at_which_asterisk_cuts_are_told_and_others_are_not() -> None:
    right, cut, longer = (f"Custom:{'x' * (size - 7)}" for size in (78, 79, 80))
    umlauts = "Custom:" + "ü" * 36
    view = view_of(right, cut, longer, umlauts)
    assert cut_names(view) == cut_names(view, A) == sorted([cut, umlauts])
    assert cut_names(view, EID.parse("02:00:00:00:00:0c")) == []


def test_names_are_counted_when_something_changed_and_not_too_often() -> None:
    view = view_of("Custom:a")
    names = ContendedNames(view)
    assert names.at(100.0) == ("Custom:a",)
    event = Event.device("Custom:b", DeviceState.INUSE, A).stamped(epoch=1, sequence=9)
    view.put_state(event.state_key, event, 9)
    other = Event.device("Custom:b", DeviceState.INUSE, B).stamped(epoch=1, sequence=9)
    view.put_state(other.state_key, other, 10)
    assert names.at(109.0) == ("Custom:a",)
    assert names.at(110.0) == ("Custom:a", "Custom:b")


def test_only_the_first_few_names_are_told() -> None:
    names = ContendedNames(view_of(*(f"Custom:{number:02}" for number in range(20)))).at(0.0)
    assert names == tuple(f"Custom:{number:02}" for number in range(MAX_NAMES))


def member(name: str, uid: str, **more: Any) -> Member:
    facts = {"state": MemberState.SYNCED, "reason": "", "eid": A, "contended": [], **more}
    standing = SimpleNamespace(refused=facts.pop("refused", None))
    configuration = MemberConfiguration(name=name, host="10.0.0.1", uid=uid)
    adapter = SimpleNamespace(token_taken="m")
    return cast(Member, SimpleNamespace(configuration=configuration, adapter=adapter, standing=standing, **facts))


def test_members_are_told_by_uid_in_one_order() -> None:
    several = [
        member("b", "uid-2", state=MemberState.LOST, reason="no answer", contended=["1@default", "2@default"]),
        member("a", "uid-1", eid=None),
    ]
    first, second = reported(several)
    assert (first.uid, first.state, first.eid, first.token) == ("uid-1", "synced", "", "m")
    assert (second.uid, second.state, second.reason, second.contended_mailboxes) == ("uid-2", "lost", "no answer", 2)
    assert reported(several[::-1]) == (first, second), "so that the order of a dict is no news"


def test_a_member_that_is_refused_is_told_with_the_eid_that_it_claimed() -> None:
    (told,) = reported([member("twin", "uid-3", state=MemberState.DUPLICATE, eid=None, refused=(B, "asterisk-0"))])
    assert (told.state, told.eid) == ("duplicate", str(B))
