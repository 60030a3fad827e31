"""How kopf logs in to the API server, and how often it asks while that refuses."""

import asyncio
import os
from collections.abc import Iterator
from typing import Any

import aiohttp
import kopf

from eventfed.pace import Backoff, until_due

from .api_pace import ApiPace, wished_pause
from .kubernetes_api import is_outage

__all__ = ["Login", "Pauses"]

_FLOOR, _LIMIT = 1.0, 5.0
_BAD_REQUEST = 400
_JSON = "application/json"


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

    Args:
        pace: of all requests.
    """

    def __init__(self, pace: ApiPace) -> None:
        self._backoff = Backoff(_FLOOR, _LIMIT)
        self._paced = _Paced(pace)
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
            middlewares=(self._paced,),
        )
        return kopf.AiohttpSession(
            server=info.server, default_namespace=info.default_namespace, aiohttp_session=session
        )


class _Paced:
    """Holds kopf's requests back while the API server refuses, and a watch that ended just after it began.

    kopf itself begins a watch again at once when the server has closed it.
    """

    def __init__(self, pace: ApiPace) -> None:
        self._pace = pace

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        path, clock = request.url.path, asyncio.get_running_loop().time
        watch = self._pace.of_watch(path) if "watch" in request.url.query else None
        if watch is not None:
            await until_due(watch)
        async with self._pace.turn(path):
            if request.session.closed:
                raise RuntimeError("Session is closed")  # as aiohttp says it to kopf, which then logs in again
            try:
                response = await handler(request)
            except Exception:
                self._pace.failed()
                raise
            if is_outage(response.status):
                self._pace.failed(wished_pause(response.headers.get("Retry-After")))
            elif response.status >= _BAD_REQUEST:
                self._pace.refused(path)
            elif response.content_type != _JSON:
                self._pace.failed()
            else:
                self._pace.accepted(path)
                if watch is not None:
                    watch.rest(clock())
            return response
