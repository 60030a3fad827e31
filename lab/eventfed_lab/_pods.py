"""Real Asterisk servers as the pods of a StatefulSet."""

import asyncio
import os
import time
from pathlib import Path
from typing import Any, Literal

from eventfed import EID

from ._ami import AmiClient
from ._cluster import Cluster
from ._configuration import AMI_USER, AsteriskConfiguration
from ._errors import AmiError, LabError
from ._reachable import ReachableAsterisk
from ._spool import VoicemailSpool

__all__ = ["AsteriskPod", "pod_eid"]

_ASTERISK_USER = 10002
"""Of the example's pods: who has to be able to move what is put into the spool."""


def pod_eid(namespace: str, pod: str, site: str = "local") -> EID:
    """The EID that the example's init container writes: it stays as long as the pod's name."""
    return EID.derive(f"{site}/{namespace}/{pod}")


class AsteriskPod(ReachableAsterisk):
    """One pod, by its name: what is asked goes to whichever pod has the name since the last `attach`."""

    kind: Literal["asterisk"] = "asterisk"

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        name: str,
        *,
        ami_secret: str,
        configuration: AsteriskConfiguration | None = None,
    ) -> None:
        super().__init__(cluster.phone_host)
        self.cluster = cluster
        self.namespace = namespace
        self.name = name
        self.eid = pod_eid(namespace, name)
        self.host = ""
        self.sip_port = 5060
        self.node = ""
        self.uid = ""
        self.configuration = configuration or AsteriskConfiguration()
        self.spool = VoicemailSpool(Path(os.devnull))
        self._ami_secret = ami_secret

    @property
    def running(self) -> bool:
        return self._ami is not None and self._ami.connected

    async def document(self) -> Any:
        """The pod as the API server has it; None if there is none."""
        return await self.cluster.get("pod", self.name, self.namespace)

    async def attach(self, within: float = 60.0, *, other_than: str = "") -> float:
        """Find the pod and connect to its AMI; returns the ``time.monotonic()`` at which it was fully booted.

        Args:
            other_than: a UID: wait for another pod of the name.

        Raises:
            TimeoutError: there is none that boots in time.
        """
        deadline, problem = time.monotonic() + within, "there is no such pod"
        await self._drop_ami()
        while time.monotonic() < deadline:
            pod = await self.document()
            if (
                pod is not None
                and not pod["metadata"].get("deletionTimestamp")
                and pod["metadata"]["uid"] != other_than
            ):
                problem = f"{pod['status'].get('phase')}: {pod['status'].get('containerStatuses')}"
                if address := pod["status"].get("podIP"):
                    try:
                        return await self._connect(pod, address, deadline)
                    except (AmiError, TimeoutError) as error:
                        problem = repr(error)
            await asyncio.sleep(0.1)
        raise TimeoutError(f"{self.namespace}/{self.name} did not boot within {within:g} s: {problem:.600}")

    async def _connect(self, pod: Any, address: str, deadline: float) -> float:
        ami = await AmiClient.connect(address, 5038, AMI_USER, self._ami_secret, within=1.0)
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                await ami.wait_booted()
                while not await self._takes_commands(ami):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        except BaseException:
            ami.abort()
            raise
        self._ami = ami
        self.host, self.uid, self.node = address, pod["metadata"]["uid"], pod["spec"]["nodeName"]
        volume = await self.cluster.volume(self.node)
        folder = volume / "lib/kubelet/pods" / self.uid / "volumes/kubernetes.io~empty-dir/spool"
        self.spool = VoicemailSpool(folder, owner=_ASTERISK_USER)
        return time.monotonic()

    def kill(self) -> None:
        """Forget the pod: another program ends it, by the API or on its node."""
        if self._ami is not None:
            self._ami.abort()
            self._ami = None

    async def close(self) -> None:
        """Close the connection."""
        await self._drop_ami()

    async def log(self) -> str:
        """What it has logged."""
        return await self.cluster.kubectl("logs", self.name, "-n", self.namespace, "-c", "asterisk")

    async def restart(self) -> float:
        """Delete the pod and wait for the next one of its name; returns when that was fully booted.

        Raises:
            LabError: there is nothing that would make it again.
        """
        before = self.uid
        if not before:
            raise LabError(f"{self.name} was never attached")
        await self.cluster.kubectl("delete", "pod", self.name, "-n", self.namespace, "--wait=false")
        return await self.attach(other_than=before)
