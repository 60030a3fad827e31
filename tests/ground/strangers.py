"""Anyone who has no business with an agent, and how to see that all else goes on."""

import asyncio
import json
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Self

from eventfed import DeviceState
from eventfed.asterisk_config import pjsip_snippet
from eventfed_lab import (
    AgentProcess,
    AsteriskConfiguration,
    AsteriskServer,
    Pbx,
)

LAMP = "Custom:lamp1"
USUAL = 5.0
"""Seconds within which a state crosses on a machine that other tests keep busy; it takes some milliseconds."""


def real(pbx: Pbx, name: str) -> AsteriskServer:
    server = pbx[name]
    assert isinstance(server, AsteriskServer)
    return server


def configured(agent: AgentProcess, token: str | None = None) -> AsteriskConfiguration:
    """A server of this agent, with the agent's own token or another."""
    return AsteriskConfiguration(
        pjsip_snippet=pjsip_snippet(agent_host=agent.host, agent_port=agent.sip_port, token=token or agent.token)
    )


def lines(agent: AgentProcess, *words: str) -> list[str]:
    """Lines of an agent's log that hold all these words."""
    return [line for line in agent.log.splitlines() if all(word in line for word in words)]


async def eventually(condition: Callable[[], Awaitable[bool]], within: float = 15.0) -> None:
    async with asyncio.timeout(within):
        while not await condition():  # noqa: ASYNC110 - metrics of another process
            await asyncio.sleep(0.05)


async def crosses(origin: AsteriskServer, *others: AsteriskServer) -> float:
    """Two changes at the origin reach the others within the usual time; seconds it took for both."""
    began = time.monotonic()
    for state in (DeviceState.BUSY, DeviceState.INUSE):
        await origin.set_device(LAMP, state)
        for other in others:
            await other.wait_device(LAMP, state, USUAL)
    return time.monotonic() - began


class Stranger:
    """A UDP socket on some address."""

    def __init__(self, host: str, to: tuple[str, int]) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind((host, 0))
        self._to = to

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendto(data, self._to)

    async def answer(self, within: float) -> int | None:
        """The status of the next answer; None if there is none in `within` seconds."""
        try:
            async with asyncio.timeout(within):
                data = await asyncio.get_running_loop().sock_recv(self._socket, 65536)
        except TimeoutError:
            return None
        return int(data.split(b" ", 2)[1])

    async def ask(self, data: bytes) -> int | None:
        self.send(data)
        return await self.answer(USUAL)


_numbers = iter(range(1, 1_000_000))


def publish(
    body: str,
    *,
    user: str = "eventfed",
    host: str = "127.0.0.1",
    call_id: str | None = None,
    if_match: str | None = None,
) -> bytes:
    """A PUBLISH of a device state, initial without `if_match`, in a transaction of its own."""
    number = next(_numbers)
    condition = "" if if_match is None else f"SIP-If-Match: {if_match}\r\n"
    head = (
        f"PUBLISH sip:eventfed@{host} SIP/2.0\r\nVia: SIP/2.0/UDP {host}:5060;rport;branch=z9hG4bKstranger{number}\r\n"
        f"Max-Forwards: 70\r\nFrom: <sip:{user}@{host}>;tag=1\r\nTo: <sip:eventfed@{host}>\r\n"
        f"Call-ID: {call_id or f'stranger-{number}'}\r\nCSeq: {number} PUBLISH\r\nEvent: asterisk-devicestate\r\n"
        f"Expires: 60\r\n{condition}Content-Type: application/json\r\nContent-Length: {len(body.encode())}\r\n\r\n"
    )
    return head.encode() + body.encode()


def state(device: str, value: DeviceState, eid: object, cachable: object = 1) -> str:
    content = {"type": "devicestate", "device": device, "state": value.name, "cachable": cachable, "eid": str(eid)}
    return json.dumps(content)


# --- who is it? ---


async def more(count: Callable[[], Awaitable[float]], before: float) -> bool:
    return await count() > before
