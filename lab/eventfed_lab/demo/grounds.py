"""Where the demo happens: on this machine, or on a Kubernetes cluster."""

import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

from .. import (
    SHORT_TIMES,
    AsteriskRoot,
    AsteriskUnavailable,
    Cluster,
    ClusterPbx,
    ClusterUnavailable,
    Federated,
    FederatedServer,
    Pbx,
    install_chart,
    nats_server_binary,
    obtain_asterisk,
)

__all__ = ["ClusterGround", "Ground", "Kind", "LocalGround"]

Kind = Literal["auto", "asterisk", "simulated"]
_GRACE = 3
_NAMESPACE = "eventfed-demo"


class Ground(Protocol):
    """What the demo stands on.

    `names` are the servers', in the order of the story: the first one is killed in the end. `servers` says of each
    what it is; complete once the ground is open.
    """

    title: str
    starts: str
    names: list[str]
    servers: list[dict[str, str]]

    def open(self) -> AbstractAsyncContextManager[Federated[Any]]:
        """Start all, and give the servers, federated."""

    async def kill(self, server: FederatedServer) -> None:
        """End a server for good, without a word."""


class LocalGround:
    """Three servers, three agents and one nats-server on this machine.

    Raises:
        LabError: what was asked for cannot be had.
    """

    starts = "starting a nats-server, three servers and an agent for each ..."

    def __init__(self, kind: Kind, tell: Callable[[str], None]) -> None:
        self.names = ["a", "b", "c"]
        nats_server_binary()
        self._root, reason = None, "as --kind says"
        if kind != "simulated":
            try:
                self._root = obtain_asterisk(tell)
            except AsteriskUnavailable as error:
                if kind == "asterisk":
                    raise
                reason = str(error)
        self.title, self.servers = self._describe(self._root, reason, tell)
        departure, timing = SHORT_TIMES["departure"], SHORT_TIMES["timing"]
        tell(
            f"times are shortened: grace {departure['grace_period']:g} s instead of 30, "
            f"keep-alive {timing['keep_alive']:g} s instead of 5, leases {timing['lease_ttl']:g} s instead of 30"
        )

    def _describe(
        self, root: AsteriskRoot | None, reason: str, tell: Callable[[str], None]
    ) -> tuple[str, list[dict[str, str]]]:
        if root is None:
            tell(f"the three servers are SIMULATED, not Asterisk ({reason}); they speak its protocol")
            simulated = [{"name": name, "kind": "simulated"} for name in self.names]
            return "eventfed demo: three simulated servers", simulated
        tell(f"the three servers are real Asterisk {root.version}")
        real = [{"name": name, "kind": "asterisk", "version": root.version} for name in self.names]
        return f"eventfed demo: three servers, Asterisk {root.version}", real

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Pbx]:
        async with AsyncExitStack() as stack:
            pbx = Pbx(self._root, self.names)
            stack.callback(_remove_files, pbx)
            yield await stack.enter_async_context(pbx)

    async def kill(self, server: FederatedServer) -> None:
        server.kill()


def _remove_files(pbx: Pbx) -> None:
    """The agents' logs and secrets, which the lab keeps for tests that fail."""
    for agent in pbx.agents.values():
        shutil.rmtree(agent.file.parent, ignore_errors=True)


class ClusterGround:
    """The chart and the examples' Asterisk pods on the cluster of ``KUBECONFIG``; the namespace goes with the demo.

    Args:
        checkout: the folder of eventfed's sources, with the chart and the examples.

    Raises:
        ClusterUnavailable: the folder holds neither.
    """

    starts = "installing the chart, then an EventFederation and three Asterisk pods ..."

    def __init__(self, checkout: Path, tell: Callable[[str], None]) -> None:
        for needed in ("charts/eventfed/Chart.yaml", "examples/kubernetes"):
            if not (checkout / needed).exists():
                raise ClusterUnavailable(f"there is no {needed} in {checkout}: run it in eventfed's sources")
        self._checkout = checkout
        self._pbx: ClusterPbx | None = None
        self.title = "eventfed demo: three Asterisk pods"
        # The pod that a StatefulSet gives up first is the last one.
        self.names = ["asterisk-2", "asterisk-1", "asterisk-0"]
        self.servers: list[dict[str, str]] = []
        tell(f"grace {_GRACE} s instead of 30; all other times are those of production")

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Federated[Any]]:
        kubeconfig = _kubeconfig()
        cluster = await Cluster.open(kubeconfig)
        await install_chart(cluster, self._checkout / "charts/eventfed", "--reuse-values")
        spec = {"departure": {"gracePeriod": _GRACE}}
        self._pbx = pbx = ClusterPbx(cluster, self._checkout, _NAMESPACE, replicas=len(self.names), spec=spec)
        await pbx.close()
        try:
            await pbx.start()
            for name in self.names:
                told = (await pbx[name].cli("core show version")).split()
                self.servers.append({"name": name, "kind": "asterisk", "version": told[1]})
            self.title = f"eventfed demo: three pods on two nodes, Asterisk {self.servers[0]['version']}"
            yield pbx
        finally:
            await pbx.close()

    async def kill(self, server: FederatedServer) -> None:
        assert self._pbx is not None
        await self._pbx.lose(server.name)


def _kubeconfig() -> str:
    given = os.environ.get("KUBECONFIG")
    files = [Path(file) for file in (given or str(Path.home() / ".kube/config")).split(os.pathsep) if file]
    if not any(file.is_file() for file in files):
        named = f"KUBECONFIG: there is no file {given}" if given else f"there is no {files[0]}"
        raise ClusterUnavailable(f"{named}: name the file of a cluster (make kind-demo makes one) in KUBECONFIG")
    return os.pathsep.join(map(str, files))
