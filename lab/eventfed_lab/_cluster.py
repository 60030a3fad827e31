"""A kind cluster on this machine: kubectl, helm, its nodes, and the way to its pods."""

import asyncio
import ipaddress
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from ._errors import ClusterUnavailable, LabError

__all__ = ["Cluster", "Document"]

Document = Mapping[str, Any]

_MOST_TOLD = 2000


class Cluster:
    """A running kind cluster.

    Pods are reached by routes of this machine over the nodes' addresses, so it has to be Linux, and we root.

    Args:
        kubeconfig: how it is reached: a file, or several as ``KUBECONFIG`` has them.
        programs: the folder of kubectl, helm and kind; None: they are on PATH.
    """

    def __init__(self, kubeconfig: Path | str, programs: Path | None = None) -> None:
        path = os.environ.get("PATH", os.defpath)
        self.environment = {
            **os.environ,
            "KUBECONFIG": str(kubeconfig),
            "PATH": f"{programs}{os.pathsep}{path}" if programs else path,
        }
        self._volumes: dict[str, Path] = {}
        self._phone_host = ""

    @classmethod
    async def open(cls, kubeconfig: Path | str, programs: Path | None = None) -> Self:
        """Make the routes to its pods.

        Raises:
            ClusterUnavailable: there is none, or this machine cannot reach its pods; with the plain reason.
        """
        cluster = cls(kubeconfig, programs)
        for program in ("kubectl", "helm", "docker", "ip"):
            if shutil.which(program, path=cluster.environment["PATH"]) is None:
                raise ClusterUnavailable(f"there is no {program} on PATH")
        if os.geteuid() != 0:
            raise ClusterUnavailable("routes to the cluster's pods need root")
        try:
            await cluster._make_routes()
        except LabError as error:
            raise ClusterUnavailable(str(error)) from error
        return cluster

    async def _make_routes(self) -> None:
        for node in await self.list("nodes"):
            addresses = [one["address"] for one in node["status"]["addresses"] if one["type"] == "InternalIP"]
            address = next(one for one in addresses if ipaddress.ip_address(one).version == 4)
            await self.run("ip", "route", "replace", node["spec"]["podCIDR"], "via", address)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.connect((address, 9))
                self._phone_host = probe.getsockname()[0]

    @property
    def phone_host(self) -> str:
        """This machine's own address, as pods see it."""
        return self._phone_host

    # --- programs ---

    async def run(self, *command: str, stdin: str | None = None, within: float = 120.0) -> str:
        """Run a program and return its standard output.

        Raises:
            LabError: it failed; with what it said.
            TimeoutError: it did not end in time.
        """
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment,
        )
        try:
            async with asyncio.timeout(within):
                output, told = await process.communicate(None if stdin is None else stdin.encode())
        except BaseException:
            if process.returncode is None:
                process.kill()
            await process.wait()
            raise
        if process.returncode:
            said = (told or output).decode(errors="replace").strip()
            raise LabError(f"{' '.join(command[:6])}: {said[-_MOST_TOLD:]}")
        return output.decode(errors="replace")

    async def kubectl(self, *arguments: str, stdin: str | None = None, within: float = 120.0) -> str:
        """Raises LabError with what kubectl said."""
        return await self.run("kubectl", *arguments, stdin=stdin, within=within)

    async def helm(self, *arguments: str, within: float = 300.0) -> str:
        """Raises LabError with what helm said."""
        return await self.run("helm", *arguments, within=within)

    # --- objects ---

    async def apply(self, *documents: Document, namespace: str | None = None) -> None:
        """``kubectl apply``; refusals raise LabError with the API server's message."""
        place = ("--namespace", namespace) if namespace else ()
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": documents})
        await self.kubectl("apply", *place, "-f", "-", stdin=text)

    async def get(self, kind: str, name: str, namespace: str | None = None) -> Any:
        """An object; None if there is none."""
        place = ("--namespace", namespace) if namespace else ()
        text = await self.kubectl("get", kind, name, *place, "--ignore-not-found", "-o", "json")
        return json.loads(text) if text.strip() else None

    async def list(self, kind: str, namespace: str | None = None, selector: str = "") -> Sequence[Any]:
        """All objects that have the labels; of no namespace, or of `namespace`."""
        place = ("--namespace", namespace) if namespace else ()
        listed = json.loads(await self.kubectl("get", kind, *place, "-l", selector, "-o", "json"))
        return list(listed["items"])

    async def events(self, namespace: str, chosen: str) -> Sequence[Any]:
        """The Events of a namespace that a field selector chooses, the oldest first."""
        place = ("--namespace", namespace, "--field-selector", chosen, "--sort-by", ".metadata.creationTimestamp")
        return list(json.loads(await self.kubectl("get", "events", *place, "-o", "json"))["items"])

    async def patch(self, kind: str, name: str, namespace: str, patch: Document) -> None:
        """A merge patch."""
        await self.kubectl("patch", kind, name, "-n", namespace, "--type", "merge", "-p", json.dumps(patch))

    async def delete(self, kind: str, name: str, namespace: str | None = None, *options: str) -> None:
        """Delete an object and wait until it is gone; one that is not there is fine."""
        place = ("--namespace", namespace) if namespace else ()
        await self.kubectl("delete", kind, name, *place, "--ignore-not-found", *options)

    async def wait(self, what: str, *arguments: str, within: float = 90.0) -> float:
        """``kubectl wait --for=WHAT …``; returns how long it took."""
        began = time.monotonic()
        await self.kubectl("wait", f"--for={what}", *arguments, f"--timeout={within:.0f}s", within=within + 10)
        return time.monotonic() - began

    async def until(self, what: str, probe: Callable[[], Awaitable[Any]], *, within: float = 60.0) -> float:
        """Ask `probe` until it returns something true; returns the ``time.monotonic()``.

        An answer that is no success is asked for again: an API server may be away.

        Raises:
            TimeoutError: with what came last instead.
        """
        deadline, last = time.monotonic() + within, None
        while True:
            try:
                last = await probe()
                if last:
                    return time.monotonic()
            except (LabError, TimeoutError) as error:
                last = error
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what}: not after {within:g} s; last: {last!r:.600}")
            await asyncio.sleep(0.2)

    # --- nodes ---

    async def volume(self, node: str) -> Path:
        """Where this machine has the ``/var`` of a node."""
        if node not in self._volumes:
            form = '{{range .Mounts}}{{if eq .Destination "/var"}}{{.Source}}{{end}}{{end}}'
            self._volumes[node] = Path((await self.run("docker", "inspect", "-f", form, node)).strip())
        return self._volumes[node]

    async def on_node(self, node: str, *command: str) -> str:
        """Run a command on a node; raises LabError if it fails."""
        return await self.run("docker", "exec", node, *command)

    async def workers(self) -> Sequence[str]:
        """Names of the nodes that take pods."""
        nodes = await self.list("nodes", selector="!node-role.kubernetes.io/control-plane")
        return sorted(node["metadata"]["name"] for node in nodes)
