from __future__ import annotations

from eventfed_agent.pjsip.sip import Address, Arrival, Request, ServerTransactions, Transport, parse_message

SOURCE = Address("10.0.0.7", 5060)
TEMPLATE = (
    "{method} sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP {sent_by};branch={branch}\r\nFrom: <sip:a@b>;tag={tag}\r\n"
    "To: <sip:a@b>\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\n\r\n"
)


def request(**changes: object) -> Request:
    fields: dict[str, object] = {
        "method": "PUBLISH",
        "sent_by": "10.0.0.7:5060",
        "branch": "z9hG4bK1",
        "tag": "t",
        "call_id": "c",
        "cseq": 1,
    }
    message = parse_message(TEMPLATE.format(**(fields | changes)).encode())
    assert isinstance(message, Request)
    return message


KEY = ServerTransactions.key(request(), SOURCE)


def test_a_retransmission_is_absorbed_until_it_is_answered_and_then_answered_from_memory() -> None:
    transactions = ServerTransactions()
    assert transactions.receive(KEY, 0.0) == (Arrival.NEW, None)
    assert transactions.receive(KEY, 0.5) == (Arrival.UNANSWERED, None)
    assert transactions.answer(KEY, b"200", reliable=False, now=1.0)
    assert transactions.receive(KEY, 1.5) == (Arrival.ANSWERED, b"200")
    assert transactions.receive(KEY, 32.9) == (Arrival.ANSWERED, b"200")
    assert transactions.receive(KEY, 33.0) == (Arrival.NEW, None)


def test_a_request_left_in_silence_is_handled_afresh() -> None:
    transactions = ServerTransactions()
    transactions.receive(KEY, 0.0)
    transactions.forget(KEY)
    assert transactions.receive(KEY, 0.5) == (Arrival.NEW, None)


def test_an_answer_after_the_client_gave_up_is_not_kept() -> None:
    transactions = ServerTransactions()
    transactions.receive(KEY, 0.0)
    transactions.expire(32.0)
    assert not transactions.answer(KEY, b"200", reliable=False, now=33.0)
    assert len(transactions) == 0


def test_a_second_answer_does_not_replace_the_first() -> None:
    transactions = ServerTransactions()
    transactions.receive(KEY, 0.0)
    assert transactions.answer(KEY, b"first", reliable=False, now=0.0)
    assert not transactions.answer(KEY, b"second", reliable=False, now=0.0)
    assert transactions.receive(KEY, 0.1) == (Arrival.ANSWERED, b"first")


def test_over_a_reliable_transport_nothing_is_kept_after_the_answer() -> None:
    transactions = ServerTransactions()
    transactions.receive(KEY, 0.0)
    assert transactions.receive(KEY, 0.1) == (Arrival.UNANSWERED, None)
    assert transactions.answer(KEY, b"200", reliable=True, now=0.2)
    assert len(transactions) == 0


def test_branch_sent_by_method_and_host_tell_transactions_apart_but_not_the_source_port() -> None:
    others = [
        request(branch="z9hG4bK2"),
        request(sent_by="10.0.0.8:5060"),
        request(sent_by="10.0.0.7:5061"),
        request(method="MESSAGE"),
    ]
    keys = {ServerTransactions.key(other, SOURCE) for other in others}
    keys.add(ServerTransactions.key(request(), Address("10.0.0.8", 5060)))
    assert len(keys) == 5
    assert KEY not in keys
    assert ServerTransactions.key(request(cseq=2), Address("10.0.0.7", 58804, Transport.UDP)) == KEY


def test_without_the_magic_cookie_call_id_and_cseq_decide() -> None:
    def key(**changes: object) -> tuple[str, ...]:
        return ServerTransactions.key(request(branch="1", **changes), SOURCE)

    assert key() == key()
    assert len({key(), key(cseq=2), key(call_id="d"), key(tag="u")}) == 4


def test_the_oldest_answered_transaction_makes_room_and_is_counted() -> None:
    transactions = ServerTransactions(capacity=2)
    transactions.receive(("waiting",), 0.0)
    transactions.receive(("answered",), 0.1)
    transactions.answer(("answered",), b"200", reliable=False, now=0.2)
    transactions.receive(("new",), 0.3)
    assert (len(transactions), transactions.evicted) == (2, 1)
    assert transactions.receive(("waiting",), 0.4) == (Arrival.UNANSWERED, None)
    transactions.receive(("newer",), 0.5)
    assert (len(transactions), transactions.evicted) == (2, 2)
    assert transactions.receive(("waiting",), 0.6) == (Arrival.NEW, None)


def test_memory_is_empty_when_every_lifetime_is_over() -> None:
    transactions = ServerTransactions()
    for number in range(100):
        transactions.receive((str(number),), number / 10)
        if number % 2:
            transactions.answer((str(number),), b"200", reliable=False, now=number / 10)
    while (deadline := transactions.next_deadline()) is not None:
        before = len(transactions)
        transactions.expire(deadline)
        assert len(transactions) < before
    assert len(transactions) == 0
    assert deadline is None
