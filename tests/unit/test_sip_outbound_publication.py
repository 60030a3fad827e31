from __future__ import annotations

import pytest

from eventfed_agent.pjsip.sip import (
    Address,
    OutboundPublication,
    PublishOutcome,
    PublishResult,
    Request,
    Response,
    SecretHeader,
    SipError,
    parse_message,
)

MEMBER = Address("10.0.0.7", 5062)
VIA = "SIP/2.0/UDP h;branch=z9hG4bK1"


def answer(request: Request, status: int, etag: str | None = None, **headers: str) -> Response:
    received = parse_message(request.with_via(VIA))
    assert isinstance(received, Request)
    given = [(name.replace("_", "-"), value) for name, value in headers.items()]
    if etag is not None:
        given.append(("SIP-ETag", etag))
    return Response.answer(received, status, given)


def accept(publication: OutboundPublication, request: Request, etag: str, now: float = 0.0) -> PublishResult:
    result = publication.answered(answer(request, 200, etag, Expires="60"), now)
    assert isinstance(result, PublishResult)
    assert result.accepted
    return result


def live(etag: str = "0") -> OutboundPublication:
    publication = OutboundPublication("asterisk-mwi", MEMBER)
    accept(publication, publication.start(b"{}", 0.0), etag)
    return publication


def test_the_first_request_is_initial_and_all_others_carry_the_last_etag_even_0() -> None:
    publication = OutboundPublication("asterisk-devicestate", MEMBER, secret=SecretHeader("s"))
    first = publication.start(b"1", 0.0)
    assert (str(first.uri), first.event, first.sip_if_match) == (
        "sip:eventfed@10.0.0.7:5062",
        "asterisk-devicestate",
        None,
    )
    assert (first.header("X-Eventfed-Token"), first.content_type, first.body) == ("s", "application/json", b"1")
    accept(publication, first, "0")
    second = publication.start(b"2", 1.0)
    assert (second.sip_if_match, second.call_id, second.cseq) == ("0", first.call_id, first.cseq + 1)
    accept(publication, second, "1")
    assert publication.start(b"3", 2.0).sip_if_match == "1"


def test_only_one_request_is_in_flight() -> None:
    publication = OutboundPublication("asterisk-mwi", MEMBER)
    publication.start(b"1", 0.0)
    with pytest.raises(SipError):
        publication.start(b"2", 0.0)
    publication.timed_out()
    publication.start(b"2", 0.0)


def test_an_unknown_etag_makes_the_same_body_go_out_as_initial_and_is_out_of_turn() -> None:
    publication = live()
    again = publication.answered(answer(publication.start(b"body", 1.0), 412), 1.0)
    assert isinstance(again, Request)
    assert (again.sip_if_match, again.body) == (None, b"body")
    result = accept(publication, again, "5", 1.0)
    assert result.out_of_turn
    assert (publication.counters.unknown_etag, publication.counters.out_of_turn) == (1, 1)
    assert not accept(publication, publication.start(b"x", 1.0), "6", 1.0).out_of_turn


def test_an_unknown_etag_after_an_announced_restart_is_in_turn() -> None:
    publication = live()
    request = publication.start(b"body", 1.0)
    publication.expect_unknown_etag()
    again = publication.answered(answer(request, 412), 1.0)
    assert isinstance(again, Request)
    assert not accept(publication, again, "5", 1.0).out_of_turn
    assert (publication.counters.unknown_etag, publication.counters.out_of_turn) == (1, 0)


def test_after_an_announced_restart_the_old_etag_is_not_used_since_another_publication_may_have_it_now() -> None:
    publication = live("0")
    publication.expect_unknown_etag()
    again = publication.start(b"body", 1.0)
    assert again.sip_if_match is None
    assert not accept(publication, again, "1", 1.0).out_of_turn


@pytest.mark.parametrize("fault", ["timed out", "unreachable", "refused"])
def test_an_unknown_etag_after_an_answer_that_never_came_is_in_turn(fault: str) -> None:
    publication = live()
    request = publication.start(b"1", 1.0)
    if fault == "timed out":
        assert publication.timed_out().outcome is PublishOutcome.TIMED_OUT
    elif fault == "unreachable":
        assert publication.unreachable("refused").outcome is PublishOutcome.UNREACHABLE
    else:
        assert publication.answered(answer(request, 500), 1.0) == PublishResult(
            PublishOutcome.REFUSED, 500, detail="Server Internal Error"
        )
    second = publication.start(b"2", 2.0)
    assert second.sip_if_match == "0"
    again = publication.answered(answer(second, 412), 2.0)
    assert isinstance(again, Request)
    assert not accept(publication, again, "9", 2.0).out_of_turn


def test_a_second_412_ends_the_attempt() -> None:
    publication = live()
    again = publication.answered(answer(publication.start(b"body", 1.0), 412), 1.0)
    assert isinstance(again, Request)
    result = publication.answered(answer(again, 412), 1.0)
    assert isinstance(result, PublishResult)
    assert (result.outcome, result.status) == (PublishOutcome.REFUSED, 412)


def test_after_its_lifetime_a_publication_starts_as_initial() -> None:
    publication = live()
    assert publication.start(b"late", 60.0).sip_if_match is None
    assert publication.refresh_at is None


def test_a_keep_alive_is_due_before_the_lifetime_ends_and_has_no_body() -> None:
    publication = live()
    assert publication.refresh_at == 45.0
    request = publication.start(None, 45.0)
    assert (request.body, request.content_type, request.sip_if_match, request.expires) == (b"", None, "0", 3600)
    accept(publication, request, "1", 45.0)
    assert publication.refresh_at == 90.0


def test_a_keep_alive_of_a_forgotten_publication_is_refused_and_not_sent_as_initial() -> None:
    publication = live()
    result = publication.answered(answer(publication.start(None, 1.0), 412), 1.0)
    assert isinstance(result, PublishResult)
    assert (result.outcome, result.status, result.out_of_turn) == (PublishOutcome.REFUSED, 412, True)
    assert not publication.alive(1.0)
    with pytest.raises(SipError):
        publication.start(None, 1.0)


def test_a_removal_asks_for_no_lifetime_and_leaves_nothing() -> None:
    publication = live()
    request = publication.start(None, 1.0, remove=True)
    assert (request.expires, request.sip_if_match) == (0, "0")
    result = publication.answered(answer(request, 200, Expires="0"), 1.0)
    assert isinstance(result, PublishResult)
    assert result.accepted
    assert publication.etag is None
    assert publication.start(b"{}", 2.0).sip_if_match is None


def test_423_raises_the_lifetime_once() -> None:
    publication = OutboundPublication("asterisk-mwi", MEMBER, expires=30)
    again = publication.answered(answer(publication.start(b"1", 0.0), 423, Min_Expires="120"), 0.0)
    assert isinstance(again, Request)
    assert (again.expires, again.body) == (120, b"1")
    refused = publication.answered(answer(again, 423, Min_Expires="240"), 0.0)
    assert isinstance(refused, PublishResult)
    assert refused.status == 423
    assert publication.start(b"2", 0.0).expires == 120


@pytest.mark.parametrize("headers", [{}, {"Min_Expires": "30"}, {"Min_Expires": "999999999"}])
def test_423_without_a_use_is_a_refusal(headers: dict[str, str]) -> None:
    publication = OutboundPublication("asterisk-mwi", MEMBER, expires=30)
    result = publication.answered(answer(publication.start(b"1", 0.0), 423, **headers), 0.0)
    assert isinstance(result, PublishResult)
    assert (result.outcome, result.status) == (PublishOutcome.REFUSED, 423)


@pytest.mark.parametrize("status", [302, 401, 403, 404, 489, 503, 603])
def test_a_refusal_tells_its_status(status: int) -> None:
    publication = OutboundPublication("asterisk-mwi", MEMBER)
    result = publication.answered(answer(publication.start(b"1", 0.0), status), 0.0)
    assert isinstance(result, PublishResult)
    assert (result.outcome, result.status) == (PublishOutcome.REFUSED, status)
    assert publication.counters.refused == 1


def test_a_changed_secret_is_used_from_the_next_request_on_and_never_shown() -> None:
    publication = OutboundPublication("asterisk-mwi", MEMBER, secret=SecretHeader("old", name="X-Other"))
    assert publication.start(b"1", 0.0).header("X-Other") == "old"
    publication.timed_out()
    publication.secret = SecretHeader("new")
    request = publication.start(b"1", 0.0)
    assert (request.header("X-Eventfed-Token"), request.header("X-Other")) == ("new", None)
    assert "new" not in repr(publication.secret)


def test_an_ipv6_member_is_written_in_brackets() -> None:
    request = OutboundPublication("asterisk-mwi", Address("2001:db8::7", 5060)).start(b"1", 0.0)
    assert str(request.uri) == "sip:eventfed@[2001:db8::7]:5060"
    assert request.header("To") == "<sip:eventfed@[2001:db8::7]>"
