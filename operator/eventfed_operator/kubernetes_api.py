"""The few requests that the operator makes of the Kubernetes API. Objects are plain documents."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from eventfed import EventfedError

from .crd.resource import GROUP, KIND, PLURAL, VERSION

__all__ = [
    "AddressTaken",
    "ApiError",
    "Document",
    "KubernetesApi",
    "Listing",
    "WatchEvent",
    "WatchExpired",
    "is_outage",
    "resource_path",
]

_OUTAGES = frozenset({0, 401, 429})

Document: TypeAlias = Mapping[str, Any]

_PATHS = {
    KIND: (f"/apis/{GROUP}/{VERSION}", PLURAL),
    "DaemonSet": ("/apis/apps/v1", "daemonsets"),
    "Event": ("/api/v1", "events"),
    "Lease": ("/apis/coordination.k8s.io/v1", "leases"),
    "NetworkPolicy": ("/apis/networking.k8s.io/v1", "networkpolicies"),
    "Pod": ("/api/v1", "pods"),
    "Secret": ("/api/v1", "secrets"),
    "Service": ("/api/v1", "services"),
    "ServiceAccount": ("/api/v1", "serviceaccounts"),
}


def is_outage(status: int) -> bool:
    """Whether a status says nothing of the request: it would be the same for any other one. 0: there was no answer."""
    return status in _OUTAGES or status >= 500


class ApiError(EventfedError):
    """The API server refused a request, or did not answer.

    Args:
        status: the HTTP status; 0 where there was no answer.
        retry_after: for how many seconds the API server asked not to be asked again.
    """

    def __init__(self, status: int, message: str, *, retry_after: float = 0.0) -> None:
        super().__init__(f"Kubernetes API: {message} ({status})" if status else f"Kubernetes API: {message}")
        self.status = status
        self.retry_after = retry_after

    @property
    def is_outage(self) -> bool:
        """Whether the API server would answer any other request in the same way at present."""
        return is_outage(self.status)


class AddressTaken(ApiError):
    """A Service cannot have the clusterIP `address`, because another one has it or it is out of range."""

    def __init__(self, status: int, message: str, address: str) -> None:
        super().__init__(status, message)
        self.address = address


class WatchExpired(ApiError):
    """The version from which a watch should go on is too old: list again."""


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One change. Of a BOOKMARK, only ``metadata.resourceVersion`` counts."""

    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]
    object: Document


@dataclass(frozen=True, slots=True)
class Listing:
    """The objects that there are, and the version from which a watch goes on."""

    items: Sequence[Document]
    version: str


def resource_path(kind: str, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
    """The path of an object, or of all objects of a kind; of every namespace if `namespace` is None.

    Raises:
        KeyError: for a kind that the operator has no business with.
    """
    root, plural = _PATHS[kind]
    parts = [root, *(["namespaces", namespace] if namespace else []), plural, name, subresource]
    return "/".join(part for part in parts if part)


class KubernetesApi(Protocol):
    """The API server. Every method raises `ApiError`; each has a time limit of its own."""

    async def get(self, kind: str, namespace: str, name: str) -> Document | None:
        """An object; None if there is none."""

    async def list(self, kind: str, namespace: str | None, *, selector: str = "") -> Listing:
        """All objects that have the labels; of every namespace if `namespace` is None."""

    def watch(
        self, kind: str, namespace: str | None, *, selector: str = "", version: str, seconds: float
    ) -> AsyncIterator[WatchEvent]:
        """Changes after `version`, for `seconds` at most.

        Raises:
            WatchExpired: `version` is too old.
            ApiError: likewise if nothing, not even a bookmark, came for over a minute.
        """

    async def apply(self, manifest: Document, *, subresource: str | None = None) -> Document:
        """Server-side apply with force, as our field manager.

        Raises:
            AddressTaken: for a Service with a clusterIP that it cannot have.
        """

    async def merge(self, kind: str, namespace: str, name: str, patch: Document) -> Document:
        """A merge patch; with ``metadata.resourceVersion`` in it, on condition of that version (else status 409)."""

    async def create(self, kind: str, namespace: str, manifest: Document) -> Document:
        """A new object; status 409 if there is one of the name."""

    async def replace(self, kind: str, namespace: str, name: str, manifest: Document) -> Document:
        """An object in place of the one with the same ``metadata.resourceVersion`` (else status 409)."""

    async def delete(self, kind: str, namespace: str, name: str, *, uid: str) -> None:
        """Delete an object if it still has this UID; one that is gone, or another one by now, is fine."""
