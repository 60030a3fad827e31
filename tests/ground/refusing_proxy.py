"""An HTTPS proxy before a real API server, which can refuse everything with one status."""

import asyncio
import ssl
import threading
from pathlib import Path
from typing import Self

import aiohttp
from aiohttp import web

__all__ = ["RefusingProxy"]

_DROPPED = {"host", "content-length", "transfer-encoding", "connection", "content-encoding", "accept-encoding"}


class RefusingProxy:
    """Passes requests on, and streams what is answered.

    Args:
        server: the URL of the API server.
        certificates: the folder of its certificate and key, with which the proxy serves as well.
    """

    def __init__(self, server: str, certificates: Path) -> None:
        self._server, self._certificates = server, certificates
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._open: set[asyncio.Transport] = set()
        self.status: int | None = None
        self.but: tuple[str, ...] = ()
        """What a path has to hold to be passed on all the same."""
        self.refused = 0
        self.port = 0

    def refuse(self, status: int, *, but: tuple[str, ...] = ()) -> None:
        """Answer everything with this status from now on; watches that stand are cut."""
        self.status, self.but = status, but
        self._loop.call_soon_threadsafe(self._cut)

    def accept(self) -> None:
        """Pass everything on."""
        self.status = None

    def _cut(self) -> None:
        for transport in self._open:
            transport.abort()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if self.status is not None and not any(part in request.path for part in self.but):
            self.refused += 1
            body = {
                "kind": "Status",
                "apiVersion": "v1",
                "status": "Failure",
                "message": "refused",
                "code": self.status,
            }
            return web.json_response(body, status=self.status)
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _DROPPED}
        async with self._session.request(
            request.method,
            self._server + request.raw_path,
            headers=headers,
            data=await request.read() or None,
            skip_auto_headers=("Content-Type",),
        ) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _DROPPED}
            response = web.StreamResponse(status=answer.status, headers=kept)
            await response.prepare(request)
            transport = request.transport
            if transport is None:
                return response
            self._open.add(transport)
            try:
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
            except ConnectionError:
                pass
            finally:
                self._open.discard(transport)
            return response

    async def _start(self) -> None:
        certificate, key = (self._certificates / f"apiserver.{end}" for end in ("crt", "key"))
        serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        serving.load_cert_chain(certificate, key)
        asking = aiohttp.TCPConnector(limit=0, ssl=ssl.create_default_context(cafile=str(certificate)))
        self._session = aiohttp.ClientSession(connector=asking, timeout=aiohttp.ClientTimeout(total=None))
        application = web.Application(client_max_size=2**24)
        application.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=serving).start()
        self.port = self._runner.addresses[0][1]

    async def _close(self) -> None:
        self._cut()
        await self._runner.cleanup()
        await self._session.close()

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
