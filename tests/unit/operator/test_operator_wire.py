"""What goes over the wire to an API server: the client's requests, and kopf's watches."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from eventfed_operator._kubernetes_client import KubernetesClient, open_kubernetes
from eventfed_operator.crd.resource import KIND, PLURAL
from eventfed_operator.kubernetes_api import AddressTaken, ApiError, WatchExpired
from eventfed_operator.resources import FIELD_MANAGER
from eventfed_operator.watch import watch

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


class Server:
    """An API server's HTTP before a cluster in memory; it keeps what was asked."""

    def __init__(self, api: Any) -> None:
        self.api = api
        self.asked: list[tuple[str, str, dict[str, str], str, Any]] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        query = dict(request.query)
        text = await request.text()
        body = json.loads(text) if text else None
        self.asked.append((request.method, request.path, query, request.headers.get("Content-Type", ""), body))
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
                response = web.StreamResponse()
                await response.prepare(request)
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


@pytest.fixture
async def server(api: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    server = Server(api)
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", server.answer)
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
    (tmp_path / "kubeconfig").write_text(json.dumps(kubeconfig))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    yield server
    await runner.cleanup()


@asynccontextmanager
async def connected() -> AsyncIterator[KubernetesClient]:
    async with open_kubernetes() as client:
        yield client


async def test_objects_are_read_and_what_is_missing_is_none(api: Any, server: Server) -> None:
    api.pod(0)
    async with connected() as client:
        found = await client.get("Pod", "voice", "asterisk-0")
        assert found is not None
        assert found["status"]["podIP"] == "10.1.0.1"
        assert await client.get("Pod", "voice", "asterisk-1") is None


async def test_a_long_list_is_read_in_pages_and_filtered_by_the_server(api: Any, server: Server) -> None:
    for number in range(501):
        api.pod(number)
    api.pod(0, app="other")
    async with connected() as client:
        listing = await client.list("Pod", None, selector="app=asterisk")
    assert len(listing.items) == 501
    assert [query.get("continue") for *_, query, _, _ in server.asked] == [None, "500"]


async def test_objects_are_written_by_server_side_apply_with_our_field_manager(api: Any, server: Server) -> None:
    manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "voice"}, "data": {}}
    async with connected() as client:
        await client.apply(manifest)
    assert server.asked == [
        (
            "PATCH",
            "/api/v1/namespaces/voice/secrets/s",
            {"fieldManager": FIELD_MANAGER, "force": "true"},
            "application/apply-patch+yaml",
            manifest,
        )
    ]


async def test_the_status_is_written_to_its_subresource(api: Any, server: Server) -> None:
    present = api.federation()
    status = {"federation": "voice_pbx"}
    async with connected() as client:
        await client.apply({**present, "status": status}, subresource="status")
    assert server.asked[0][1] == f"/apis/eventfed.io/v1alpha1/namespaces/voice/{PLURAL}/pbx/status"
    assert api.objects[KIND, "voice", "pbx"]["status"] == status


async def test_a_conflict_is_told_as_such_and_a_taken_address_by_name(api: Any, server: Server) -> None:
    api.federation()
    api.taken = {"10.96.0.6"}
    metadata = {"name": "s", "namespace": "voice"}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"clusterIP": "10.96.0.6"}}
    async with connected() as client:
        with pytest.raises(ApiError) as refused:
            await client.merge(KIND, "voice", "pbx", {"metadata": {"resourceVersion": "1", "finalizers": []}})
        assert refused.value.status == 409
        with pytest.raises(AddressTaken) as taken:
            await client.apply(service)
        assert taken.value.address == "10.96.0.6"


async def test_only_the_object_with_the_uid_is_deleted(api: Any, server: Server) -> None:
    uid = api.pod(0)["metadata"]["uid"]
    async with connected() as client:
        await client.delete("Pod", "voice", "asterisk-0", uid="another")
        assert ("Pod", "voice", "asterisk-0") in api.objects
        await client.delete("Pod", "voice", "asterisk-0", uid=uid)
        assert ("Pod", "voice", "asterisk-0") not in api.objects


async def test_a_watch_gives_changes_and_says_when_its_version_is_too_old(api: Any, server: Server, until: Any) -> None:
    seen: list[tuple[str, str]] = []

    async def follow(client: KubernetesClient) -> None:
        async for event in client.watch("Pod", "voice", selector="app=asterisk", version="1", seconds=60):
            seen.append((event.type, event.object["metadata"]["name"]))

    async with connected() as client:
        task = asyncio.create_task(follow(client))
        await until(lambda: server.asked)
        await asyncio.sleep(0.1)
        api.pod(0)
        api.remove("Pod", "asterisk-0")
        await until(lambda: len(seen) == 2)
        assert seen == [("ADDED", "asterisk-0"), ("DELETED", "asterisk-0")]
        api.expire()
        with pytest.raises(WatchExpired):
            await task
    assert server.asked[0][2]["allowWatchBookmarks"] == "true"


async def test_an_api_server_that_is_away_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    async with connected() as client:
        monkeypatch.setattr(client._api.configuration, "host", "http://127.0.0.1:9")
        with pytest.raises(ApiError, match="GET"):
            await client.get("Pod", "voice", "x")


class Listener:
    def __init__(self) -> None:
        self.federations: list[tuple[str, bool]] = []
        self.concerned: list[tuple[str, str]] = []

    def heard(self, manifest: Any, *, gone: bool) -> None:
        self.federations.append((manifest["metadata"]["name"], gone))

    def concerns(self, namespace: str, name: str) -> None:
        self.concerned.append((namespace, name))


@pytest.mark.parametrize("namespaces", [(), ("voice",)])
async def test_kopf_tells_of_federations_and_of_what_belongs_to_them_and_writes_nothing(
    api: Any, server: Server, until: Any, namespaces: tuple[str, ...]
) -> None:
    api.federation("before")
    listener, stop, started = Listener(), asyncio.Event(), []
    async with asyncio.TaskGroup() as group:
        group.create_task(watch(listener, namespaces, stop=stop, started=lambda: started.append(True)))
        await until(lambda: listener.federations == [("before", False)])
        await until(lambda: sum(bool(query.get("watch")) for _, _, query, _, _ in server.asked) == 3)
        await asyncio.sleep(0.1)
        api.federation("after")
        await until(lambda: ("after", False) in listener.federations)
        api.remove(KIND, "after")
        await until(lambda: ("after", True) in listener.federations)
        labels = {"app.kubernetes.io/managed-by": FIELD_MANAGER, "eventfed.io/federation": "before"}
        api.put("DaemonSet", "before-agent", metadata={"labels": labels})
        await until(lambda: ("voice", "before") in listener.concerned)
        stop.set()
    assert started
    assert {method for method, *_ in server.asked} == {"GET"}
    asked = {path: query for _, path, query, _, _ in server.asked if query.get("watch")}
    selectors = {path.rpartition("/")[2]: query.get("labelSelector") for path, query in asked.items()}
    ours = f"app.kubernetes.io/managed-by={FIELD_MANAGER}"
    assert selectors == {PLURAL: None, "daemonsets": ours, "services": ours}
    assert all(
        path.startswith("/apis/apps/v1/namespaces/voice") for path in asked if "daemonsets" in path and namespaces
    )


async def test_the_process_acts_under_its_lease_and_ends_in_time(api: Any, server: Server, until: Any) -> None:
    environment = {
        **os.environ,
        "EVENTFED_IMAGE": "eventfed:1",
        "EVENTFED_LEASE": "eventfed-operator",
        "EVENTFED_POD": "eventfed-operator-0",
        "EVENTFED_NAMESPACE": "voice",
        "EVENTFED_HTTP": "127.0.0.1:0",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "eventfed_operator", env=environment, stderr=asyncio.subprocess.PIPE
    )
    try:
        await until(lambda: ("Lease", "voice", "eventfed-operator") in api.objects, within=20)
        api.federation()
        await until(lambda: api.condition("Ready").get("reason") == "NoNats", within=20)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            _, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, errors.decode()
    assert api.objects["Lease", "voice", "eventfed-operator"]["spec"]["holderIdentity"] == ""
    assert b"Traceback" not in errors, errors.decode()
    for line in errors.decode().splitlines():
        assert json.loads(line)["level"] in ("info", "warning"), line
