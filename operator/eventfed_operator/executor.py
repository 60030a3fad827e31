"""Carries out what `reconcile` asks for."""

import secrets
from datetime import UTC, datetime
from typing import Any

from .actions import (
    Action,
    AddFinalizer,
    Apply,
    Delete,
    DeleteStream,
    EmitEvent,
    EnsureStream,
    PublishRoster,
    RemoveFinalizer,
    Requeue,
    WriteStatus,
)
from .conditions import KubernetesEvent
from .crd.resource import GROUP, KIND, VERSION
from .crd.status import EventFederationStatus
from .federation_bus import FederationBus, NoBus
from .kubernetes_api import Document, KubernetesApi
from .resources import FIELD_MANAGER, FINALIZER, read_status

__all__ = ["ActionExecutor"]


class ActionExecutor:
    """Carries out the actions of one round.

    Args:
        bus: None where there is no NATS; actions that need one are then refused.
        manifest: the EventFederation as it was observed.
    """

    def __init__(self, api: KubernetesApi, bus: FederationBus | None, manifest: Document) -> None:
        self._api = api
        self._bus = bus
        self._manifest = manifest
        self._metadata = manifest["metadata"]
        self._version: str | None = self._metadata.get("resourceVersion")

    @property
    def status(self) -> EventFederationStatus:
        """The status as it was observed."""
        return read_status(self._manifest.get("status"))

    async def carry_out(self, action: Action) -> None:
        """One action.

        Raises:
            ApiError: the API server refused it.
            EventfedError: NATS refused it, or is away.
        """
        match action:
            case AddFinalizer():
                await self._write_finalizers([*(self._metadata.get("finalizers") or ()), FINALIZER])
            case RemoveFinalizer():
                await self.remove_finalizer()
            case Apply():
                await self._api.apply(action.manifest)
            case Delete():
                await self._api.delete(action.key.kind, self._metadata["namespace"], action.key.name, uid=action.uid)
            case WriteStatus():
                await self.write_status(action.status)
            case EmitEvent():
                await self._tell(action.notice)
            case EnsureStream():
                await self._needed_bus.ensure_stream(action.configuration, exists=action.exists)
            case DeleteStream():
                await self._needed_bus.delete_stream()
            case PublishRoster():
                await self._needed_bus.publish_roster(action.node, action.roster)
            case Requeue():
                pass

    @property
    def _needed_bus(self) -> FederationBus:
        if self._bus is None:
            raise NoBus("there is no connection to NATS")
        return self._bus

    async def remove_finalizer(self) -> None:
        """Let Kubernetes delete the EventFederation; others' finalizers stay."""
        await self._write_finalizers([one for one in self._metadata.get("finalizers") or () if one != FINALIZER])

    async def write_status(self, status: EventFederationStatus) -> None:
        """The status subresource, by server-side apply: what is no longer said goes."""
        document = status.model_dump(mode="json", by_alias=True, exclude_none=True)
        await self._api.apply(
            {
                "apiVersion": f"{GROUP}/{VERSION}",
                "kind": KIND,
                "metadata": {"name": self._metadata["name"], "namespace": self._metadata["namespace"]},
                "status": document,
            },
            subresource="status",
        )

    async def _write_finalizers(self, finalizers: list[str]) -> None:
        """On condition that nobody else wrote meanwhile: a merge patch would bring back what others removed."""
        metadata = {"resourceVersion": self._version, "finalizers": finalizers}
        name, namespace = self._metadata["name"], self._metadata["namespace"]
        written = await self._api.merge(KIND, namespace, name, {"metadata": metadata})
        self._version = written["metadata"].get("resourceVersion", self._version)

    async def _tell(self, notice: KubernetesEvent) -> None:
        name, namespace = self._metadata["name"], self._metadata["namespace"]
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        event: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{name}.{secrets.token_hex(8)}", "namespace": namespace},
            "involvedObject": {
                "apiVersion": f"{GROUP}/{VERSION}",
                "kind": KIND,
                "name": name,
                "namespace": namespace,
                "uid": self._metadata["uid"],
            },
            "type": notice.type,
            "reason": notice.reason,
            "message": notice.message[:1024],
            "source": {"component": FIELD_MANAGER},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        await self._api.create("Event", namespace, event)
