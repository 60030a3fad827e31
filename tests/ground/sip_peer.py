"""A bare SIP peer, and user agents to try it on."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from eventfed_agent.pjsip.sip import (
    Address,
    Bind,
    ClientTimers,
    Later,
    Request,
    Response,
    Transport,
    UserAgent,
    UserAgentSettings,
    parse_message,
)

LOOPBACK = "127.0.0.1"
DEFAULT = UserAgentSettings()
EAGER = UserAgentSettings(timers=ClientTimers(t1=0.02, t2=0.04))


def accept(request: Request, source: Address) -> Response:
    return Response.answer(request, 200)


def agent(
    handler: Callable[[Request, Address], Response | Later | None] = accept,
    settings: UserAgentSettings = DEFAULT,
    host: str = LOOPBACK,
    **options: Any,
) -> UserAgent:
    return UserAgent([Bind(host, 0)], handler, settings=settings, **options)


def at(user_agent: UserAgent, transport: Transport = Transport.UDP) -> Address:
    return next(bound for bound in user_agent.bound if bound.transport is transport)


def publish(branch: str = "1", method: str = "PUBLISH", via: str = f"{LOOPBACK}:9;rport") -> bytes:
    return (
        f"{method} sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP {via};branch=z9hG4bK{branch}\r\nFrom: <sip:a@b>;tag=1\r\n"
        f"To: <sip:a@b>\r\nCall-ID: c\r\nCSeq: 1 {method}\r\nEvent: asterisk-mwi\r\nContent-Length: 0\r\n\r\n"
    ).encode()


class Peer:
    """A bare UDP socket that says what it is told to."""

    def __init__(self, host: str = LOOPBACK) -> None:
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind((host, 0))
        self.address = Address(host, self.socket.getsockname()[1])

    def send(self, data: bytes, to: Address) -> None:
        self.socket.sendto(data, (to.host, to.port))

    async def receive(self, within: float = 2.0) -> bytes:
        async with asyncio.timeout(within):
            return await asyncio.get_running_loop().sock_recv(self.socket, 65_536)

    async def response(self) -> Response:
        message = parse_message(await self.receive())
        assert isinstance(message, Response)
        return message

    async def silent(self, seconds: float = 0.05) -> bool:
        try:
            await self.receive(seconds)
        except TimeoutError:
            return True
        return False


async def eventually(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - counters are no events
            await asyncio.sleep(0.005)
