"""A PUBLISH of mailbox counts is answered once the bus has them, and not later than the server can wait."""

import asyncio
from typing import cast

import pytest

from eventfed import EID, DeviceState, Event, StateKey
from eventfed_agent.members.identity import Identity
from eventfed_agent.pjsip.deferred_answers import MailboxAnswers
from eventfed_agent.pjsip.payloads import RefreshPayload, StatePayload
from eventfed_agent.pjsip.sip import Later, Response
from tests.ground.narrowing import instance

EID_A = EID.derive("a")
COUNTS = StatePayload(Event.mailbox("1001@default", 1, 0, EID_A))
OK = cast(Response, "200 OK")


class Member:
    """As far as an identity is asked."""

    def __init__(self) -> None:
        self.stored: set[StateKey] = set()
        self.parted = False
        self.identity: Member | None = self

    def is_on_bus(self, key: StateKey) -> bool:
        return key in self.stored

    def present(self) -> Identity | None:
        return cast(Identity | None, self.identity)


def told(later: Response | Later) -> list[Response | None]:
    """What the user agent is told to send; None is silence."""
    sent: list[Response | None] = []
    instance(Later, later)._bind(sent.append)
    return sent


@pytest.mark.parametrize(
    "payload", [StatePayload(Event.device("SIP/1", DeviceState.BUSY, EID_A)), RefreshPayload(EID_A)]
)
async def test_all_but_mailboxes_are_answered_at_once(payload: StatePayload | RefreshPayload) -> None:
    assert MailboxAnswers(15.0).answer(OK, payload, Member().present) is OK
    assert MailboxAnswers(15.0).answer(OK, None, Member().present) is OK


async def test_counts_that_the_bus_has_are_answered_at_once() -> None:
    member = Member()
    member.stored.add(COUNTS.event.state_key)
    assert MailboxAnswers(15.0).answer(OK, COUNTS, member.present) is OK


async def test_others_are_answered_once_the_bus_has_them() -> None:
    answers, member = MailboxAnswers(15.0), Member()
    sent = told(answers.answer(OK, COUNTS, member.present))
    answers.look()
    assert (sent, len(answers)) == ([], 1)
    member.stored.add(COUNTS.event.state_key)
    answers.look()
    assert (sent, len(answers), answers.given_early) == ([OK], 0, 0)
    answers.close()


async def test_they_are_answered_all_the_same_before_the_server_gives_up_and_that_is_counted() -> None:
    answers, member = MailboxAnswers(0.05), Member()
    sent = told(answers.answer(OK, COUNTS, member.present))
    await asyncio.sleep(0.02)
    later = told(answers.answer(OK, COUNTS, member.present))
    async with asyncio.timeout(5):
        while len(answers):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert sent == later == [OK]
    assert answers.given_early == 2
    answers.close()


async def test_what_another_agent_has_to_publish_is_not_answered() -> None:
    answers, lost, replaced = MailboxAnswers(15.0), Member(), Member()
    sent = [told(answers.answer(OK, COUNTS, member.present)) for member in (lost, replaced)]
    lost.parted, replaced.identity = True, None
    answers.look()
    assert sent == [[None], [None]]
    answers.close()


async def test_what_waits_when_the_agent_ends_stays_unanswered() -> None:
    answers, member = MailboxAnswers(0.02), Member()
    sent = told(answers.answer(OK, COUNTS, member.present))
    answers.close()
    await asyncio.sleep(0.05)
    assert (sent, len(answers)) == ([], 0)
