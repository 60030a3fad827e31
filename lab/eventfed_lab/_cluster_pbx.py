"""A federation on a kind cluster: the chart, an EventFederation, and the Asterisk pods of the examples."""

import asyncio
import base64
import copy
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ._cluster import Cluster, Document
from ._configuration import AsteriskConfiguration, pod_configuration_files
from ._errors import LabError
from ._federated import Federated
from ._lifetime import Lifetime
from ._pods import AsteriskPod

__all__ = ["ClusterPbx", "example", "federation", "install_chart"]

INCLUDE = '#tryinclude "/etc/asterisk-eventfed/pjsip_eventfed.conf"'
_EVENTS: tuple[Document, ...] = ({"type": "mwi", "voicemailStorage": "Separate"}, {"type": "device_state"})


def example(checkout: Path, file: str) -> list[Any]:
    """The documents of one of the Kubernetes examples."""
    return list(yaml.safe_load_all((checkout / "examples/kubernetes" / file).read_text()))


async def install_chart(
    cluster: Cluster, chart: Path, *options: str, release: str = "eventfed", namespace: str = "eventfed"
) -> None:
    """``helm upgrade --install`` in a namespace that enforces Pod Security ``restricted``, and wait until it is ready.

    Raises:
        LabError: it did not get ready; with what helm said.
    """
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    await cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}})
    place = ("--namespace", namespace)
    await cluster.helm("upgrade", "--install", release, str(chart), *place, "--wait", "--timeout", "3m", *options)


def federation(name: str, namespace: str, app: str = "asterisk", **spec: Any) -> Document:
    """An EventFederation of the pods labelled ``app=<app>``."""
    members = {"selector": {"matchLabels": {"app": app}}}
    return {
        "apiVersion": "eventfed.io/v1alpha1",
        "kind": "EventFederation",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"members": members, "events": list(_EVENTS), **spec},
    }


class ClusterPbx(Federated[AsteriskPod], Lifetime):
    """The pods of one StatefulSet in a namespace of its own, and the EventFederation that selects them.

    The StatefulSet is the example's. Its configuration is the lab's, so that messages can be left and states be seen.

    Args:
        name: of the EventFederation, and so of the Secret that the pods mount.
        app: name and label of the StatefulSet.
        spec: of the EventFederation beside its members.
    """

    def __init__(
        self,
        cluster: Cluster,
        checkout: Path,
        namespace: str,
        *,
        replicas: int = 2,
        name: str = "pbx",
        app: str = "asterisk",
        configuration: AsteriskConfiguration | None = None,
        spec: Mapping[str, Any] | None = None,
    ) -> None:
        self.cluster = cluster
        self.checkout = checkout
        self.namespace = namespace
        self.name = name
        self.app = app
        self.configuration = configuration or AsteriskConfiguration(pjsip_snippet=INCLUDE)
        self.spec = dict(spec or {})
        self.servers: dict[str, AsteriskPod] = {}
        self._replicas = replicas
        self._ami_secret = secrets.token_hex(16)

    # --- what is made ---

    @property
    def names(self) -> list[str]:
        return list(self.servers)

    @property
    def pods(self) -> list[AsteriskPod]:
        return list(self.servers.values())

    def namespace_document(self) -> Document:
        (document,) = example(self.checkout, "00-namespace.yaml")
        document["metadata"]["name"] = self.namespace
        return dict(document)

    def federation_document(self) -> Document:
        return federation(self.name, self.namespace, self.app, **self.spec)

    def asterisk_documents(self) -> list[Document]:
        """Configuration, Service and StatefulSet."""
        files = pod_configuration_files(self.configuration, ami_secret=self._ami_secret)
        (example_files,) = example(self.checkout, "20-asterisk-config.yaml")
        files["asterisk.conf"] = example_files["data"]["asterisk.conf"]
        manager = base64.b64encode(files.pop("manager.conf").encode()).decode()
        place = {"namespace": self.namespace}
        service, stateful_set = copy.deepcopy(example(self.checkout, "30-asterisk.yaml"))
        for one in (service, stateful_set):
            one["metadata"] = {**one["metadata"], "name": self.app, **place}
        service["spec"]["selector"] = {"app": self.app}
        spec = stateful_set["spec"]
        spec |= {"serviceName": self.app, "replicas": self._replicas, "selector": {"matchLabels": {"app": self.app}}}
        spec["template"]["metadata"]["labels"] = {"app": self.app}
        pod = spec["template"]["spec"]
        for constraint in pod["topologySpreadConstraints"]:
            constraint["labelSelector"] = {"matchLabels": {"app": self.app}}
        # A pod that is deleted shall be gone at once, without the time that its calls would have.
        pod["terminationGracePeriodSeconds"] = 10
        pod["containers"][0]["startupProbe"]["periodSeconds"] = 1
        for volume in pod["volumes"]:
            if volume["name"] == "config":
                del volume["configMap"]
                sources = [{"configMap": {"name": self.app}}, {"secret": {"name": f"{self.app}-manager"}}]
                volume["projected"] = {"sources": sources, "defaultMode": 0o440}
            if volume["name"] == "eventfed":
                volume["secret"]["secretName"] = f"{self.name}-asterisk"
        return [
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": self.app, **place}, "data": files},
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": f"{self.app}-manager", **place},
                "data": {"manager.conf": manager},
            },
            service,
            stateful_set,
        ]

    # --- its life ---

    async def start(self) -> None:
        """Make all of it, and wait until all pods are synced members."""
        await self.cluster.apply(self.namespace_document(), self.federation_document(), *self.asterisk_documents())
        await self.attach()
        await self.wait_ready()

    async def close(self) -> None:
        """Delete the EventFederation, then the namespace, and wait until both are gone."""
        for pod in self.pods:
            await pod.close()
        if await self.cluster.get("namespace", self.namespace) is None:
            return
        await self.cluster.delete("evfed", self.name, self.namespace)
        await self.cluster.delete("statefulset", self.app, self.namespace, "--cascade=foreground")
        await self.cluster.delete("namespace", self.namespace)

    async def attach(self, *, replicas: int | None = None) -> None:
        """Connect to the pods; those that are beyond `replicas` are forgotten."""
        self._replicas = self._replicas if replicas is None else replicas
        wanted = [f"{self.app}-{number}" for number in range(self._replicas)]
        for name in [name for name in self.servers if name not in wanted]:
            await self.servers.pop(name).close()
        fresh = [name for name in wanted if name not in self.servers or not self.servers[name].running]
        for name in fresh:
            self.servers.setdefault(name, self._pod(name))
        async with asyncio.TaskGroup() as tasks:
            for name in fresh:
                tasks.create_task(self.servers[name].attach())

    def _pod(self, name: str) -> AsteriskPod:
        return AsteriskPod(
            self.cluster, self.namespace, name, ami_secret=self._ami_secret, configuration=self.configuration
        )

    async def scale(self, replicas: int) -> None:
        """``kubectl scale`` and, without waiting for those that go, connect to those that come."""
        place = ("-n", self.namespace)
        await self.cluster.kubectl("scale", f"statefulset/{self.app}", f"--replicas={replicas}", *place)
        await self.attach(replicas=replicas)

    async def lose(self, name: str) -> None:
        """Kill the last pod of the StatefulSet, which is not made again."""
        if name != f"{self.app}-{self._replicas - 1}":
            raise LabError(f"{name} is not the last of {self._replicas} pods: another one would be made")
        server, place = self.servers[name], ("-n", self.namespace)
        self._replicas -= 1
        await self.cluster.kubectl("scale", f"statefulset/{self.app}", f"--replicas={self._replicas}", *place)
        await self.cluster.kubectl("delete", "pod", name, *place, "--grace-period=0", "--force", "--ignore-not-found")
        server.kill()

    # --- what it tells ---

    async def document(self) -> Any:
        """The EventFederation; LabError if there is none."""
        found = await self.cluster.get("evfed", self.name, self.namespace)
        if found is None:
            raise LabError(f"there is no EventFederation {self.namespace}/{self.name}")
        return found

    async def status(self) -> Any:
        """The EventFederation's status; empty before it has one."""
        return (await self.document()).get("status") or {}

    async def condition(self, kind: str = "Ready") -> Any:
        """One condition; empty before there is one."""
        conditions: Sequence[Any] = (await self.status()).get("conditions") or ()
        return next((one for one in conditions if one["type"] == kind), {})

    async def wait_condition(
        self, reason: str, kind: str = "Ready", *, status: str | None = None, within: float = 60.0
    ) -> Any:
        """Wait until a condition has a reason (and status); returns it."""

        found: Any = {}

        async def holds() -> bool:
            nonlocal found
            found = await self.condition(kind)
            if found.get("reason") == reason and status in (None, found["status"]):
                return True
            raise LabError(f"it is {found}")

        await self.cluster.until(f"{self.namespace}/{self.name}: {kind} with reason {reason}", holds, within=within)
        return found

    async def wait_ready(self, within: float = 90.0) -> float:
        """Wait until it is ready with as many members as there are pods; returns the ``time.monotonic()``.

        Raises:
            TimeoutError: with its last status, and what its agents said last.
        """
        count = len(self.servers)

        async def ready() -> bool:
            found = await self.document()
            status = found.get("status") or {}
            ready: Any = next((one for one in status.get("conditions") or () if one["type"] == "Ready"), {})
            members = status.get("members") or {}
            is_current = status.get("observedGeneration") == found["metadata"]["generation"]
            if is_current and ready.get("status") == "True" and members["total"] == members["synced"] == count:
                return True
            raise LabError(f"members {members}, agents {status.get('agents')}, Ready {ready}")

        try:
            return await self.cluster.until(f"{self.namespace}/{self.name} ready", ready, within=within)
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{await self._agents_said()}") from None

    async def _agents_said(self) -> str:
        chosen = f"app.kubernetes.io/name=eventfed-agent,app.kubernetes.io/instance={self.name}"
        try:
            return await self.cluster.kubectl("logs", "-n", self.namespace, "-l", chosen, "--prefix", "--tail=40")
        except LabError as error:
            return str(error)
