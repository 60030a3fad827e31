"""How kopf logs in to the API server, and how often it asks while that refuses."""

import asyncio
import os
from collections.abc import Iterator
from typing import Any

import aiohttp
import kopf

from eventfed.pace import Backoff, Turns, until_due

__all__ = ["Login", "Pauses"]

_FLOOR, _LIMIT = 1.0, 5.0
_UNAUTHORIZED, _TOO_MANY, _SERVER_ERROR = 401, 429, 500


class Pauses:
    """kopf's ``error_backoffs``: without an end, since an API server that is away comes back."""

    def __iter__(self) -> Iterator[float]:
        backoff, now = Backoff(_FLOOR, _LIMIT), 0.0
        while True:
            pause = backoff.failed(now)
            yield pause
            now += pause


class Login:
    """kopf's login handler. It reads the credentials again each time: a service account's token is replaced hourly.

    kopf gives up once the same credentials were refused twice, and an API server may refuse good ones for a while
    (401 while it starts, or cannot reach what checks them). A session with its own connections is never the same.
    """

    def __init__(self) -> None:
        self._backoff = Backoff(_FLOOR, _LIMIT)
        self._pace = _Pace()
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections of the last login; kopf closes those before."""
        if self._session is not None:
            await self._session.close()

    async def log_in(self, **known: Any) -> kopf.AiohttpSession:
        await until_due(self._backoff)
        self._backoff.rest(asyncio.get_running_loop().time())
        # In the order of `open_kubernetes`: two identities in one process would be a riddle.
        named = None if os.environ.get("KUBECONFIG") else kopf.login_with_service_account(**known)
        info = named or kopf.login_with_kubeconfig(**known)
        if info is None:
            raise kopf.TemporaryError("no credentials: neither a service account nor KUBECONFIG", delay=_FLOOR)
        session = self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=info.as_ssl_context()),
            headers=info.as_http_headers(),
            proxy=info.proxy_url,
            trust_env=info.trust_env,
            middlewares=(self._pace,),
        )
        return kopf.AiohttpSession(
            server=info.server, default_namespace=info.default_namespace, aiohttp_session=session
        )


class _Pace:
    """Holds requests back while the API server refuses all of them, and a watch that ended just after it began.

    kopf itself begins a watch again at once when the server has closed it.
    """

    def __init__(self) -> None:
        self._turns = Turns(_FLOOR, _LIMIT)
        self._watches: dict[str, Backoff] = {}

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        path, clock = request.url.path, asyncio.get_running_loop().time
        watch = self._watches.setdefault(path, Backoff(_FLOOR, _LIMIT)) if "watch" in request.url.query else None
        if watch is not None:
            await until_due(watch)
        async with self._turns.turn(path):
            if request.session.closed:
                raise RuntimeError("Session is closed")  # as aiohttp says it to kopf, which then logs in again
            try:
                response = await handler(request)
            except Exception:
                self._turns.failed(path)
                raise
            if response.status in (_UNAUTHORIZED, _TOO_MANY) or response.status >= _SERVER_ERROR:
                self._turns.failed(path)
            else:
                self._turns.succeeded(path)
                if watch is not None:
                    watch.rest(clock())
            return response
