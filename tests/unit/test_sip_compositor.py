from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventfed_agent.pjsip.sip import (
    Beginning,
    CompositorSettings,
    EventStateCompositor,
    Publication,
    PublicationKind,
    Request,
    Response,
    parse_message,
)

A = "10.0.0.7"


def publish(
    cseq: int = 1,
    *,
    etag: str | None = None,
    body: bytes = b"{}",
    expires: int | None = 60,
    event: str | None = "asterisk-mwi",
    call_id: str = "c",
    content_type: str = "application/json",
) -> Request:
    lines = [
        "PUBLISH sip:a@b SIP/2.0",
        f"Via: SIP/2.0/UDP h;branch=z9hG4bK{cseq}",
        "From: <sip:a@b>;tag=1",
        "To: <sip:a@b>",
        f"Call-ID: {call_id}",
        f"CSeq: {cseq} PUBLISH",
    ]
    lines += [f"Event: {event}"] if event is not None else []
    lines += [f"Expires: {expires}"] if expires is not None else []
    lines += [f"SIP-If-Match: {etag}"] if etag is not None else []
    lines += [f"Content-Type: {content_type}"] if body else []
    message = parse_message("\r\n".join([*lines, "", ""]).encode() + body)
    assert isinstance(message, Request)
    return message


class Asterisk:
    """A publisher that follows the answers, as pjsip does."""

    def __init__(self, compositor: EventStateCompositor, source: str = A) -> None:
        self.compositor = compositor
        self.source = source
        self.now = 0.0

    def send(self, request: Request) -> tuple[Response, Publication | None]:
        return self.compositor.receive(request, self.source, self.now)

    def accepted(self, request: Request) -> tuple[str | None, Publication]:
        response, publication = self.send(request)
        assert response.status == 200
        assert publication is not None
        return response.sip_etag, publication


@pytest.fixture
def asterisk() -> Asterisk:
    return Asterisk(EventStateCompositor())


def test_the_four_kinds_of_publish_are_told_apart(asterisk: Asterisk) -> None:
    first, initial = asterisk.accepted(publish(1, body=b'{"n":1}'))
    second, modify = asterisk.accepted(publish(2, etag=first, body=b'{"n":2}'))
    third, refresh = asterisk.accepted(publish(3, etag=second, body=b""))
    gone, remove = asterisk.accepted(publish(4, etag=third, body=b"", expires=0))
    assert [p.kind for p in (initial, modify, refresh, remove)] == list(PublicationKind)
    assert [p.body for p in (initial, modify, refresh, remove)] == [b'{"n":1}', b'{"n":2}', None, None]
    assert [p.expires for p in (initial, modify, refresh, remove)] == [60, 60, 60, 0]
    assert (initial.source, initial.event, initial.call_id, initial.cseq) == (A, "asterisk-mwi", "c", 1)
    assert len({first, second, third}) == 3
    assert gone is None
    assert asterisk.compositor.publications(A, 0.0) == 0


def test_the_answer_has_etag_expires_and_a_to_tag(asterisk: Asterisk) -> None:
    response, _ = asterisk.send(publish(expires=None))
    assert response.expires == 3600
    assert response.sip_etag is not None
    assert ";tag=" in (response.header("To") or "")


def test_etags_of_two_process_starts_have_nothing_in_common() -> None:
    etags = {Asterisk(EventStateCompositor()).accepted(publish())[0] for _ in range(20)}
    assert len(etags) == 20
    assert all(etag is not None and len(etag) >= 16 for etag in etags)


def test_more_than_the_longest_lifetime_is_not_granted() -> None:
    asterisk = Asterisk(EventStateCompositor(CompositorSettings(max_expires=100)))
    response, publication = asterisk.send(publish(expires=7200))
    assert publication is not None
    assert (response.expires, publication.expires) == (100, 100)


def test_an_initial_without_a_body_is_accepted(asterisk: Asterisk) -> None:
    _, publication = asterisk.accepted(publish(body=b""))
    assert (publication.kind, publication.body) == (PublicationKind.INITIAL, None)


def test_an_etag_that_was_replaced_is_unknown(asterisk: Asterisk) -> None:
    first, _ = asterisk.accepted(publish(1))
    second, _ = asterisk.accepted(publish(2, etag=first))
    response, publication = asterisk.send(publish(3, etag=first))
    assert (response.status, publication) == (412, None)
    asterisk.accepted(publish(4, etag=second))


def test_an_etag_works_only_for_its_source_event_and_call_id(asterisk: Asterisk) -> None:
    etag, _ = asterisk.accepted(publish(1))
    stranger = Asterisk(asterisk.compositor, "10.0.0.8")
    assert stranger.send(publish(2, etag=etag))[0].status == 412
    assert asterisk.send(publish(2, etag=etag, event="asterisk-devicestate"))[0].status == 412
    assert asterisk.send(publish(2, etag=etag, call_id="d"))[0].status == 412
    asterisk.accepted(publish(2, etag=etag))


@pytest.mark.parametrize("late", [0.0, 0.001, 31.9, 63.9])
def test_a_server_may_prolong_as_long_as_its_answer_and_its_request_were_under_way(
    asterisk: Asterisk, late: float
) -> None:
    # Asterisk prolongs when its time is over by its own clock, which began when our answer came (tried: 59.85 s to
    # 60.001 s). Two full periods, and one more.
    etag, _ = asterisk.accepted(publish(1, expires=60))
    for cseq in (2, 3, 4):
        asterisk.now += 60 + late
        etag, publication = asterisk.accepted(publish(cseq, etag=etag, body=b"", expires=60))
        assert (publication.kind, publication.cseq_gap, publication.goes_on) == (PublicationKind.REFRESH, False, True)


def test_a_server_prolongs_after_the_time_that_it_asked_for_whatever_it_was_granted() -> None:
    asterisk = Asterisk(EventStateCompositor(CompositorSettings(max_expires=100)))
    etag, publication = asterisk.accepted(publish(1, expires=7200))
    assert publication.expires == 100
    asterisk.now = 7200.0
    asterisk.accepted(publish(2, etag=etag, body=b"", expires=7200))


def expired(asterisk: Asterisk, *, cseq: int = 2, body: bytes = b"") -> None:
    """A publication was let expire, and the attempt to go on with it got 412."""
    etag, _ = asterisk.accepted(publish(1, expires=60))
    asterisk.now += 60 + CompositorSettings().margin
    assert asterisk.send(publish(cseq, etag=etag, body=body))[0].status == 412


@pytest.mark.parametrize("body", [b"", b'{"n":1}'], ids=["a keep-alive", "a state"])
@pytest.mark.parametrize("call_id", ["c", "d"], ids=["the same call", "another call, as Asterisk does it"])
def test_an_initial_after_our_412_for_an_expired_etag_goes_on_and_is_no_restart(
    asterisk: Asterisk, body: bytes, call_id: str
) -> None:
    expired(asterisk, body=body)
    asterisk.now += 31.9
    etag, publication = asterisk.accepted(publish(3, body=body, call_id=call_id))
    assert (publication.kind, publication.beginning) == (PublicationKind.INITIAL, Beginning.EXPIRED_ETAG)
    assert publication.goes_on
    assert not publication.of_its_own
    assert not publication.cseq_gap
    asterisk.accepted(publish(4, etag=etag, call_id=call_id))


def test_a_gap_before_our_412_is_told_by_the_initial_of_another_call_that_follows(asterisk: Asterisk) -> None:
    expired(asterisk, cseq=3)
    _, publication = asterisk.accepted(publish(777, body=b"", call_id="d"))
    assert publication.goes_on
    assert publication.cseq_gap


def test_each_412_explains_one_initial_of_the_same_event_and_body(asterisk: Asterisk) -> None:
    expired(asterisk)
    other = asterisk.accepted(publish(1, call_id="x", body=b"", event="asterisk-devicestate"))[1]
    restart = asterisk.accepted(publish(1, call_id="y", body=b'{"type":"refresh"}'))[1]
    first = asterisk.accepted(publish(1, call_id="z", body=b""))[1]
    second = asterisk.accepted(publish(1, call_id="q", body=b""))[1]
    beginnings = [publication.beginning for publication in (other, restart, first, second)]
    assert beginnings == [Beginning.OWN, Beginning.OWN, Beginning.EXPIRED_ETAG, Beginning.OWN]


def test_an_initial_long_after_our_412_is_the_servers_own(asterisk: Asterisk) -> None:
    expired(asterisk)
    asterisk.now += CompositorSettings().margin
    assert asterisk.accepted(publish(1, call_id="d", body=b""))[1].of_its_own


def test_an_initial_after_our_412_for_an_etag_that_we_never_gave_does_not_go_on(asterisk: Asterisk) -> None:
    # The agent before us gave it.
    assert asterisk.send(publish(7, etag="another's"))[0].status == 412
    _, publication = asterisk.accepted(publish(1, call_id="d"))
    assert publication.beginning is Beginning.UNKNOWN_ETAG
    assert (publication.goes_on, publication.of_its_own) == (False, False)


def test_a_server_that_starts_is_told_from_one_that_goes_on(asterisk: Asterisk) -> None:
    etag, publication = asterisk.accepted(publish(1))
    assert (publication.of_its_own, publication.goes_on) == (True, False)
    asterisk.accepted(publish(2, etag=etag))
    _, publication = asterisk.accepted(publish(900, call_id="after its restart"))
    assert (publication.of_its_own, publication.goes_on) == (True, False)


def test_refused_requests_cannot_fill_the_memory(asterisk: Asterisk) -> None:
    for number in range(200):
        assert asterisk.send(publish(1, etag="unknown", call_id=str(number)))[0].status == 412
    assert asterisk.accepted(publish(1, call_id="0", body=b"{1}"))[1].of_its_own
    assert not asterisk.accepted(publish(2, call_id="199", body=b"{1}"))[1].of_its_own


def test_a_very_short_lifetime_does_not_end_before_the_next_request_can_come(asterisk: Asterisk) -> None:
    etag, publication = asterisk.accepted(publish(1, expires=1))
    assert publication.expires == 1
    asterisk.now = 9.0
    asterisk.accepted(publish(2, etag=etag, expires=1))


@pytest.mark.parametrize("event", [None, "presence", "asterisk-presence"])
def test_other_event_packages_get_489(asterisk: Asterisk, event: str | None) -> None:
    response, publication = asterisk.send(publish(event=event))
    assert (response.status, publication) == (489, None)
    assert response.header("Allow-Events") == "asterisk-devicestate, asterisk-mwi"


def test_other_bodies_get_415(asterisk: Asterisk) -> None:
    response, publication = asterisk.send(publish(content_type="application/pidf+xml"))
    assert (response.status, publication) == (415, None)
    asterisk.accepted(publish(2, content_type="Application/JSON; charset=utf-8"))


def test_a_gap_in_cseq_is_told_once(asterisk: Asterisk) -> None:
    etag, first = asterisk.accepted(publish(7))
    etag, second = asterisk.accepted(publish(9, etag=etag))
    _, third = asterisk.accepted(publish(10, etag=etag))
    assert [p.cseq_gap for p in (first, second, third)] == [False, True, False]


def test_each_call_id_of_each_source_has_its_own_cseq(asterisk: Asterisk) -> None:
    other = Asterisk(asterisk.compositor, "10.0.0.8")
    publications = [
        asterisk.accepted(publish(1))[1],
        asterisk.accepted(publish(50, call_id="d", event="asterisk-devicestate"))[1],
        other.accepted(publish(90))[1],
        asterisk.accepted(publish(2))[1],
    ]
    assert not any(publication.cseq_gap for publication in publications)


def test_a_412_answered_by_an_initial_is_no_gap_but_one_before_it_is_remembered(asterisk: Asterisk) -> None:
    asterisk.accepted(publish(1))
    assert asterisk.send(publish(2, etag="unknown"))[0].status == 412
    assert not asterisk.accepted(publish(3))[1].cseq_gap
    assert asterisk.send(publish(5, etag="unknown"))[0].status == 412
    assert asterisk.accepted(publish(6))[1].cseq_gap


def test_a_cseq_that_goes_back_is_a_gap_and_one_that_repeats_is_not(asterisk: Asterisk) -> None:
    asterisk.accepted(publish(5))
    assert not asterisk.accepted(publish(5))[1].cseq_gap
    assert asterisk.accepted(publish(3))[1].cseq_gap
    assert not asterisk.accepted(publish(6))[1].cseq_gap


def test_a_gap_is_seen_although_the_publication_expired(asterisk: Asterisk) -> None:
    asterisk.accepted(publish(1))
    asterisk.now = 1000.0
    assert asterisk.accepted(publish(4))[1].cseq_gap


def test_a_new_initial_of_the_same_call_takes_the_place_of_the_old(asterisk: Asterisk) -> None:
    old, _ = asterisk.accepted(publish(1))
    new, _ = asterisk.accepted(publish(2))
    assert asterisk.compositor.publications(A, 0.0) == 1
    assert asterisk.send(publish(3, etag=old))[0].status == 412
    asterisk.accepted(publish(4, etag=new))


def test_one_source_cannot_fill_the_memory_nor_push_out_another() -> None:
    asterisk = Asterisk(EventStateCompositor(CompositorSettings(publications_per_source=4)))
    other = Asterisk(asterisk.compositor, "10.0.0.8")
    kept, _ = other.accepted(publish(1))
    etags = [asterisk.accepted(publish(1, call_id=str(number)))[0] for number in range(10)]
    assert asterisk.compositor.publications(A, 0.0) == 4
    assert asterisk.compositor.evicted == 6
    assert asterisk.send(publish(2, etag=etags[0], call_id="0"))[0].status == 412
    asterisk.accepted(publish(2, etag=etags[9], call_id="9"))
    other.accepted(publish(2, etag=kept))


def test_a_body_that_the_caller_refuses_leaves_the_publication_as_it_was(asterisk: Asterisk) -> None:
    etag, _ = asterisk.accepted(publish(1))
    compositor = asterisk.compositor
    refused = compositor.receive(publish(2, etag=etag, body=b"bad"), A, 0.0, lambda request: 400)
    assert (refused[0].status, refused[0].sip_etag, refused[1]) == (400, None, None)
    _, publication = asterisk.accepted(publish(3, etag=etag))
    assert not publication.cseq_gap
    assert compositor.receive(publish(1, call_id="new"), A, 0.0, lambda request: 400)[1] is None
    assert compositor.publications(A, 0.0) == 1


def test_the_caller_is_not_asked_about_what_is_refused_anyway(asterisk: Asterisk) -> None:
    asked: list[Request] = []
    for request in (publish(1, etag="unknown"), publish(1, event="presence"), publish(1, content_type="text/plain")):
        assert asterisk.compositor.receive(request, A, 0.0, asked.append)[1] is None
    assert asked == []


def test_a_forgotten_source_starts_again(asterisk: Asterisk) -> None:
    etag, _ = asterisk.accepted(publish(1))
    asterisk.compositor.forget(A)
    assert asterisk.send(publish(9, etag=etag))[0].status == 412
    assert not asterisk.accepted(publish(10))[1].cseq_gap


@pytest.mark.parser
@given(
    st.lists(
        st.tuples(
            st.integers(0, 20),
            st.sampled_from(["none", "last", "old", "0"]),
            st.booleans(),
            st.sampled_from([None, 0, 1, 60]),
            st.sampled_from(["c", "d"]),
            st.floats(0, 100),
        ),
        max_size=12,
    )
)
def test_whatever_is_published_in_whatever_order_never_401_and_at_most_one_publication_per_call(
    steps: list[tuple[int, str, bool, int | None, str, float]],
) -> None:
    asterisk = Asterisk(EventStateCompositor())
    etags = ["never-given"]
    for cseq, which, body, expires, call_id, later in steps:
        asterisk.now += later
        etag = {"none": None, "last": etags[-1], "old": etags[0], "0": "0"}[which]
        response, publication = asterisk.send(
            publish(cseq, etag=etag, body=b"{}" if body else b"", expires=expires, call_id=call_id)
        )
        assert response.status in (200, 412)
        assert (response.status == 200) is (publication is not None)
        assert response.status == 200 or etag is not None
        if response.sip_etag is not None:
            etags.append(response.sip_etag)
        assert asterisk.compositor.publications(A, asterisk.now) <= 2
