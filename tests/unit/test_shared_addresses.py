"""Servers behind one address: a PUBLISH without a body names none of them."""

from types import SimpleNamespace
from typing import cast

from eventfed_agent.adapter import Host
from eventfed_agent.configuration import MemberConfiguration
from eventfed_agent.pjsip.sip import Address, EventStateCompositor, Request, Response, parse_message
from eventfed_agent.pjsip.sources import Forgetful, Sources

HOST = "10.0.0.7"
PERIOD = 60.0


def keep_alive(cseq: int, call_id: str, etag: str | None) -> Request:
    lines = [
        "PUBLISH sip:eventfed@b SIP/2.0",
        f"Via: SIP/2.0/UDP h;branch=z9hG4bK{cseq}{call_id}",
        "From: <sip:a@b>;tag=1",
        "To: <sip:a@b>",
        f"Call-ID: {call_id}",
        f"CSeq: {cseq} PUBLISH",
        "Event: asterisk-mwi",
        f"Expires: {PERIOD:.0f}",
        *([f"SIP-If-Match: {etag}"] if etag is not None else []),
    ]
    message = parse_message("\r\n".join([*lines, "", ""]).encode())
    assert isinstance(message, Request)
    return message


def test_one_that_only_prolongs_its_publication_is_asked_who_it_is_once_and_not_in_each_period() -> None:
    sources, asked = Sources(EventStateCompositor()), list[str]()
    for name, port in (("a", 5060), ("b", 5080)):
        one = SimpleNamespace(
            name=name, configuration=MemberConfiguration(name=name, host=HOST, port=port), refresh=asked.append
        )
        sources.add(cast(Host, one), cast(Forgetful, None))

    def answer(cseq: int, call_id: str, etag: str | None, now: float) -> Response:
        found = sources.member_of(keep_alive(cseq, call_id, etag), Address(HOST, 5060), now)
        assert isinstance(found, Response)
        return found

    # As after the agent's restart: an ETag that it does not know, and the same again as an initial PUBLISH.
    assert answer(7, "old", "of before", 0.0).status == 412
    response = answer(1, "new", None, 0.0)
    assert asked == ["unidentified"] * 2
    for period in (1, 2, 3):
        assert response.status == 200
        response = answer(1 + period, "new", response.sip_etag, period * PERIOD)
    assert response.status == 200
    assert asked == ["unidentified"] * 2
    # A number that is missing shows that something was lost, of one of them.
    answer(9, "new", response.sip_etag, 4 * PERIOD)
    assert asked == ["unidentified"] * 4
