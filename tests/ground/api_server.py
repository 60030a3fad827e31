"""The HTTP of an API server before a cluster in memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from eventfed_operator.crd.resource import KIND, PLURAL
from eventfed_operator.kubernetes_api import ApiError, WatchExpired

KINDS = {
    "pods": "Pod",
    "services": "Service",
    "secrets": "Secret",
    "serviceaccounts": "ServiceAccount",
    "networkpolicies": "NetworkPolicy",
    "events": "Event",
    "leases": "Lease",
    "daemonsets": "DaemonSet",
    PLURAL: KIND,
}
DISCOVERED = {
    "core": {"namespaces": "Namespace", "pods": "Pod", "services": "Service"},
    "apps": {"daemonsets": "DaemonSet"},
    "eventfed.io": {PLURAL: KIND},
}
GROUPS = {"apps": "v1", "eventfed.io": "v1alpha1"}


Refuse = Callable[[web.Request], web.StreamResponse | None]


class Server:
    """An API server's HTTP before a cluster in memory; it keeps what was asked."""

    def __init__(self, api: Any) -> None:
        self.api = api
        self.asked: list[tuple[str, str, dict[str, str], str, Any]] = []
        self.refuse: Refuse = lambda request: None
        self._watches: set[asyncio.Transport] = set()

    def refuse_everything(self, refuse: Refuse) -> None:
        """Refuse in this way from now on; watches that are open are cut."""
        self.refuse = refuse
        for transport in self._watches:
            transport.abort()
        self._watches.clear()

    def accept(self) -> None:
        """Refuse nothing any more."""
        self.refuse = lambda request: None

    async def answer(self, request: web.Request) -> web.StreamResponse:
        query = dict(request.query)
        text = await request.text()
        body = json.loads(text) if text else None
        self.asked.append((request.method, request.path, query, request.headers.get("Content-Type", ""), body))
        if (refusal := self.refuse(request)) is not None:
            return refusal
        parts = request.path.strip("/").split("/")
        if (discovered := self.discover(parts)) is not None:
            return web.json_response(discovered)
        parts = parts[2:] if parts[0] == "api" else parts[3:]
        namespace, parts = (parts[1], parts[2:]) if parts[0] == "namespaces" else (None, parts)
        kind, name, subresource = KINDS[parts[0]], *[*parts[1:], None, None][:2]
        try:
            return await self.serve(request, kind, namespace, name, subresource, query, body)
        except ApiError as error:
            status = {"kind": "Status", "status": "Failure", "message": str(error), "code": error.status}
            return web.json_response(status, status=error.status)

    @staticmethod
    def discover(parts: list[str]) -> dict[str, Any] | None:
        if parts == ["api"]:
            return {"versions": ["v1"]}
        if parts == ["apis"]:
            versions = {
                name: {"groupVersion": f"{name}/{version}", "version": version} for name, version in GROUPS.items()
            }
            return {
                "groups": [{"name": name, "versions": [one], "preferredVersion": one} for name, one in versions.items()]
            }
        if len(parts) == (2 if parts[0] == "api" else 3):
            return {
                "resources": [
                    {
                        "name": plural,
                        "singularName": kind.lower(),
                        "kind": kind,
                        "namespaced": True,
                        "verbs": ["get", "list", "watch", "create", "patch", "delete"],
                    }
                    for plural, kind in DISCOVERED["core" if parts[0] == "api" else parts[1]].items()
                ]
            }
        return None

    async def serve(
        self, request: web.Request, kind: str, namespace: Any, name: Any, subresource: Any, query: Any, body: Any
    ) -> web.StreamResponse:
        api, selector = self.api, query.get("labelSelector", "")
        match request.method:
            case "GET" if query.get("watch"):
                response = web.StreamResponse(headers={"Content-Type": "application/json"})
                await response.prepare(request)
                assert request.transport is not None
                self._watches.add(request.transport)
                try:
                    async for event in api.watch(kind, namespace, selector=selector, version="", seconds=60):
                        await response.write(json.dumps({"type": event.type, "object": event.object}).encode() + b"\n")
                except WatchExpired:
                    gone = {"type": "ERROR", "object": {"code": 410, "message": "too old"}}
                    await response.write(json.dumps(gone).encode() + b"\n")
                return response
            case "GET" if name:
                found = await api.get(kind, namespace, name)
                if found is None:
                    raise ApiError(404, "not found")
                return web.json_response(found)
            case "GET":
                listing = await api.list(kind, namespace, selector=selector)
                start, limit = int(query.get("continue", 0)), int(query.get("limit", 500))
                more = {"continue": str(start + limit)} if start + limit < len(listing.items) else {}
                metadata = {"resourceVersion": listing.version, **more}
                return web.json_response({"metadata": metadata, "items": listing.items[start : start + limit]})
            case "PATCH" if "apply" in request.headers["Content-Type"]:
                return web.json_response(await api.apply(body, subresource=subresource))
            case "PATCH":
                return web.json_response(await api.merge(kind, namespace, name, body))
            case "POST":
                return web.json_response(await api.create(kind, namespace, body))
            case "PUT":
                return web.json_response(await api.replace(kind, namespace, name, body))
            case _:
                await api.delete(kind, namespace, name, uid=body["preconditions"]["uid"])
                return web.json_response({"kind": "Status"})

    @asynccontextmanager
    async def serve_http(self, folder: Path) -> AsyncIterator[Path]:
        """Answer while the context is open; gives the file that ``KUBECONFIG`` names."""
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self.answer)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        kubeconfig = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "clusters": [{"name": "test", "cluster": {"server": f"http://127.0.0.1:{runner.addresses[0][1]}"}}],
            "users": [{"name": "test", "user": {"token": "t0ken"}}],
        }
        (folder / "kubeconfig").write_text(json.dumps(kubeconfig))
        try:
            yield folder / "kubeconfig"
        finally:
            await runner.cleanup()
