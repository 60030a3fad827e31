"""Faults of servers and agents on one machine: each happens, lasts some seconds, and is over."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

from eventfed_lab import AsteriskServer, NatsServer, Pbx

__all__ = [
    "PRODUCTION",
    "NatsFault",
    "PbxFault",
    "agent_hung",
    "agent_killed",
    "agent_stopped",
    "asterisk_hung",
    "asterisk_killed",
    "asterisk_stopped",
    "asterisk_stopped_now",
    "nats_hung",
    "nats_killed",
    "nats_restarted",
    "nats_wiped",
    "servers_of",
]

PRODUCTION: Mapping[str, Mapping[str, object]] = {"departure": {}, "timing": {}}
"""Sections of agents' files, in place of the lab's short times: the defaults."""

PbxFault = Callable[[Pbx, str, float], Awaitable[float]]
"""Of one server or its agent, by the server's name, for so many seconds; the ``time.monotonic()`` at its end."""
NatsFault = Callable[[NatsServer, float], Awaitable[None]]


def servers_of(pbx: Pbx) -> list[AsteriskServer]:
    """The real ones."""
    return [server for server in pbx.servers.values() if isinstance(server, AsteriskServer)]


async def asterisk_stopped(pbx: Pbx, name: str, seconds: float) -> float:
    await pbx[name].stop_gracefully()
    return await _asterisk_back(pbx, name, seconds)


async def asterisk_stopped_now(pbx: Pbx, name: str, seconds: float) -> float:
    await pbx[name].stop_now()
    return await _asterisk_back(pbx, name, seconds)


async def asterisk_killed(pbx: Pbx, name: str, seconds: float) -> float:
    pbx[name].kill()
    return await _asterisk_back(pbx, name, seconds)


async def asterisk_hung(pbx: Pbx, name: str, seconds: float) -> float:
    pbx[name].hang()
    await asyncio.sleep(seconds)
    pbx[name].resume()
    return time.monotonic()


async def _asterisk_back(pbx: Pbx, name: str, seconds: float) -> float:
    await asyncio.sleep(seconds)
    await pbx[name].start()
    return time.monotonic()


async def agent_stopped(pbx: Pbx, name: str, seconds: float) -> float:
    await pbx.agents[name].stop()
    return await _agent_back(pbx, name, seconds)


async def agent_killed(pbx: Pbx, name: str, seconds: float) -> float:
    pbx.agents[name].kill()
    return await _agent_back(pbx, name, seconds)


async def agent_hung(pbx: Pbx, name: str, seconds: float) -> float:
    pbx.agents[name].hang()
    await asyncio.sleep(seconds)
    pbx.agents[name].resume()
    return time.monotonic()


async def _agent_back(pbx: Pbx, name: str, seconds: float) -> float:
    await asyncio.sleep(seconds)
    ended = time.monotonic()
    await pbx.agents[name].start()
    return ended


async def nats_restarted(nats: NatsServer, seconds: float) -> None:
    await nats.stop()
    await asyncio.sleep(seconds)
    await nats.start()


async def nats_killed(nats: NatsServer, seconds: float) -> None:
    nats.kill()
    await asyncio.sleep(seconds)
    await nats.start()


async def nats_wiped(nats: NatsServer, seconds: float) -> None:
    nats.kill()
    nats.wipe()
    await asyncio.sleep(seconds)
    await nats.start()


async def nats_hung(nats: NatsServer, seconds: float) -> None:
    nats.hang()
    await asyncio.sleep(seconds)
    nats.resume()
