"""Why a member does not take part: what its answers show counts more than what is guessed while it is silent."""

import structlog.testing

from eventfed import EID
from eventfed.wire.report import MemberState
from eventfed_agent.configuration import MemberConfiguration
from eventfed_agent.event_log import EventLog
from eventfed_agent.members.evidence import Strangers
from eventfed_agent.members.lifecycle import Input
from eventfed_agent.members.standing import Standing

ADVICE = "the server does not know the secret"


def standing() -> Standing:
    one = Standing(
        MemberConfiguration(name="a", host="10.0.0.1"), Strangers, EventLog(structlog.testing.CapturingLogger())
    )
    one.take(Input.ANSWERS)
    return one


def test_a_guess_follows_the_evidence_and_ends_when_the_member_says_who_it_is() -> None:
    one = standing()
    one.stayed_silent(0.0)
    first = one.trouble
    one.evidence.it_accepted()
    one.stayed_silent(1.0)
    assert first is not None
    assert one.trouble not in (None, first)
    assert one.state is MemberState.NOT_CONFIGURED
    one.identified()
    assert one.trouble is None
    assert one.state is MemberState.SYNCING


def test_what_an_answer_shows_is_not_replaced_by_a_guess_nor_ended_by_an_eid() -> None:
    one = standing()
    one.lacks(ADVICE)
    one.stayed_silent(0.0)
    one.identified()
    assert one.trouble == ADVICE
    one.mended()
    assert one.trouble is None


def test_an_answer_takes_the_place_of_a_guess() -> None:
    one = standing()
    one.stayed_silent(0.0)
    one.lacks(ADVICE)
    one.stayed_silent(1.0)
    assert one.trouble == ADVICE


def test_one_that_was_refused_is_no_longer_once_it_has_an_eid_of_its_own() -> None:
    one = standing()
    one.refuse(EID.derive("twin"), "b (10.0.0.2)")
    states = [one.state]
    one.identified()
    assert one.refused is None
    assert [*states, one.state] == [MemberState.DUPLICATE, MemberState.SYNCING]
