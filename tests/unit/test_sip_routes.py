"""From which of its addresses a user agent reaches a host."""

import pytest
import sipmessage

from eventfed_agent.pjsip.sip import Address, Bind, Request, Response, TransportFailed, UserAgent, find_route

AWAY = "198.51.100.77"
"""A host of no network of this machine."""


@pytest.mark.parametrize(
    ("listening", "host", "chosen"),
    [
        (["127.0.0.2", "127.0.0.1"], "127.0.0.9", "127.0.0.1"),  # the kernel's own choice
        (["127.0.0.2", "127.0.0.3"], "127.0.0.9", "127.0.0.2"),
        (["127.9.0.1", "127.0.0.3"], "127.0.0.9", "127.0.0.3"),  # the nearest to it
        (["127.0.0.2", "0.0.0.0"], "127.0.0.9", "0.0.0.0"),
        (["127.0.0.2", "::1"], "::1", "::1"),
    ],
)
def test_the_address_that_the_host_reaches_is_chosen(listening: list[str], host: str, chosen: str) -> None:
    route = find_route(listening, host)
    assert listening[route.position] == chosen
    assert route.source == (chosen if chosen != "0.0.0.0" else "127.0.0.1")


@pytest.mark.parametrize(
    ("listening", "host", "told"),
    [
        ([], "127.0.0.1", "listen on an IPv4 address too"),
        (["127.0.0.1"], "::1", "no listen address reaches ::1: listen on an IPv6 address too"),
        (["127.0.0.1", "127.0.0.2"], AWAY, AWAY),
        (["192.0.2.99"], "127.0.0.1", "the agent listens on 192.0.2.99; listen on 127.0.0.1 too"),
    ],
)
def test_a_host_that_none_reaches_is_told_with_what_to_listen_on(listening: list[str], host: str, told: str) -> None:
    with pytest.raises(TransportFailed, match=told):
        find_route(listening, host)


async def test_requests_leave_by_the_chosen_address_over_udp_and_tcp() -> None:
    heard: list[Address] = []

    def handle(request: Request, source: Address) -> Response:
        heard.append(source)
        assert request.via.sent_by[0] == "127.0.0.7"
        return Response.answer(request, 200)

    async with (
        UserAgent([Bind("127.9.0.9", 0)], handle) as server,
        UserAgent([Bind("127.9.0.1", 0), Bind("127.0.0.7", 0)], lambda request, source: None) as client,
    ):
        for destination in server.bound[::-1]:
            message = Request.build(
                "PUBLISH",
                sipmessage.URI(scheme="sip", host=destination.host, port=destination.port),
                1,
                [("From", "<sip:a@b>;tag=1"), ("To", "<sip:a@b>"), ("Call-ID", str(len(heard)))],
            )
            assert (await client.request(message, destination)).status == 200
    assert {source.host for source in heard} == {"127.0.0.7"}
    assert len(heard) == 2
