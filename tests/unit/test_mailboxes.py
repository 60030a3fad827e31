"""The slot model: what each server's mailboxes hold and should hold."""

from dataclasses import replace

import pytest

from eventfed import EID, Event, Mailbox
from eventfed.spec import Injection, VoicemailStorage
from eventfed_agent.members.mailboxes import MailboxSlots, beside_mailbox
from eventfed_agent.members.shared_order import latest_count, next_order

A, B, C = (EID.parse(f"02:00:00:00:00:0{digit}") for digit in "abc")
BOX = "1001@default"
SEPARATE, SHARED = VoicemailStorage.SEPARATE, VoicemailStorage.SHARED
IN_PLACE, BESIDE = Injection.IN_PLACE, Injection.BESIDE
EMPTY = Mailbox(0, 0)


def slots(storage: VoicemailStorage = SEPARATE, injection: Injection = IN_PLACE) -> MailboxSlots:
    return MailboxSlots(A, storage, injection, contended_pause=60.0)


def says(eid: EID, new: int, old: int = 0, *, order: int = 0, time: float = 0.0) -> Event:
    return replace(Event.mailbox(BOX, new, old, eid, time=time), order=order)


def of(*events: Event) -> dict[EID, Event]:
    return {event.eid: event for event in events}


def inject(member: MailboxSlots, states: dict[EID, Event], now: float) -> tuple[str, Mailbox] | None:
    """Inject what is due and have it accepted; what it was."""
    spoken = member.announcements(BOX)
    due = member.due(BOX, states, now)
    if due is not None:
        member.injected(BOX, due[1], now, spoken)
    return due


def test_the_sum_goes_into_the_mailbox_once() -> None:
    member = slots()
    member.announced(BOX, Mailbox(1, 2), 0.0)
    states = of(says(A, 1, 2), says(B, 3, 4))
    assert inject(member, states, 0.0) == (BOX, Mailbox(4, 6))
    assert member.due(BOX, states, 1.0) is None


def test_a_replica_that_restarts_with_nothing_is_given_the_sum_and_puts_out_no_lamp() -> None:
    member = slots()
    states = of(says(B, 1))
    assert inject(member, states, 0.0) == (BOX, Mailbox(1, 0))
    member.forget()
    member.announced(BOX, EMPTY, 1.0)
    states = of(says(A, 0), says(B, 1))
    assert inject(member, states, 1.0) == (BOX, Mailbox(1, 0))


def test_where_only_the_member_itself_has_messages_nothing_is_injected() -> None:
    member = slots()
    member.announced(BOX, Mailbox(2, 0), 0.0)
    assert member.due(BOX, of(says(A, 2), says(B, 0)), 0.0) is None


def test_the_members_own_counts_come_from_its_mouth_before_the_bus() -> None:
    member = slots()
    member.remember_own(BOX, Mailbox(5, 0))
    assert member.own(BOX) == Mailbox(5, 0)
    member.announced(BOX, Mailbox(1, 0), 0.0)
    member.remember_own(BOX, Mailbox(5, 0))
    assert member.wanted(BOX, of(says(A, 5), says(B, 1))) == Mailbox(2, 0)


def test_a_server_that_never_spoke_of_a_mailbox_gets_the_others_sum() -> None:
    assert slots().due(BOX, of(says(B, 1), says(C, 2, 1)), 0.0) == (BOX, Mailbox(3, 1))


def test_withdrawal_gives_the_member_its_own_counts_back() -> None:
    member = slots()
    member.announced(BOX, Mailbox(1, 0), 0.0)
    states = of(says(A, 1), says(B, 3))
    inject(member, states, 0.0)
    assert member.due(BOX, states, 1.0, withdraw=True) == (BOX, Mailbox(1, 0))
    assert slots(injection=BESIDE).due(BOX, states, 1.0, withdraw=True) == ("1001@eventfed", EMPTY)


def give_back(member: MailboxSlots, now: float) -> tuple[str, Mailbox] | None:
    """Inject what a withdrawal is due, under the member's own EID, and have it accepted."""
    spoken = member.announcements(BOX)
    due = member.due(BOX, of(says(B, 3)), now, withdraw=True)
    if due is not None:
        member.injected(BOX, due[1], now, spoken, given_back=True)
    return due


def test_own_counts_are_given_back_once_even_where_they_are_the_sum() -> None:
    # The slot counts as the value of the server that wrote it last, and its dumps leave out what another wrote.
    member = slots()
    member.announced(BOX, Mailbox(1, 0), 0.0)
    inject(member, of(says(B, 3)), 0.0)
    inject(member, of(says(B, 0)), 1.0)
    assert member.gives_back(BOX)
    assert give_back(member, 2.0) == (BOX, Mailbox(1, 0))
    assert not member.announced(BOX, Mailbox(1, 0), 2.1)
    assert give_back(member, 2.2) is None


def test_a_member_that_never_spoke_of_a_mailbox_is_not_made_to() -> None:
    member = slots()
    inject(member, of(says(B, 3)), 0.0)
    assert not member.gives_back(BOX)
    assert member.due(BOX, {}, 1.0, withdraw=True) == (BOX, EMPTY)


def test_the_echo_of_own_counts_does_not_hide_a_newer_word() -> None:
    member = slots()
    member.announced(BOX, Mailbox(1, 0), 0.0)
    inject(member, of(says(B, 3)), 10.0)
    spoken = member.announcements(BOX)
    assert member.due(BOX, {}, 20.0, withdraw=True) == (BOX, Mailbox(1, 0))
    assert member.announced(BOX, Mailbox(2, 0), 20.0)  # said before the injection arrived
    assert not member.announced(BOX, Mailbox(1, 0), 20.0)
    member.injected(BOX, Mailbox(1, 0), 20.0, spoken, given_back=True)
    assert give_back(member, 20.1) == (BOX, Mailbox(2, 0))
    assert not member.announced(BOX, Mailbox(2, 0), 20.2)
    assert give_back(member, 20.3) is None


def test_an_echo_that_never_came_is_not_waited_for_long() -> None:
    member = slots()
    member.announced(BOX, Mailbox(1, 0), 0.0)
    inject(member, of(says(B, 3)), 10.0)
    assert give_back(member, 20.0) == (BOX, Mailbox(1, 0))
    assert member.announced(BOX, Mailbox(1, 0), 30.0)


def test_an_injection_that_was_never_answered_is_due_again_even_if_the_wish_went_back() -> None:
    # It may have arrived with only its answer lost: nobody knows what the slot holds.
    member = slots()
    assert inject(member, of(says(B, 1)), 0.0) == (BOX, Mailbox(1, 0))
    assert member.due(BOX, of(says(B, 2)), 1.0) == (BOX, Mailbox(2, 0))
    assert member.due(BOX, of(says(B, 1)), 2.0) == (BOX, Mailbox(1, 0))


def test_an_announcement_that_crossed_an_injection_leaves_the_slot_unknown() -> None:
    # Heard after the answer, although said before the injection arrived.
    member = slots()
    member.announced(BOX, Mailbox(1, 0), 0.0)
    assert inject(member, of(says(A, 1), says(B, 1)), 0.0) == (BOX, Mailbox(2, 0))
    assert inject(member, of(says(A, 1), says(B, 0)), 10.0) == (BOX, Mailbox(1, 0))
    member.announced(BOX, Mailbox(3, 0), 10.5)
    assert member.due(BOX, of(says(A, 3), says(B, 0)), 10.5) == (BOX, Mailbox(3, 0))


def test_an_announcement_during_an_injection_leaves_the_slot_unknown() -> None:
    member = slots()
    spoken = member.announcements(BOX)
    states = of(says(B, 1))
    assert member.due(BOX, states, 0.0) == (BOX, Mailbox(1, 0))
    member.announced(BOX, EMPTY, 0.1)
    member.injected(BOX, Mailbox(1, 0), 0.2, spoken)
    assert member.due(BOX, states, 0.3) == (BOX, Mailbox(1, 0))


def test_a_restart_during_an_injection_leaves_the_slot_unknown() -> None:
    member = slots(injection=BESIDE)
    spoken = member.announcements(BOX)
    states = of(says(B, 1))
    assert member.due(BOX, states, 0.0) is not None
    member.forget()
    member.injected(BOX, Mailbox(1, 0), 0.2, spoken)
    assert member.due(BOX, states, 0.3) == ("1001@eventfed", Mailbox(1, 0))


# pollmailboxes=yes


def test_a_server_that_answers_each_injection_with_its_own_count_is_contended() -> None:
    member = slots()
    states = of(says(A, 0), says(B, 4))
    member.announced(BOX, EMPTY, 0.0)
    for now in (1.0, 4.0, 7.0):
        assert member.contended == []
        assert inject(member, states, now) == (BOX, Mailbox(4, 0))
        member.announced(BOX, EMPTY, now + 2.0)
    assert member.contended == [BOX]
    assert member.retry_at(BOX) == 67.0
    assert member.due(BOX, states, 66.9) is None
    assert inject(member, states, 67.0) == (BOX, Mailbox(4, 0))
    member.announced(BOX, EMPTY, 69.0)
    assert member.due(BOX, states, 126.0) is None


def test_a_changed_count_ends_the_contest() -> None:
    member = slots()
    states = of(says(A, 0), says(B, 4))
    member.announced(BOX, EMPTY, 0.0)
    for now in (1.0, 4.0, 7.0):
        inject(member, states, now)
        member.announced(BOX, EMPTY, now + 2.0)
    member.announced(BOX, Mailbox(1, 0), 10.0)
    assert member.contended == []
    assert member.due(BOX, states, 10.0) == (BOX, Mailbox(5, 0))


def test_a_refresh_long_after_each_injection_is_no_contest() -> None:
    member = slots()
    states = of(says(A, 0), says(B, 4))
    member.announced(BOX, EMPTY, 0.0)
    for now in (0.0, 1000.0, 2000.0, 3000.0, 4000.0):
        assert inject(member, states, now) == (BOX, Mailbox(4, 0))
        member.announced(BOX, EMPTY, now + 900.0)
    assert member.contended == []


# Shared


def test_shared_shows_the_latest_news_and_no_sum() -> None:
    member = slots(SHARED)
    member.announced(BOX, Mailbox(1, 0), 0.0)
    heard_through_b = of(says(A, 1, order=1), says(B, 0, 1, order=2))
    assert inject(member, heard_through_b, 1.0) == (BOX, Mailbox(0, 1))


def test_a_stale_nothing_does_not_win_in_shared() -> None:
    # B, which was never asked, answers a refresh with 0/0: no change, so no news.
    states = of(says(A, 1, order=2), says(B, 0, order=1, time=99.0))
    assert slots(SHARED).wanted(BOX, states) == Mailbox(1, 0)


def test_the_same_words_after_an_injection_are_news_again() -> None:
    # A message through A, heard and deleted through B, and then another one through A.
    member = slots(SHARED)
    member.announced(BOX, Mailbox(1, 0), 0.0)
    assert not member.overwritten(BOX)
    assert inject(member, of(says(A, 1, order=1), says(B, 0, order=2)), 1.0) == (BOX, EMPTY)
    assert member.overwritten(BOX)
    member.announced(BOX, Mailbox(1, 0), 2.0)
    assert not member.overwritten(BOX)


def test_news_are_numbered_after_all_that_is_known() -> None:
    assert next_order([]) == 1
    assert next_order([says(A, 1, order=4), says(B, 1, order=7)]) == 8
    assert latest_count({}) is None


def test_a_tie_of_news_has_one_answer_everywhere() -> None:
    early, late = says(A, 1, order=3, time=1.0), says(B, 2, order=3, time=2.0)
    assert latest_count(of(early, late)) is late
    assert latest_count(of(says(A, 1, order=3), says(B, 2, order=3))) == says(B, 2, order=3)


# Beside


@pytest.mark.parametrize(
    ("mailbox", "beside"),
    [("1001@default", "1001@eventfed"), ("1001", "1001@eventfed"), ("1001@sales", "1001@eventfed-sales")],
)
def test_the_others_sum_has_a_mailbox_of_its_own(mailbox: str, beside: str) -> None:
    assert beside_mailbox(mailbox) == beside


def test_beside_leaves_the_own_slot_alone() -> None:
    member = slots(injection=BESIDE)
    states = of(says(A, 1), says(B, 3))
    member.announced(BOX, Mailbox(1, 0), 0.0)
    assert inject(member, states, 0.0) == ("1001@eventfed", Mailbox(3, 0))
    member.announced(BOX, Mailbox(2, 0), 1.0)
    assert member.due(BOX, states, 1.0) is None
    assert inject(member, of(says(A, 2), says(B, 0)), 2.0) == ("1001@eventfed", EMPTY)


# --- forgetting ---


@pytest.mark.parametrize("storage", VoicemailStorage)
def test_a_mailbox_that_is_forgotten_counts_no_longer_and_its_slot_is_overwritten(storage: VoicemailStorage) -> None:
    """The server repeats in each dump what it said last itself, unless another's counts stand in the slot."""
    member = slots(storage)
    member.announced(BOX, Mailbox(3, 1), 0.0)
    member.forget_mailbox(BOX)
    assert member.own(BOX) is None
    assert member.due(BOX, {}, 1.0) == (BOX, Mailbox(0, 0))
    member.injected(BOX, Mailbox(0, 0), 1.0, member.announcements(BOX))
    assert member.due(BOX, {}, 2.0) is None
    assert not member.gives_back(BOX)


def test_an_empty_mailbox_is_overwritten_as_well_or_a_dump_would_name_it() -> None:
    member = slots()
    member.announced(BOX, Mailbox(0, 0), 0.0)
    assert member.due(BOX, {}, 0.5) is None
    member.forget_mailbox(BOX)
    assert member.due(BOX, {}, 1.0) == (BOX, Mailbox(0, 0))


def test_what_the_server_said_before_the_injection_arrived_names_no_forgotten_mailbox_again() -> None:
    member = slots()
    member.announced(BOX, Mailbox(3, 1), 0.0)
    member.forget_mailbox(BOX)
    member.forget_mailbox(BOX)
    assert not member.announced(BOX, Mailbox(3, 1), 0.1)
    assert member.due(BOX, {}, 0.2) == (BOX, Mailbox(0, 0))
    assert not member.announced(BOX, Mailbox(3, 1), 0.3)
    member.injected(BOX, Mailbox(0, 0), 0.4, member.announcements(BOX))
    assert member.announced(BOX, Mailbox(3, 1), 0.5)
    assert member.own(BOX) == Mailbox(3, 1)


def test_another_count_or_a_restart_names_a_forgotten_mailbox_again_at_once() -> None:
    member = slots()
    member.announced(BOX, Mailbox(3, 1), 0.0)
    member.forget_mailbox(BOX)
    assert member.announced(BOX, Mailbox(4, 1), 0.1)
    assert member.own(BOX) == Mailbox(4, 1)
    member.forget_mailbox(BOX)
    member.forget()
    assert member.announced(BOX, Mailbox(4, 1), 0.2)


def test_beside_a_forgotten_mailbox_is_emptied_first_and_then_the_others_sum_goes_on() -> None:
    member = slots(injection=Injection.BESIDE)
    others = {B: Event.mailbox(BOX, 2, 0, B)}
    member.announced(BOX, Mailbox(3, 1), 0.0)
    assert member.due(BOX, others, 0.1) == (beside_mailbox(BOX), Mailbox(2, 0))
    member.injected(BOX, Mailbox(2, 0), 0.2, 0)
    member.forget_mailbox(BOX)
    assert member.due(BOX, others, 1.0) == (BOX, Mailbox(0, 0))
    member.injected(BOX, Mailbox(0, 0), 1.1, 0)
    assert member.due(BOX, others, 1.2) == (beside_mailbox(BOX), Mailbox(2, 0))
    member.injected(BOX, Mailbox(2, 0), 1.3, 0)
    assert member.due(BOX, others, 1.4) is None
    assert member.announced(BOX, Mailbox(3, 1), 2.0)
    assert member.own(BOX) == Mailbox(3, 1)
