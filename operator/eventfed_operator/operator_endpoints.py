"""``/healthz``, ``/readyz`` and ``/metrics`` of the operator."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from eventfed import EventfedError

from .health import Health

__all__ = ["AddressInUse", "serve_endpoints"]


class AddressInUse(EventfedError):
    """The endpoints cannot be served where they should be."""


@asynccontextmanager
async def serve_endpoints(health: Health, metrics: Callable[[], bytes], listen: tuple[str, int]) -> AsyncIterator[int]:
    """Serve while the context is open; gives the port (0 asks for any).

    Raises:
        AddressInUse: when the address cannot be bound.
    """

    async def healthz(_: web.Request) -> web.Response:
        problems = list(health.problems(asyncio.get_running_loop().time()))
        return web.Response(text="\n".join([*problems, ""]) if problems else "ok\n", status=503 if problems else 200)

    async def readyz(_: web.Request) -> web.Response:
        if health.contact:
            return web.Response(text="ready\n")
        return web.Response(text="the API server has not answered yet\n", status=503)

    async def metrics_(_: web.Request) -> web.Response:
        return web.Response(body=metrics(), headers={"Content-Type": "text/plain; version=0.0.4"})

    application = web.Application()
    application.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", metrics_)])
    runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, *listen).start()
        except OSError as error:
            raise AddressInUse(f"EVENTFED_HTTP: cannot listen on {listen[0]}:{listen[1]}: {error}") from error
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
