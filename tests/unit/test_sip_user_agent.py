from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from typing import Any

import pytest

from eventfed_agent.pjsip.sip import (
    Address,
    Bind,
    ClientTimers,
    EventStateCompositor,
    Later,
    OutboundPublication,
    Publisher,
    PublishOutcome,
    Request,
    RequestTimeout,
    Response,
    SipSyntaxError,
    Transport,
    TransportFailed,
    UserAgent,
    UserAgentSettings,
    build_options,
    parse_message,
)
from tests.ground.sip_peer import EAGER, LOOPBACK, Peer, accept, agent, at, eventually, publish


@pytest.mark.parametrize("host", [LOOPBACK, "::1"])
@pytest.mark.parametrize("transport", list(Transport))
@pytest.mark.parametrize("bound", ["same", "any"])
async def test_a_publication_lives_through_all_its_kinds(host: str, transport: Transport, bound: str) -> None:
    compositor = EventStateCompositor()
    loop = asyncio.get_running_loop()
    seen = []

    def handle(request: Request, source: Address) -> Response:
        response, publication = compositor.receive(request, source.host, loop.time())
        assert source.host == host
        assert source.transport is transport
        seen.append(publication and (publication.kind.value, publication.body, publication.cseq_gap))
        return response

    unspecified = "::" if ":" in host else "0.0.0.0"
    async with agent(handle, host=unspecified if bound == "any" else host) as server, agent(host=unspecified) as client:
        member = Address(host, at(server, transport).port, transport)
        publisher = Publisher(client, member, OutboundPublication("asterisk-mwi", member))
        for result in (
            await publisher.publish(b"1"),
            await publisher.publish("ë".encode()),
            await publisher.keep_alive(),
            await publisher.remove(),
        ):
            assert result.accepted
        assert seen == [
            ("initial", b"1", False),
            ("modify", "ë".encode(), False),
            ("refresh", None, False),
            ("remove", None, False),
        ]
        assert (await publisher.remove()).accepted
        assert (await publisher.keep_alive()).outcome is PublishOutcome.REFUSED
        assert server.counters.connections_accepted == (transport is Transport.TCP)


async def test_a_compositor_that_forgot_gets_the_same_body_as_initial() -> None:
    compositor = EventStateCompositor()
    bodies = []

    def handle(request: Request, source: Address) -> Response:
        response, publication = compositor.receive(request, source.host, 0.0)
        bodies.append((response.status, publication.body if publication else None))
        return response

    async with agent(handle) as server, agent() as client:
        publisher = Publisher(client, at(server), OutboundPublication("asterisk-mwi", at(server)))
        await publisher.publish(b"1")
        compositor.forget(LOOPBACK)
        result = await publisher.publish(b"2")
        assert (result.accepted, result.out_of_turn) == (True, True)
        assert bodies == [(200, b"1"), (412, None), (200, b"2")]


async def test_a_retransmission_is_answered_from_memory(peer: Peer) -> None:
    handled = []

    def handle(request: Request, source: Address) -> Response:
        handled.append(source)
        return Response.answer(request, 200)

    async with agent(handle) as server:
        peer.send(publish(), at(server))
        first = await peer.receive()
        peer.send(publish(), at(server))
        assert await peer.receive() == first
        assert handled == [peer.address]
        assert server.counters.retransmissions_answered == 1


async def test_a_later_answer_absorbs_retransmissions_and_is_given_once(peer: Peer) -> None:
    waiting: list[tuple[Request, Later]] = []

    def handle(request: Request, source: Address) -> Later:
        waiting.append((request, Later()))
        return waiting[-1][1]

    async with agent(handle) as server:
        peer.send(publish(), at(server))
        peer.send(publish(), at(server))
        await eventually(lambda: server.counters.retransmissions_absorbed)
        ((request, later),) = waiting
        later.answer(Response.answer(request, 403))
        later.answer(Response.answer(request, 200))
        assert (await peer.response()).status == 403
        assert await peer.silent()
        assert server.counters.late_answers == 1


async def test_a_later_answer_may_come_before_the_handler_returns(peer: Peer) -> None:
    def handle(request: Request, source: Address) -> Later:
        later = Later()
        later.answer(Response.answer(request, 202))
        return later

    async with agent(handle) as server:
        peer.send(publish(), at(server))
        assert (await peer.response()).status == 202


async def test_a_dropped_later_answer_leaves_the_retransmission_new(peer: Peer) -> None:
    calls: list[Later] = []

    def handle(request: Request, source: Address) -> Later | Response:
        calls.append(Later())
        return calls[0] if len(calls) == 1 else Response.answer(request, 200)

    async with agent(handle) as server:
        peer.send(publish(), at(server))
        await eventually(lambda: calls)
        calls[0].drop()
        peer.send(publish(), at(server))
        assert (await peer.response()).status == 200


async def test_silence_is_not_remembered(peer: Peer) -> None:
    known: list[str] = []

    def handle(request: Request, source: Address) -> Response | None:
        return Response.answer(request, 200) if source.host in known else None

    async with agent(handle) as server:
        peer.send(publish(), at(server))
        assert await peer.silent()
        known.append(LOOPBACK)
        peer.send(publish(), at(server))
        assert (await peer.response()).status == 200
        assert server.counters.requests_unanswered == 1


async def test_options_is_answered_other_methods_get_405_and_ack_nothing(peer: Peer) -> None:
    async with agent() as server, agent() as client:
        assert (await client.request(build_options(at(server)), at(server))).status == 200
        peer.send(publish(method="INVITE"), at(server))
        response = await peer.response()
        assert (response.status, response.header("Allow")) == (405, "OPTIONS, PUBLISH")
        peer.send(publish(method="ACK"), at(server))
        assert await peer.silent()


async def test_answers_go_where_rport_or_the_via_port_says(peer: Peer) -> None:
    async with agent() as server:
        peer.send(publish("1", via="192.0.2.1:9;rport"), at(server))
        via = (await peer.response()).header("Via")
        assert via == f"SIP/2.0/UDP 192.0.2.1:9;branch=z9hG4bK1;received={LOOPBACK};rport={peer.address.port}"
        with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as other:
            other.sendto(publish("2", via=f"192.0.2.1:{peer.address.port}"), (LOOPBACK, at(server).port))
            assert (await peer.response()).via.branch == "z9hG4bK2"


async def test_a_handler_that_fails_is_answered_500_and_told_to_the_loop(peer: Peer) -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))

    def handle(request: Request, source: Address) -> Response:
        raise LookupError("bug")

    async with agent(handle) as server:
        peer.send(publish(), at(server))
        assert (await peer.response()).status == 500
        assert server.counters.handler_failures == 1
    assert isinstance(told[0]["exception"], LookupError)


async def test_noise_is_only_counted(peer: Peer) -> None:
    faults: list[tuple[Address, SipSyntaxError]] = []
    async with agent(on_malformed=lambda source, error: faults.append((source, error))) as server:
        for data in (b"\x00" * 65_507, b"GET / HTTP/1.1\r\n\r\n", publish()[:-4]):
            peer.send(data, at(server))
        peer.send(b"\r\n\r\n", at(server))
        peer.send(b"\x00", at(server))
        peer.send(publish(), at(server))
        assert (await peer.response()).status == 200
        assert (server.counters.malformed, server.counters.keepalives, server.counters.parsed) == (3, 2, 1)
    assert [source for source, _ in faults] == [peer.address] * 3


async def test_datagrams_over_the_limit_are_dropped(peer: Peer) -> None:
    async with agent(settings=UserAgentSettings(max_message_bytes=1000)) as server:
        peer.send(publish() + b" " * 1000, at(server))
        await eventually(lambda: server.counters.dropped_oversize)
        with pytest.raises(TransportFailed, match="bytes"):
            await server.request(OutboundPublication("asterisk-mwi", at(server)).start(b"x" * 1000, 0.0), at(server))


async def test_an_unanswered_request_is_sent_again_and_times_out(peer: Peer) -> None:
    settings = UserAgentSettings(timers=ClientTimers(t1=0.02, t2=0.04, timeout=0.3))
    async with agent(settings=settings) as client:
        with pytest.raises(RequestTimeout):
            await client.request(build_options(peer.address), peer.address)
        first = await peer.receive()
        again = 0
        while not await peer.silent(0.02):
            again += 1
        assert again == client.counters.retransmissions_sent
        assert again >= 3
        assert b";rport;branch=z9hG4bK" in first
        assert client.counters.timeouts == 1


async def test_a_lost_answer_is_made_good_by_a_retransmission(peer: Peer) -> None:
    async with agent(settings=EAGER) as client, asyncio.TaskGroup() as group:
        task = group.create_task(client.request(build_options(peer.address), peer.address))
        first = await peer.receive()
        assert await peer.receive() == first
        request = parse_message(first)
        assert isinstance(request, Request)
        to = request.via.sent_by
        for status in (100, 200, 200):
            peer.send(bytes(Response.answer(request, status)), Address(*to))
        assert (await task).status == 200
        await eventually(lambda: client.counters.responses_unmatched == 1)


async def test_a_cancelled_request_leaves_nothing_behind(peer: Peer) -> None:
    async with agent(settings=EAGER) as client:
        task = asyncio.create_task(client.request(build_options(peer.address), peer.address))
        await peer.receive()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while not await peer.silent(0.1):
            pass
        assert client.counters.timeouts == 0


async def test_a_process_that_stood_still_does_not_send_old_requests(peer: Peer) -> None:
    timers = ClientTimers(t1=0.05, timeout=30, overdue=0.1)
    async with agent(settings=UserAgentSettings(timers=timers)) as client:
        task = asyncio.create_task(client.request(build_options(peer.address), peer.address))
        await peer.receive()
        time.sleep(0.3)  # noqa: ASYNC251 - the whole process stands still, as under SIGSTOP
        with pytest.raises(RequestTimeout):
            await task
        assert await peer.silent()


async def test_requests_to_a_server_that_restarted_are_given_up_and_no_others(peer: Peer) -> None:
    other = Peer()
    async with agent(settings=EAGER) as client:
        waiting = [asyncio.create_task(client.request(build_options(to.address), to.address)) for to in (peer, other)]
        await peer.receive()
        await other.receive()
        client.give_up(peer.address)
        with pytest.raises(RequestTimeout):
            await waiting[0]
        assert client.counters.given_up == 1
        while not await peer.silent():
            pass  # a repetition that was on its way
        await other.receive()
        assert not waiting[1].done()
        waiting[1].cancel()
        await asyncio.wait([waiting[1]])
    other.socket.close()


async def test_a_host_name_is_no_destination() -> None:
    async with agent() as client:
        for transport in Transport:
            with pytest.raises(TransportFailed, match="not a name"):
                await client.request(build_options(at(client)), Address("asterisk.example", 5060, transport))


async def test_a_family_without_a_socket_cannot_be_reached() -> None:
    async with agent() as client:
        with pytest.raises(TransportFailed, match="no listen address reaches ::1: listen on an IPv6 address too"):
            await client.request(build_options(at(client)), Address("::1", 5060))


async def test_an_address_in_use_is_told() -> None:
    async with agent() as first:
        with pytest.raises(TransportFailed, match="cannot listen"):
            async with UserAgent([Bind(LOOPBACK, 0), Bind(LOOPBACK, at(first).port)], accept):
                pass


async def test_udp_and_tcp_get_the_same_port_and_several_addresses_are_bound() -> None:
    async with UserAgent([Bind(LOOPBACK, 0), Bind("::1", 0, frozenset({Transport.UDP}))], accept) as user_agent:
        assert sorted((bound.host, bound.transport.value) for bound in user_agent.bound) == [
            (LOOPBACK, "TCP"),
            (LOOPBACK, "UDP"),
            ("::1", "UDP"),
        ]
        assert len({bound.port for bound in user_agent.bound if bound.host == LOOPBACK}) == 1
        assert at(user_agent).port > 0


async def test_a_closed_user_agent_fails_what_waits_and_what_comes(peer: Peer) -> None:
    client = agent()
    async with client:
        task = asyncio.create_task(client.request(build_options(peer.address), peer.address))
        await peer.receive()
    for request in (task, client.request(build_options(peer.address), peer.address)):
        with pytest.raises(TransportFailed, match="closed"):
            await request


async def test_an_idle_user_agent_sets_no_timer_and_a_quiet_one_lets_go_of_its_memory(peer: Peer) -> None:
    async with agent(settings=UserAgentSettings(transaction_lifetime=0.05)) as server:
        assert server._alarm._timer is None
        peer.send(publish(), at(server))
        await peer.receive()
        await eventually(lambda: server._alarm._timer is None)
        assert len(server._server) == 0
