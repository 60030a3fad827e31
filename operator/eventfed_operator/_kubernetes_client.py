"""`KubernetesApi` over ``kubernetes.aio``: its connections and credentials, without its models."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import aiohttp
from kubernetes.aio import client, config
from kubernetes.aio.client.exceptions import ApiException

from .api_pace import ApiPace, wished_pause
from .kubernetes_api import AddressTaken, ApiError, Document, Listing, WatchEvent, WatchExpired, resource_path
from .resources import FIELD_MANAGER

__all__ = ["KubernetesClient", "open_kubernetes"]

T = TypeVar("T")

_REQUEST = 20.0
_CONNECT = 10.0
_SILENCE = 90.0
"""API servers send a bookmark each minute; a watch that is silent for longer is dead, whatever TCP says."""
_PAGE = 500
_MAX_LINE = 2**21
_GONE = 410
_CONFLICT = 409
_NOT_FOUND = 404
_UNPROCESSABLE = 422
_BAD_REQUEST = 400
_ANSWERS = (_NOT_FOUND, _GONE)
"""What is no refusal of a question: there is no such object; the watch has to begin later."""
_JSON = "application/json"
_IN_POD = "KUBERNETES_SERVICE_HOST"
"""The kubelet sets it in each container."""


@asynccontextmanager
async def open_kubernetes(*, pooled: bool = True) -> AsyncIterator["KubernetesClient"]:
    """Connect as ``KUBECONFIG`` says where it is set, else with the pod's service account, else ``~/.kube/config``.

    Args:
        pooled: keep connections for the next request, and hold requests back while the API server refuses them.
            Without, no request waits for another one.

    Raises:
        ApiError: there are no credentials.
    """
    configuration = client.Configuration()
    # Two watches of each EventFederation stay open; more than the library's limit would starve all other requests.
    configuration.connection_pool_maxsize = 0
    named = os.environ.get("KUBECONFIG")  # the library looks at it only when it is imported
    try:
        if not named and _IN_POD in os.environ:
            config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            await config.load_kube_config(  # type: ignore[no-untyped-call]
                config_file=named or None, client_configuration=configuration
            )
    except (config.ConfigException, OSError) as error:
        where = f"KUBECONFIG is {named}" if named else "there is neither a service account nor KUBECONFIG"
        raise ApiError(0, f"no credentials: {where} ({error})") from None
    async with client.ApiClient(configuration) as api:
        if not pooled:
            connector = aiohttp.TCPConnector(ssl=api.rest_client.ssl_context, force_close=True)
            api.rest_client.pool_manager = aiohttp.ClientSession(connector=connector, trust_env=True)
        yield KubernetesClient(api, pace=ApiPace() if pooled else None)


class KubernetesClient:
    """See `KubernetesApi`.

    Args:
        pace: which requests go while the API server refuses them; None: all.
    """

    def __init__(self, api: client.ApiClient, *, pace: ApiPace | None = None) -> None:
        self._api = api
        self._pace = pace

    async def get(self, kind: str, namespace: str, name: str) -> Document | None:
        try:
            return await self._ask("GET", resource_path(kind, namespace, name))
        except ApiError as error:
            if error.status == _NOT_FOUND:
                return None
            raise

    async def list(self, kind: str, namespace: str | None, *, selector: str = "") -> Listing:
        path, more = resource_path(kind, namespace), ""
        items: list[Document] = []
        while True:
            answer = await self._ask("GET", path, {"limit": str(_PAGE), "labelSelector": selector, "continue": more})
            items += answer.get("items") or []
            more = answer["metadata"].get("continue", "")
            if not more:
                return Listing(items, answer["metadata"]["resourceVersion"])

    async def watch(
        self, kind: str, namespace: str | None, *, selector: str = "", version: str, seconds: float
    ) -> AsyncIterator[WatchEvent]:
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "labelSelector": selector,
            "timeoutSeconds": str(round(seconds)),
        }
        limits = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT, sock_read=_SILENCE)
        path = resource_path(kind, namespace)
        response = await self._paced("GET", path, lambda: self._send("GET", path, query, None, _JSON, limits))
        try:
            async for line in response.content:
                change = json.loads(line)
                if change["type"] == "ERROR":
                    status = change["object"].get("code", 0)
                    kind_of_error = WatchExpired if status == _GONE else ApiError
                    raise kind_of_error(status, change["object"].get("message", "the watch failed"))
                yield WatchEvent(change["type"], change["object"])
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise ApiError(0, f"the watch of {kind} broke: {str(error) or type(error).__name__}") from None
        finally:
            response.close()

    async def apply(self, manifest: Document, *, subresource: str | None = None) -> Document:
        metadata = manifest["metadata"]
        path = resource_path(manifest["kind"], metadata["namespace"], metadata["name"], subresource)
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        try:
            return await self._ask("PATCH", path, query, manifest, "application/apply-patch+yaml")
        except ApiError as error:
            address = (manifest.get("spec") or {}).get("clusterIP")
            if error.status == _UNPROCESSABLE and address and "spec.clusterIP" in str(error):
                raise AddressTaken(error.status, str(error), address) from None
            raise

    async def merge(self, kind: str, namespace: str, name: str, patch: Document) -> Document:
        path, query = resource_path(kind, namespace, name), {"fieldManager": FIELD_MANAGER}
        return await self._ask("PATCH", path, query, patch, "application/merge-patch+json")

    async def create(self, kind: str, namespace: str, manifest: Document) -> Document:
        return await self._ask("POST", resource_path(kind, namespace), {"fieldManager": FIELD_MANAGER}, manifest)

    async def replace(self, kind: str, namespace: str, name: str, manifest: Document) -> Document:
        path, query = resource_path(kind, namespace, name), {"fieldManager": FIELD_MANAGER}
        return await self._ask("PUT", path, query, manifest)

    async def delete(self, kind: str, namespace: str, name: str, *, uid: str) -> None:
        try:
            await self._ask("DELETE", resource_path(kind, namespace, name), body={"preconditions": {"uid": uid}})
        except ApiError as error:
            if error.status not in (_NOT_FOUND, _CONFLICT):
                raise

    async def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Document | None = None,
        content: str = _JSON,
    ) -> dict[str, Any]:
        async def ask() -> dict[str, Any]:
            response = await self._send(method, path, query or {}, body, content, None)
            try:
                async with asyncio.timeout(_REQUEST):
                    answer = json.loads(await response.read())
            except TimeoutError:
                raise ApiError(0, f"no answer to {method} {path} within {_REQUEST:.0f} s") from None
            except (aiohttp.ClientError, OSError, ValueError) as error:
                raise ApiError(0, f"{method} {path}: {str(error) or type(error).__name__}") from None
            if not isinstance(answer, dict):
                raise ApiError(0, f"{method} {path}: an answer that nobody understands")
            return answer

        return await self._paced(method, path, ask)

    async def _paced(self, method: str, path: str, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask, in turn with all others who ask while the API server refuses."""
        if self._pace is None:
            return await ask()
        # What is written has its own pause for each object, in the reconciler of its EventFederation.
        question = path if method == "GET" else None
        async with self._pace.turn(question):
            try:
                answer = await ask()
            except ApiError as error:
                if error.is_outage:
                    self._pace.failed(error.retry_after)
                elif question is None or error.status in _ANSWERS:
                    self._pace.accepted(question)
                else:
                    self._pace.refused(question)
                raise
            self._pace.accepted(question)
            return answer

    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Document | None,
        content: str,
        timeout: aiohttp.ClientTimeout | None,  # noqa: ASYNC109
    ) -> aiohttp.ClientResponse:
        given = [(name, value) for name, value in query.items() if value]
        try:
            request = await self._api.param_serialize(
                method,
                path,
                query_params=given,
                header_params={"Accept": _JSON, "Content-Type": content},
                body=body,
                auth_settings=["BearerToken"],
            )
            answer = await self._api.call_api(*request, _request_timeout=timeout or aiohttp.ClientTimeout(_REQUEST))
            response: aiohttp.ClientResponse = answer.response
            if response.status < _BAD_REQUEST:
                return response
            text = await response.text()
        except (ApiException, aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ApiError(0, f"{method} {path}: {str(error) or type(error).__name__}") from None
        kind_of_error = WatchExpired if response.status == _GONE else ApiError
        retry_after = wished_pause(response.headers.get("Retry-After"))
        raise kind_of_error(response.status, f"{method} {path}: {_reason(text)}", retry_after=retry_after)


def _reason(text: str) -> str:
    """What the API server says of a refusal."""
    try:
        return str(json.loads(text).get("message", ""))[:1000] or "no reason given"
    except (ValueError, AttributeError):
        return text[:200]
