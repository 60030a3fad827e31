"""What goes over the wire to an API server: the client's requests, and kopf's watches."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from eventfed_operator._kubernetes_client import KubernetesClient, open_kubernetes
from eventfed_operator.crd.resource import KIND, PLURAL
from eventfed_operator.kubernetes_api import AddressTaken, ApiError, WatchExpired
from eventfed_operator.resources import FIELD_MANAGER
from eventfed_operator.watch import watch
from tests.ground.api_server import Server


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
    listener, stop = Listener(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(watch(listener, namespaces, stop=stop))
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
