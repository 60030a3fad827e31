"""One cluster for all tests of this folder: made, and filled with images, by its scripts; removed with the last test."""

import contextlib
import os
import secrets
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from eventfed_lab import Cluster, ClusterPbx, ClusterUnavailable, install_chart

FOLDER = Path(__file__).resolve().parent
CHECKOUT = FOLDER.parents[1]
CHART = CHECKOUT / "charts/eventfed"
KEEP = "EVENTFED_KEEP_CLUSTER"
"""Set to anything, the cluster stays for the next run."""

CONTROL_PLANE = "node-role.kubernetes.io/control-plane"
APART = tuple(
    option
    for part in ("operator", "nats")
    for option in (
        "--set-string",
        rf"{part}.nodeSelector.{CONTROL_PLANE.replace('.', chr(92) + '.')}=",
        "--set-json",
        f'{part}.tolerations=[{{"key": "{CONTROL_PLANE}", "operator": "Exists"}}]',
    )
)
"""Options of helm: NATS and the operator on a node of their own, so that the workers can be taken away."""

PbxFactory = Callable[..., Awaitable[ClusterPbx]]


def script(name: str, *arguments: str) -> None:
    """Run one of the folder's scripts; a failure is an error with its last words."""
    done = subprocess.run([FOLDER / name, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(done.stdout)
    if done.returncode:
        raise RuntimeError(f"tests/kind/{name} failed:\n{done.stdout[-3000:]}")


@pytest.fixture(scope="session")
def kubeconfig() -> Iterator[Path]:
    """A cluster with the images of this checkout. Without docker and Go the tests are skipped with the reason."""
    ready = subprocess.run([FOLDER / "docker/ready.sh"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if ready.returncode:
        pytest.skip(f"no kind cluster: {ready.stdout.strip().splitlines()[-1]}")
    script("up.sh")
    try:
        script("build-images.sh", "--load")
        yield FOLDER / "kubeconfig"
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


@pytest_asyncio.fixture(loop_scope="session")
async def make_pbx(chart: Cluster) -> AsyncIterator[PbxFactory]:
    """Makes federations, each in a namespace of its own, with a short grace unless told otherwise; all end with the test."""
    async with contextlib.AsyncExitStack() as stack:

        async def make(**options: Any) -> ClusterPbx:
            namespace = options.pop("namespace", f"voice-{secrets.token_hex(3)}")
            options["spec"] = {"departure": {"gracePeriod": 5}, **options.get("spec", {})}
            pbx = ClusterPbx(chart, CHECKOUT, namespace, **options)
            stack.push_async_callback(pbx.close)
            return pbx

        yield make
