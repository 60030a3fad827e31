"""A Kubernetes API and a NATS in memory, for the operator's shell."""

from __future__ import annotations

import asyncio
import copy
import itertools
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from eventfed import Credentials, StreamUnavailable, Subjects
from eventfed.wire.report import MemberState
from eventfed.wire.roster import Roster
from eventfed_operator.crd.resource import KIND
from eventfed_operator.health import Health
from eventfed_operator.kubernetes_api import AddressTaken, ApiError, Document, Listing, WatchEvent, WatchExpired
from eventfed_operator.manager import Manager
from eventfed_operator.resources import ChartNats, Settings
from eventfed_operator.snapshot import BusSnapshot, MemberReport, Stream
from eventfed_operator.streams import OWNER
from tests.ground.api_server import Server

Key = tuple[str, str, str]


def selected(manifest: Document, selector: str) -> bool:
    """Equality alone: what the tests use."""
    labels = manifest["metadata"].get("labels") or {}
    return all(labels.get(part.partition("=")[0]) == part.partition("=")[2] for part in selector.split(",") if part)


class MemoryApi:
    """See `KubernetesApi`.

    `fail` makes every request fail, `refuse` what is applied, by kind; `taken` are clusterIPs that no Service gets.
    """

    def __init__(self) -> None:
        self.objects: dict[Key, dict[str, Any]] = {}
        self.versions = itertools.count(100)
        self.uids = itertools.count(1)
        self.fail: ApiError | None = None
        self.refuse: dict[str, ApiError] = {}
        self.deaf = False
        self.taken: set[str] = set()
        self.requests: list[tuple[str, str, str]] = []
        self.expired = 0
        self._watchers: list[tuple[str, str | None, str, asyncio.Queue[WatchEvent]]] = []

    # What a person or a controller does

    def put(self, kind: str, name: str, namespace: str = "voice", /, **more: Any) -> dict[str, Any]:
        """Write an object as somebody else."""
        manifest = copy.deepcopy(more)
        metadata = manifest.setdefault("metadata", {})
        before = self.objects.get((kind, namespace, name))
        uid = before["metadata"]["uid"] if before else f"uid-{next(self.uids)}"
        metadata |= {"name": name, "namespace": namespace, "resourceVersion": str(next(self.versions))}
        metadata.setdefault("uid", uid)
        metadata.setdefault("creationTimestamp", "2026-03-01T11:00:00Z")
        manifest["kind"] = kind
        self.objects[kind, namespace, name] = manifest
        self._tell("MODIFIED" if before else "ADDED", manifest)
        return manifest

    def remove(self, kind: str, name: str, namespace: str = "voice") -> None:
        self._tell("DELETED", self.objects.pop((kind, namespace, name)))

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [one for (its, _, _), one in self.objects.items() if its == kind]

    def expire(self) -> None:
        """Every watch is told that its version is too old."""
        self.expired += 1
        for _, _, _, queue in self._watchers:
            queue.put_nowait(WatchEvent("BOOKMARK", {"expired": True}))

    def _tell(self, kind_of_change: str, manifest: dict[str, Any]) -> None:
        for kind, namespace, selector, queue in self._watchers:
            fits = kind == manifest["kind"] and namespace in (None, manifest["metadata"]["namespace"])
            if fits and selected(manifest, selector) and not self.deaf:
                queue.put_nowait(WatchEvent(kind_of_change, copy.deepcopy(manifest)))  # type: ignore[arg-type]

    def _ask(self, verb: str, kind: str, name: str = "") -> None:
        self.requests.append((verb, kind, name))
        if self.fail is not None:
            raise self.fail

    # KubernetesApi

    async def get(self, kind: str, namespace: str, name: str) -> Document | None:
        self._ask("get", kind, name)
        return copy.deepcopy(self.objects.get((kind, namespace, name)))

    async def list(self, kind: str, namespace: str | None, *, selector: str = "") -> Listing:
        self._ask("list", kind)
        found = [one for one in self.of(kind) if namespace in (None, one["metadata"]["namespace"])]
        return Listing(copy.deepcopy([one for one in found if selected(one, selector)]), str(next(self.versions)))

    async def watch(
        self, kind: str, namespace: str | None, *, selector: str = "", version: str, seconds: float
    ) -> AsyncIterator[WatchEvent]:
        self._ask("watch", kind)
        entry = (kind, namespace, selector, asyncio.Queue[WatchEvent]())
        self._watchers.append(entry)
        try:
            async with asyncio.timeout(seconds):
                while True:
                    event = await entry[3].get()
                    if "expired" in event.object:
                        raise WatchExpired(410, "too old")
                    yield event
        except TimeoutError:
            pass
        finally:
            self._watchers.remove(entry)

    async def apply(self, manifest: Document, *, subresource: str | None = None) -> Document:
        metadata, kind = manifest["metadata"], manifest["kind"]
        self._ask(f"apply {subresource}" if subresource else "apply", kind, metadata["name"])
        if kind in self.refuse:
            raise self.refuse[kind]
        before = self.objects.get((kind, metadata["namespace"], metadata["name"]))
        if subresource == "status":
            if before is None:
                raise ApiError(404, "not found")
            return self.put(kind, metadata["name"], metadata["namespace"], **{**before, "status": manifest["status"]})
        written = copy.deepcopy(dict(manifest))
        if kind == "Service":
            address = written["spec"].get("clusterIP")
            if address in self.taken:
                raise AddressTaken(422, "spec.clusterIP: provided IP is already allocated", address)
            written["spec"].setdefault("clusterIP", before["spec"]["clusterIP"] if before else "10.96.0.7")
        if before and "status" in before:
            written["status"] = before["status"]
        generation = before["metadata"].get("generation", 0) + 1 if before else 1
        written["metadata"] = {**written["metadata"], "generation": generation}
        return self.put(kind, metadata["name"], metadata["namespace"], **written)

    async def merge(self, kind: str, namespace: str, name: str, patch: Document) -> Document:
        self._ask("merge", kind, name)
        present = self.objects[kind, namespace, name]
        wanted = dict(patch["metadata"])
        if wanted.pop("resourceVersion") != present["metadata"]["resourceVersion"]:
            raise ApiError(409, "conflict")
        present = {**present, "metadata": {**present["metadata"], **wanted}}
        if present["metadata"].get("deletionTimestamp") and not present["metadata"].get("finalizers"):
            self.remove(kind, name, namespace)
            return present
        return self.put(kind, name, namespace, **present)

    async def create(self, kind: str, namespace: str, manifest: Document) -> Document:
        name = manifest["metadata"]["name"]
        self._ask("create", kind, name)
        if (kind, namespace, name) in self.objects:
            raise ApiError(409, "exists")
        return self.put(kind, name, namespace, **manifest)

    async def replace(self, kind: str, namespace: str, name: str, manifest: Document) -> Document:
        self._ask("replace", kind, name)
        present = self.objects[kind, namespace, name]
        if manifest["metadata"].get("resourceVersion") != present["metadata"]["resourceVersion"]:
            raise ApiError(409, "conflict")
        return self.put(kind, name, namespace, **manifest)

    async def delete(self, kind: str, namespace: str, name: str, *, uid: str) -> None:
        self._ask("delete", kind, name)
        present = self.objects.get((kind, namespace, name))
        if present is not None and present["metadata"]["uid"] == uid:
            self.remove(kind, name, namespace)


class MemoryBus:
    """See `FederationBus`. It is of one federation, and stands still for every connection to it."""

    def __init__(self) -> None:
        self.stream: Stream | None = None
        self.rosters: dict[str, Roster] = {}
        self.reports: dict[str, MemberReport] = {}
        self.connected = True
        self.refusal = ""
        self.opened: list[tuple[tuple[str, ...], Credentials]] = []
        self.subjects: Subjects | None = None
        self.on_change: Callable[[], None] = lambda: None

    @asynccontextmanager
    async def open(
        self, subjects: Subjects, servers: tuple[str, ...], credentials: Credentials, *, on_change: Callable[[], None]
    ) -> AsyncIterator[MemoryBus]:
        self.opened.append((servers, credentials))
        self.subjects, self.on_change = subjects, on_change
        yield self

    def report(self, uid: str, state: MemberState) -> None:
        self.reports[uid] = MemberReport(uid, state)
        self.on_change()

    async def observe(self, *, mark: str) -> BusSnapshot:
        if not self.connected:
            return BusSnapshot(problem="NATS does not answer")
        return BusSnapshot(True, None, self.stream, (), dict(self.rosters), dict(self.reports))

    async def ensure_stream(self, configuration: Mapping[str, Any], *, exists: bool) -> None:
        assert exists is (self.stream is not None)
        self.stream = Stream(configuration["metadata"][OWNER], configuration)

    async def delete_stream(self) -> None:
        self.stream = None

    async def publish_roster(self, node: str, roster: Roster | None) -> None:
        if self.refusal:
            raise StreamUnavailable(f"roster.{node}", 10023, self.refusal)
        if roster is None:
            self.rosters.pop(node, None)
        else:
            self.rosters[node] = roster


FEDERATION = {
    "spec": {
        "members": {"selector": {"matchLabels": {"app": "asterisk"}}},
        "events": [{"type": "mwi", "voicemailStorage": "Separate"}, {"type": "device_state"}],
    }
}


class Cluster(MemoryApi):
    """With pods, as a person and the kubelet make them."""

    def federation(self, name: str = "pbx", **spec: Any) -> dict[str, Any]:
        return self.put(KIND, name, metadata={"generation": 1}, spec={**FEDERATION["spec"], **spec})

    def pod(self, number: int, *, app: str = "asterisk", node: str = "node-0") -> dict[str, Any]:
        return self.put(
            "Pod",
            f"{app}-{number}",
            metadata={"labels": {"app": app}},
            spec={"nodeName": node},
            status={"podIP": f"10.1.0.{number + 1}", "conditions": [{"type": "Ready", "status": "True"}]},
        )

    def agent(self, node: str, federation: str = "pbx") -> dict[str, Any]:
        labels = {"app.kubernetes.io/name": "eventfed-agent", "app.kubernetes.io/instance": federation}
        status = {"conditions": [{"type": "Ready", "status": "True"}]}
        return self.put("Pod", f"agent-{node}", metadata={"labels": labels}, spec={"nodeName": node}, status=status)

    def schedule(self, desired: int, name: str = "pbx-agent") -> None:
        """What the controller of DaemonSets writes."""
        found = self.objects["DaemonSet", "voice", name]
        generation = found["metadata"]["generation"]
        status = {"observedGeneration": generation, "desiredNumberScheduled": desired, "numberReady": desired}
        self.put("DaemonSet", name, **{**found, "status": {**status, "updatedNumberScheduled": desired}})

    def condition(self, kind: str, name: str = "pbx") -> dict[str, Any]:
        status = self.objects.get((KIND, "voice", name), {}).get("status", {})
        return next((one for one in status.get("conditions", ()) if one["type"] == kind), {})


async def until(holds: Callable[[], object], within: float = 5.0) -> None:
    """Wait for a condition; fails if it does not come."""
    async with asyncio.timeout(within):
        while not holds():  # noqa: ASYNC110 - any condition at all
            await asyncio.sleep(0.01)


@pytest.fixture
def api() -> Cluster:
    return Cluster()


@pytest.fixture
def bus() -> MemoryBus:
    return MemoryBus()


@pytest.fixture(name="until")
def until_fixture() -> Any:
    return until


@pytest.fixture
def supervised(api: Cluster, bus: MemoryBus) -> Any:
    """Makes a context in which a supervisor runs; the watch that kopf would have is the memory's own."""

    @asynccontextmanager
    async def run(**more: Any) -> AsyncIterator[Manager]:
        given = {
            "settings": Settings("eventfed:1", ChartNats(("nats://nats:4222",), "agent", "s3cret")),
            "namespaces": (),
            "chart_nats": Credentials("operator", "s3cret"),
            "open_bus": bus.open,
            "resync": 0.5,
            "health": Health(),
        }
        supervisor = Manager(api, **{**given, **more})
        async with asyncio.TaskGroup() as group:
            running = group.create_task(supervisor.run())
            yield supervisor
            running.cancel()

    return run


@pytest.fixture
async def server(api: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    server = Server(api)
    async with server.serve_http(tmp_path) as kubeconfig:
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
        yield server
