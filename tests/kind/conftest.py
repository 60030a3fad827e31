"""One cluster for all tests of this folder: its scripts make it, fill it with images, and remove it in the end."""

import contextlib
import os
import secrets
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from eventfed_lab import Cluster, ClusterPbx, ClusterUnavailable, install_chart
from tests.ground.kind_faults import federation_of
from tests.ground.kind_ground import APART, CHART, CHECKOUT, FOLDER, PbxFactory

KEEP = "EVENTFED_KEEP_CLUSTER"
"""Set to anything, the cluster stays for the next run."""

OWN_CLUSTER = {"EVENTFED_KIND_CLUSTER": "eventfed-tests", "EVENTFED_KIND_PODS": "198.18.144.0/20"}
"""Beside one that ``make kind-demo`` made."""


def script(name: str, *arguments: str) -> None:
    """Run one of the folder's scripts; a failure is an error with its last words."""
    done = subprocess.run([FOLDER / name, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(done.stdout)
    if done.returncode:
        raise RuntimeError(f"tests/kind/{name} failed:\n{done.stdout[-3000:]}")


@pytest.fixture(scope="session")
def kubeconfig() -> Iterator[Path]:
    """A cluster with the images of this checkout. Without docker and Go the tests are skipped with the reason."""
    for variable, value in OWN_CLUSTER.items():
        os.environ.setdefault(variable, value)
    ready = subprocess.run([FOLDER / "docker/ready.sh"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if ready.returncode:
        pytest.skip(f"no kind cluster: {ready.stdout.strip().splitlines()[-1]}")
    script("up.sh")
    try:
        script("build-images.sh", "--load")
        yield FOLDER / f"kubeconfig-{os.environ['EVENTFED_KIND_CLUSTER']}"
    finally:
        if not os.environ.get(KEEP):
            script("down.sh")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def cluster(kubeconfig: Path) -> Cluster:
    try:
        return await Cluster.open(kubeconfig, FOLDER / "bin")
    except ClusterUnavailable as error:
        pytest.skip(f"no kind cluster: {error}")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chart(cluster: Cluster) -> Cluster:
    """The cluster with the chart in it; NATS and operator are not on the workers."""
    await install_chart(cluster, CHART, *APART)
    return cluster


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def pbx(chart: Cluster) -> AsyncIterator[ClusterPbx]:
    """Three servers on two nodes, one federation for a module, with a grace of 5 s. Each test leaves it as it was."""
    async with federation_of(chart, departure={"gracePeriod": 5}) as pbx:
        yield pbx


@pytest_asyncio.fixture(loop_scope="session")
async def make_pbx(chart: Cluster) -> AsyncIterator[PbxFactory]:
    """Makes federations, each in a namespace of its own, with a grace of 5 s unless told otherwise."""
    async with contextlib.AsyncExitStack() as stack:

        async def make(**options: Any) -> ClusterPbx:
            namespace = options.pop("namespace", f"voice-{secrets.token_hex(3)}")
            options["spec"] = {"departure": {"gracePeriod": 5}, **options.get("spec", {})}
            pbx = ClusterPbx(chart, CHECKOUT, namespace, **options)
            stack.push_async_callback(pbx.close)
            return pbx

        yield make
