"""Advice names what was seen."""

import pytest

from eventfed_agent.configuration import MemberConfiguration
from eventfed_agent.members.evidence import Evidence, Strangers
from eventfed_agent.pjsip.refusals import refusal_advice

EID = "02:00:00:00:00:0a"
OTHER = "02:00:00:00:00:0b"
LONGEST = 240
"""Characters of a reason that a report carries."""


def evidence(strangers: Strangers, eid: str | None = None) -> Evidence:
    return Evidence(MemberConfiguration(name="a", host="10.0.0.1", eid=eid), lambda: strangers)


def test_a_publication_from_another_address_is_named_with_its_eid() -> None:
    strangers = Strangers()
    one = evidence(strangers)
    strangers.note("10.0.0.2", EID, 100.0)
    text = one.explain(110.0)
    assert "nothing came from 10.0.0.1, but 10.0.0.2 publishes under EID 02:00:00:00:00:0a" in text
    assert "asterisk-config" not in text
    known = evidence(strangers, EID).explain(110.0)
    assert known.startswith(f"its EID {EID} publishes from 10.0.0.2, not from 10.0.0.1: set host to 10.0.0.2")
    strangers.note("10.0.0.3", OTHER, 120.0)
    assert evidence(strangers, EID).explain(130.0) == known
    assert "10.0.0.2" not in one.explain(1000.0)  # long ago


def test_what_we_refuse_ourselves_comes_first() -> None:
    strangers = Strangers()
    one = evidence(strangers)
    strangers.note("10.0.0.2", EID, 100.0)
    one.we_refused("400: no JSON", 100.0)
    assert one.explain(110.0) == "what it publishes is refused by us: 400: no JSON"


def test_a_server_that_takes_ours_and_publishes_nothing_is_told_apart_from_one_that_shows_nothing() -> None:
    one = evidence(Strangers())
    assert one.explain(0.0).startswith("it answers OPTIONS, but no PUBLISH came from 10.0.0.1")
    one.it_accepted()
    assert one.explain(0.0).startswith("it takes our PUBLISH, but nothing came from 10.0.0.1")


@pytest.mark.parametrize("heard", [False, True])
@pytest.mark.parametrize("status", [401, 403, 404, 489, 501])
def test_each_refusal_names_its_status_and_fits_a_report(status: int, heard: bool) -> None:
    text = refusal_advice(status, heard=heard)
    assert text is not None
    assert str(status) in text
    assert len(text) <= LONGEST


def test_every_explanation_fits_a_report_and_strangers_have_a_bound() -> None:
    strangers = Strangers()
    long = "2001:db8:1111:2222:3333:4444:5555:6666"
    one = Evidence(MemberConfiguration(name="a", host=long, eid=EID), lambda: strangers)
    texts = [one.explain(0.0)]
    one.it_accepted()
    texts.append(one.explain(0.0))
    strangers.note(long, OTHER, 0.0)
    texts.append(one.explain(0.0))
    strangers.note(long, EID, 0.0)
    texts.append(one.explain(0.0))
    assert max(map(len, texts)) <= LONGEST
    for number in range(1000):
        strangers.note(f"10.0.1.{number}", "", 1.0)
    assert len(strangers.lately(1.0)) == 64
