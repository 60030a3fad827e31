"""Pods that have no business with a federation, and what they are answered."""

import asyncio
import base64
from typing import Any

from eventfed_lab import ClusterPbx
from tests.ground.strangers import publish

__all__ = ["Intruder", "with_secret"]

IMAGE = "eventfed:0.1.0"
_SEND = """
import base64, socket, sys
host, port, within, message = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), base64.b64decode(sys.argv[4])
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
    sender.settimeout(within)
    sender.sendto(message, (host, port))
    try:
        print(sender.recv(65536).split(b" ", 2)[1].decode())
    except TimeoutError:
        print("silence")
"""


def with_secret(request: bytes, secret: str | None) -> bytes:
    """A request with the header by which an agent proves itself."""
    if secret is None:
        return request
    head, empty, body = request.partition(b"\r\n\r\n")
    return head + f"\r\nX-Eventfed-Token: {secret}".encode() + empty + body


class Intruder:
    """A pod of eventfed's own image that waits on a node, without a label that anybody selects."""

    def __init__(self, pbx: ClusterPbx, node: str, *, namespace: str | None = None) -> None:
        self.node = node
        self.name = f"intruder-{node}"
        self.namespace = namespace or pbx.namespace
        self.address = ""
        self._cluster = pbx.cluster

    def document(self) -> dict[str, Any]:
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": self.name, "namespace": self.namespace, "labels": {"app": "intruder"}},
            "spec": {
                "nodeName": self.node,
                "automountServiceAccountToken": False,
                "terminationGracePeriodSeconds": 0,
                "securityContext": {
                    "runAsNonRoot": True,
                    "runAsUser": 10001,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [
                    {
                        "name": "intruder",
                        "image": IMAGE,
                        "imagePullPolicy": "IfNotPresent",
                        "command": ["python3", "-c", "import signal; signal.pause()"],
                        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                    }
                ],
            },
        }

    async def start(self) -> None:
        await self._cluster.apply(self.document())
        await self._cluster.wait("condition=Ready", f"pod/{self.name}", "-n", self.namespace, within=60)
        self.address = (await self._cluster.get("pod", self.name, self.namespace))["status"]["podIP"]

    async def publishes(
        self, body: str, host: str, port: int, *, secret: str | None = None, within: float = 2.0, **options: Any
    ) -> str:
        """PUBLISH once; the status of the answer, or ``silence``."""
        message = base64.b64encode(with_secret(publish(body, host=self.address, **options), secret)).decode()
        script = ("python3", "-c", _SEND, host, str(port), str(within), message)
        async with asyncio.timeout(30):
            said = await self._cluster.kubectl("exec", self.name, "-n", self.namespace, "--", *script)
        return said.strip()
