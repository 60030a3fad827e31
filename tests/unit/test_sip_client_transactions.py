from __future__ import annotations

import pytest

from eventfed_agent.pjsip.sip import ClientTimers, ClientTransactions, Response, parse_message


def response(status: int = 200, branch: str = "z9hG4bK1", method: str = "PUBLISH") -> Response:
    message = parse_message(
        f"SIP/2.0 {status} X\r\nVia: SIP/2.0/UDP h:5060;branch={branch}\r\nFrom: <sip:a@b>;tag=1\r\n"
        f"To: <sip:a@b>;tag=2\r\nCall-ID: c\r\nCSeq: 1 {method}\r\n\r\n".encode()
    )
    assert isinstance(message, Response)
    return message


def started(*, reliable: bool = False, timers: ClientTimers | None = None) -> ClientTransactions:
    transactions = ClientTransactions(timers or ClientTimers())
    transactions.start("z9hG4bK1", "PUBLISH", b"request", reliable=reliable, now=0.0)
    return transactions


def run(transactions: ClientTransactions) -> tuple[list[float], list[float]]:
    """The times of all retransmissions and timeouts, with a clock that is never late."""
    sent, ended = [], []
    while (deadline := transactions.next_deadline()) is not None:
        due = transactions.due(deadline)
        sent += [deadline] * len(due.retransmissions)
        ended += [deadline] * len(due.timeouts)
    return sent, ended


def test_over_udp_timer_e_doubles_up_to_t2_and_timer_f_ends_it() -> None:
    assert run(started()) == ([0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5], [32.0])


def test_both_timers_can_be_set() -> None:
    timers = ClientTimers(t1=0.1, t2=0.2, timeout=0.8)
    sent, ended = run(started(timers=timers))
    assert sent == pytest.approx([0.1, 0.3, 0.5, 0.7])
    assert ended == pytest.approx([0.8])


def test_over_tcp_nothing_is_sent_again() -> None:
    assert run(started(reliable=True)) == ([], [32.0])


def test_a_final_response_ends_the_transaction_once() -> None:
    transactions = started()
    assert transactions.receive(response(), 0.1) == "z9hG4bK1"
    assert transactions.receive(response(), 0.2) is None
    assert transactions.next_deadline() is None
    assert transactions.due(100.0).timeouts == []


def test_a_provisional_response_slows_retransmission_down_to_t2() -> None:
    transactions = started()
    assert transactions.receive(response(100), 0.1) is None
    sent, ended = run(transactions)
    assert sent[:3] == [0.5, 4.5, 8.5]
    assert ended == [32.0]


@pytest.mark.parametrize("other", [response(branch="z9hG4bK2"), response(method="OPTIONS")])
def test_a_response_with_another_branch_or_method_fits_nothing(other: Response) -> None:
    transactions = started()
    assert transactions.receive(other, 0.1) is None
    assert len(transactions) == 1


def test_after_the_process_stood_still_nothing_old_is_sent() -> None:
    transactions = started()
    due = transactions.due(0.5 + 2.1)
    assert due.retransmissions == []
    assert due.timeouts == ["z9hG4bK1"]
    assert len(transactions) == 0


def test_a_clock_that_is_a_little_late_retransmits() -> None:
    transactions = started()
    assert transactions.due(2.4).retransmissions == [("z9hG4bK1", b"request")]
    assert transactions.next_deadline() == 3.4


def test_what_is_given_up_is_forgotten() -> None:
    transactions = started()
    transactions.end("z9hG4bK1")
    assert (len(transactions), transactions.next_deadline()) == (0, None)


def test_deadlines_of_ended_transactions_do_not_pile_up_behind_a_live_one() -> None:
    transactions = started(reliable=True)
    for number in range(50_000):
        transactions.start(str(number), "PUBLISH", b"", reliable=True, now=1.0)
        transactions.end(str(number))
    assert len(transactions._heap) < 10_000
    assert run(transactions) == ([], [32.0])
