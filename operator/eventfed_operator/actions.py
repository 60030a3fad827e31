"""What `reconcile` asks for. The executor decides nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from eventfed.wire.roster import Roster

from .conditions import KubernetesEvent
from .crd.status import EventFederationStatus
from .snapshot import ObjectKey

__all__ = [
    "Action",
    "AddFinalizer",
    "Apply",
    "Delete",
    "DeleteStream",
    "EmitEvent",
    "EnsureStream",
    "PublishRoster",
    "RemoveFinalizer",
    "Requeue",
    "WriteStatus",
]


@dataclass(frozen=True, slots=True)
class AddFinalizer:
    """Add our finalizer to the EventFederation."""


@dataclass(frozen=True, slots=True)
class RemoveFinalizer:
    """Remove our finalizer: Kubernetes may delete the EventFederation and what it owns."""


@dataclass(frozen=True, slots=True)
class Apply:
    """Write an object by server-side apply, with force, as `resources.FIELD_MANAGER`."""

    manifest: Mapping[str, Any] = field(repr=False)

    @property
    def key(self) -> ObjectKey:
        return ObjectKey(self.manifest["kind"], self.manifest["metadata"]["name"])


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete an object, if it still has this UID."""

    key: ObjectKey
    uid: str


@dataclass(frozen=True, slots=True)
class EnsureStream:
    """Make the stream, or give it this configuration."""

    configuration: Mapping[str, Any]
    exists: bool


@dataclass(frozen=True, slots=True)
class DeleteStream:
    """Delete the stream with all states.

    Args:
        last_try: it has been tried for long enough; if NATS refuses once more, the stream stays.
    """

    name: str
    last_try: bool = False


@dataclass(frozen=True, slots=True)
class PublishRoster:
    """Put a node's roster on the stream; None takes it away."""

    node: str
    roster: Roster | None


@dataclass(frozen=True, slots=True)
class WriteStatus:
    """Write the status subresource."""

    status: EventFederationStatus


@dataclass(frozen=True, slots=True)
class EmitEvent:
    """Make a Kubernetes Event."""

    notice: KubernetesEvent


@dataclass(frozen=True, slots=True)
class Requeue:
    """Observe and reconcile again after so many seconds, even if nothing happens."""

    after: float


Action: TypeAlias = (
    AddFinalizer
    | RemoveFinalizer
    | Apply
    | Delete
    | EnsureStream
    | DeleteStream
    | PublishRoster
    | WriteStatus
    | EmitEvent
    | Requeue
)
