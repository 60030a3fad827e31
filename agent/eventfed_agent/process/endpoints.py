"""``/healthz``, ``/readyz``, ``/metrics`` and ``/members`` of an agent."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from ..agent import Agent, AgentError
from ..configuration import split_address
from .metrics import render_metrics

__all__ = ["Readiness", "serve_endpoints"]

_MOST_NAMES = 8


class Readiness:
    """Readiness is about the socket, not the world.

    A node-local Service sends only to ready agents, so an agent that waited for NATS or for its members would turn a
    bus outage into a SIP outage, and deadlock rollouts. It is ready once its sockets are bound and the first replay
    is done, or `patience` seconds have passed; until it is told to stop.
    """

    def __init__(self, agent: Agent, patience: float) -> None:
        self._agent = agent
        self._until = asyncio.get_running_loop().time() + patience
        self._stopping = False

    @property
    def ready(self) -> bool:
        if self._stopping:
            return False
        return self._agent.federation.synced or asyncio.get_running_loop().time() >= self._until

    def stop(self) -> None:
        """SIGTERM has come."""
        self._stopping = True


@asynccontextmanager
async def serve_endpoints(agent: Agent, readiness: Readiness, listen: str) -> AsyncIterator[str]:
    """Serve the agent's HTTP endpoints on ``ADDRESS:PORT`` (port 0: any); gives the URL.

    Raises:
        AgentError: when the address cannot be bound.
    """

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        return web.Response(text="ready\n") if readiness.ready else web.Response(text="not ready\n", status=503)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=render_metrics(agent), headers={"Content-Type": "text/plain; version=0.0.4"})

    async def members(_: web.Request) -> web.Response:
        agent.names.look()
        return web.json_response(
            [
                {
                    "name": member.name,
                    "eid": str(member.eid) if member.eid else None,
                    "address": member.configuration.address,
                    "state": member.state.value,
                    "reason": member.reason,
                    "backlog": member.injector.backlog if member.injector else 0,
                    "contended_mailboxes": member.contended,
                    "cut_names": agent.names.cut(member.eid)[:_MOST_NAMES] if member.eid else [],
                }
                for member in agent.members.values()
            ]
        )

    application = web.Application()
    application.add_routes(
        [
            web.get("/healthz", healthz),
            web.get("/readyz", readyz),
            web.get("/metrics", metrics),
            web.get("/members", members),
        ]
    )
    runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    try:
        host, port = split_address(listen)
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            raise AgentError(f"cannot listen on {listen} for HTTP: {error}") from error
        bound = runner.addresses[0]
        yield f"http://{f'[{bound[0]}]' if ':' in bound[0] else bound[0]}:{bound[1]}"
    finally:
        await runner.cleanup()
