"""One control plane for all, a namespace for each test, and the operator of the chart for each module that wants it."""

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import yaml

from eventfed_lab import ControlPlane, ControlPlaneUnavailable, NatsServer
from tests.ground.cluster_api import Api, Refused, eventually, federation
from tests.ground.federations import OWN_USER, settled
from tests.ground.installation import CHART, Installation, Operator

HERE = Path(__file__).resolve().parent
BUILDER = HERE.parent / "kind" / "build-tools.sh"
PROGRAMS = Path(os.environ.get("EVENTFED_CACHE") or Path.home() / ".cache" / "eventfed") / "kind" / "bin"
"""Where `tests/kind/cache.sh` keeps them."""
WANTED = {"k8s": ("kube-apiserver", "kube-controller-manager", "kubectl"), "etcd": ("etcd",), "helm": ("helm",)}
UNAVAILABLE = pytest.StashKey[str]()
NUMBERS = count(1)

QUICK = {"operator": {"resync": 1, "withdrawal": 3, "allowFederations": ["everybody"]}}
"""The chart's values with short times."""


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build what is missing before the first test: it takes minutes, and a test has not so much time."""
    if session.config.option.collectonly or not any(HERE in item.path.parents for item in session.items):
        return
    missing = {group for group, names in WANTED.items() if not all((PROGRAMS / name).is_file() for name in names)}
    if not missing:
        return
    if shutil.which("go") is None:
        reason = f"programs of {', '.join(sorted(missing))} are missing, and there is no Go to build them"
    else:
        reporter = session.config.pluginmanager.getplugin("terminalreporter")
        if reporter is not None:
            reporter.write_line(f"building {', '.join(sorted(missing))} by tests/kind/build-tools.sh, once")
        built = subprocess.run([BUILDER, *sorted(missing)], capture_output=True, text=True, check=False)
        if not built.returncode:
            return
        reason = f"tests/kind/build-tools.sh failed: {(built.stderr.strip() or 'no word').splitlines()[-1]}"
    session.config.stash[UNAVAILABLE] = reason


@pytest.fixture(scope="session")
def plane(request: pytest.FixtureRequest) -> Iterator[ControlPlane]:
    """A control plane that knows EventFederations."""
    if reason := request.config.stash.get(UNAVAILABLE, ""):
        pytest.skip(reason)
    try:
        control_plane = ControlPlane(PROGRAMS)
    except ControlPlaneUnavailable as error:
        pytest.skip(str(error))
    with control_plane:
        user = Api(control_plane.url, control_plane.authorities, control_plane.token)
        user.create(yaml.safe_load((CHART / "files" / "eventfederations.yaml").read_text()))
        eventually(lambda: user.list("EventFederation") == [], within=30)
        user.close()
        control_plane.start_controllers()
        yield control_plane


@pytest.fixture(scope="session")
def api(plane: ControlPlane) -> Iterator[Api]:
    """A user who may do everything."""
    user = Api(plane.url, plane.authorities, plane.token)
    yield user
    user.close()


class Namespaces:
    """Makes namespaces, with their ServiceAccounts; in the end their EventFederations are let go."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._made: list[str] = []

    def __call__(self, **labels: str) -> str:
        name, api = f"voice-{next(NUMBERS)}", self._api
        api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
        self._made.append(name)
        eventually(lambda: api.find("ServiceAccount", name, "default"))
        return name

    def remove(self) -> None:
        for name in self._made:
            for one in self._api.list("EventFederation", name):
                self._api.delete("EventFederation", name, one["metadata"]["name"])
                with contextlib.suppress(Refused):
                    self._api.merge(
                        "EventFederation", name, one["metadata"]["name"], {"metadata": {"finalizers": None}}
                    )
            self._api.delete("Namespace", "", name)


@pytest.fixture
def make_namespace(api: Api) -> Iterator[Namespaces]:
    """``make_namespace()``: another namespace of the test's own."""
    namespaces = Namespaces(api)
    yield namespaces
    namespaces.remove()


@pytest.fixture
def namespace(make_namespace: Namespaces) -> str:
    """A namespace of the test's own."""
    return make_namespace()


@pytest.fixture(scope="module")
def install(
    plane: ControlPlane, api: Api, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Installation]]:
    """``install(values)``: a release with operators as processes. None of their requests may be forbidden."""
    made: list[Installation] = []

    def make(values: dict[str, Any] | None = None, *, release: str = "eventfed") -> Installation:
        folder, number = tmp_path_factory.mktemp("installation"), next(NUMBERS)
        one = Installation(plane, api, folder, namespace=f"system-{number}", values=values or QUICK, release=release)
        made.append(one)
        return one

    yield make
    for one in made:
        one.close()
    asked = [json.loads(line) for line in plane.audit_log.read_text().splitlines()]
    users = {one.user for one in made}
    forbidden = {
        (one["verb"], one["requestURI"])
        for one in asked
        if one["user"]["username"] in users
        and one["annotations"].get("authorization.k8s.io/decision") == "forbid"
        and not any(began <= _seconds(one["stageTimestamp"]) <= ready for began, ready in plane.starts)
    }
    assert not forbidden


def _seconds(written: str) -> float:
    return datetime.fromisoformat(written).timestamp()


@pytest.fixture(scope="module")
def installation(install: Callable[..., Installation]) -> Installation:
    """The chart for the whole cluster, with short times."""
    return install()


@pytest.fixture(scope="module")
def operator(installation: Installation) -> Operator:
    """The operator of `installation`, which leads."""
    started = installation.operator().start()
    eventually(lambda: started.leads)
    return started


@pytest.fixture(scope="module")
def settled_namespace(api: Api, operator: Operator) -> Iterator[str]:
    """A namespace whose EventFederation pbx has all that it should have, for all tests of the module."""
    namespaces = Namespaces(api)
    name = namespaces()
    api.create(federation(name))
    settled(api, operator, name)
    yield name
    namespaces.remove()


@pytest.fixture
def own_nats() -> Iterator[NatsServer]:
    """A NATS that the chart knows nothing of, with a user."""
    server = NatsServer(configuration=OWN_USER)
    asyncio.run(server.start())
    yield server
    asyncio.run(server.close())
