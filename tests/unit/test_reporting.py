"""What an agent reports: contended names, and members by uid."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from eventfed import EID, DeviceState, Event, StateKey, View
from eventfed.wire.report import MemberState
from eventfed_agent import contention
from eventfed_agent.configuration import MemberConfiguration
from eventfed_agent.contention import NamesInTrouble
from eventfed_agent.members.member import Member
from eventfed_agent.reporting import reported

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


def names_of(view: View) -> NamesInTrouble:
    names = NamesInTrouble(view)
    names.look()
    return names


def put(view: View, name: str, eid: EID, number: int) -> None:
    event = Event.device(name, DeviceState.INUSE, eid).stamped(epoch=1, sequence=number)
    view.put_state(event.state_key, event, number)


def test_a_name_is_contended_when_two_servers_provide_it() -> None:
    assert names_of(view_of("Custom:b", "Custom:a", "PJSIP/1001")).contended() == ["Custom:a", "Custom:b"]
    assert names_of(view_of("Custom:b", eids=(A,))).contended() == []


def test_a_departed_server_contends_for_nothing() -> None:
    view = view_of("Custom:a")
    names = names_of(view)
    view.put_marker(Event.device("Custom:a", DeviceState.INUSE, B).state_key, 2)
    names.look()
    assert names.contended() == []
    put(view, "Custom:a", B, 3)
    names.look()
    assert names.contended() == ["Custom:a"]


def test_names_of_the_length_at_which_asterisk_cuts_are_told_and_others_are_not() -> None:
    right, cut, longer = (f"Custom:{'x' * (size - 7)}" for size in (78, 79, 80))
    umlauts = "Custom:" + "ü" * 36
    view = view_of(right, cut, longer, umlauts)
    names = names_of(view)
    assert names.cut(A) == names.cut(B) == sorted([cut, umlauts])
    assert names.cut_count == 2
    assert names.cut(EID.parse("02:00:00:00:00:0c")) == []
    view.put_marker(Event.device(cut, DeviceState.INUSE, A).state_key, 9)
    names.look()
    assert names.cut(A) == [umlauts]
    assert names.cut_count == 2


def test_a_look_costs_what_has_changed_and_not_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    view = view_of(*(f"Custom:{number}" for number in range(2_000)), eids=(A,))
    names = names_of(view)
    asked: list[StateKey] = []
    get = view.get

    def noting(key: StateKey) -> Event | None:
        asked.append(key)
        return get(key)

    monkeypatch.setattr(view, "get", noting)
    names.look()
    assert asked == []
    put(view, "Custom:7", B, 5_000)
    names.look()
    assert names.contended() == ["Custom:7"]
    assert len(asked) == 1


def test_one_look_bears_so_many_names_and_the_next_one_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contention, "_AT_ONCE", 10)
    names = NamesInTrouble(view_of("Custom:a", *(f"PJSIP/{number}" for number in range(20)), "Custom:b"))
    names.look()
    assert names.contended() == ["Custom:a"]
    for _ in range(5):
        names.look()
    assert names.contended() == ["Custom:a", "Custom:b"]


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
