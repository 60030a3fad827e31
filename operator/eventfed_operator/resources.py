"""One EventFederation as the operator sees it, and how everything that belongs to it is called."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from eventfed import EventfedError, Subjects
from eventfed.refusals import Writing, refusals

from .crd.resource import (
    GROUP,
    KIND,
    VERSION,
    EventFederationSpec,
    PodSecuritySpec,
    PodTemplateSpec,
    check_resource_name,
)
from .crd.status import EventFederationStatus

__all__ = [
    "FIELD_MANAGER",
    "FINALIZER",
    "ROTATION",
    "ChartNats",
    "InvalidResource",
    "Resource",
    "Settings",
    "read_resource",
    "read_status",
    "read_time",
]

FIELD_MANAGER = "eventfed-operator"
"""Who writes by server-side apply."""

FINALIZER = f"{GROUP}/withdrawal"
"""Holds a deleted EventFederation until its states are withdrawn, for half a minute at most."""

ROTATION = f"{GROUP}/rotate-token"
"""Annotation on an EventFederation: a new value asks for a new header secret."""


class InvalidResource(EventfedError, ValueError):
    """An EventFederation that the operator cannot act on, though the API server took it."""


@dataclass(frozen=True, slots=True)
class ChartNats:
    """The NATS that the chart brings, and how agents log in to it."""

    servers: tuple[str, ...]
    user: str
    password: str = field(repr=False)


_USER = 10_001
"""Of the image."""


def _restricted_pod() -> PodTemplateSpec:
    return PodTemplateSpec(
        security_context=PodSecuritySpec(
            run_as_non_root=True,
            run_as_user=_USER,
            run_as_group=_USER,
            fs_group=_USER,
            seccomp_profile={"type": "RuntimeDefault"},
        )
    )


def _restricted_container() -> Mapping[str, Any]:
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@dataclass(frozen=True, slots=True)
class Settings:
    """How this operator is installed.

    Args:
        image: the agents' image where an EventFederation names none.
        nats: the chart's NATS; None where it was switched off.
        allow_federations: names of federations that may be used by any namespace on the chart's NATS, beside
            ``<namespace>_…``.
        metrics_from: peers of a NetworkPolicy that may read the agents' metrics.
        pull_secrets: with which agents' images are pulled where an EventFederation names none.
        agent_template: what agents' pods have where an EventFederation says nothing else. By default they are fit for
            Pod Security ``restricted``.
        container_security: ``securityContext`` of the agents' container.
        withdrawal: how long a deletion waits for states to be withdrawn, in seconds.
    """

    image: str
    nats: ChartNats | None = None
    allow_federations: frozenset[str] = frozenset()
    metrics_from: tuple[Mapping[str, Any], ...] = ({"namespaceSelector": {}},)
    pull_secrets: tuple[str, ...] = ()
    agent_template: PodTemplateSpec = field(default_factory=_restricted_pod)
    container_security: Mapping[str, Any] = field(default_factory=_restricted_container)
    withdrawal: float = 30.0


@dataclass(frozen=True, slots=True)
class Resource:
    """One EventFederation.

    Args:
        created: when it was made; of two federations that select one pod, the older has it.
        deleted: when its deletion was asked for; None while it lives.
        rotation: value of the annotation that asks for a new header secret.
        finalizers: all of them, ours and others'.
    """

    name: str
    namespace: str
    uid: str
    generation: int
    created: datetime
    spec: EventFederationSpec
    status: EventFederationStatus = field(default_factory=EventFederationStatus)
    deleted: datetime | None = None
    rotation: str = ""
    finalizers: tuple[str, ...] = ()

    @property
    def federation(self) -> str:
        """Its name on NATS."""
        return self.spec.federation_name(self.namespace, self.name)

    @property
    def subjects(self) -> Subjects:
        return Subjects(self.federation, self.spec.site, prefix=self.spec.nats.subject_prefix)

    @property
    def agent_name(self) -> str:
        """Name of the agents' DaemonSet, Service, ServiceAccount, NetworkPolicy and Secret."""
        return f"{self.name}-agent"

    @property
    def asterisk_name(self) -> str:
        """Name of the Secret that the Asterisk pods mount."""
        return f"{self.name}-asterisk"

    @property
    def selector(self) -> dict[str, str]:
        """Labels by which the agents' pods are found."""
        return {"app.kubernetes.io/name": "eventfed-agent", "app.kubernetes.io/instance": self.name}

    @property
    def labels(self) -> dict[str, str]:
        """Labels of all that belongs to it."""
        return {
            **self.selector,
            "app.kubernetes.io/part-of": "eventfed",
            "app.kubernetes.io/managed-by": FIELD_MANAGER,
            f"{GROUP}/federation": self.name,
        }

    @property
    def owner_reference(self) -> dict[str, Any]:
        """What makes Kubernetes delete an object along with the EventFederation."""
        return {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": KIND,
            "name": self.name,
            "uid": self.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }

    def metadata(self, name: str, *, annotations: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The metadata of an object that belongs to it."""
        return {
            "name": name,
            "namespace": self.namespace,
            "labels": self.labels,
            "ownerReferences": [self.owner_reference],
            **({"annotations": dict(annotations)} if annotations else {}),
        }

    def is_allowed(self, settings: Settings) -> bool:
        """Whether it may use its name on the NATS that it wants; on servers of their own, tenants use any."""
        return (
            self.spec.nats.servers is not None
            or self.federation.startswith(f"{self.namespace}_")
            or self.federation in settings.allow_federations
        )


def read_time(text: str) -> datetime:
    """A time as Kubernetes writes it.

    Raises:
        ValueError: for anything else.
    """
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"{text!r:.60} has no time zone")
    return time


def read_resource(manifest: Mapping[str, Any]) -> Resource:
    """An EventFederation as the API server gives it.

    Raises:
        InvalidResource: naming each field that is wrong and what to change.
    """
    metadata = manifest["metadata"]
    try:
        return Resource(
            name=check_resource_name(metadata["name"]),
            namespace=metadata["namespace"],
            uid=metadata["uid"],
            generation=metadata.get("generation", 0),
            created=read_time(metadata["creationTimestamp"]),
            spec=EventFederationSpec.model_validate(manifest.get("spec", {})),
            status=read_status(manifest.get("status")),
            deleted=read_time(metadata["deletionTimestamp"]) if metadata.get("deletionTimestamp") else None,
            rotation=(metadata.get("annotations") or {}).get(ROTATION, ""),
            finalizers=tuple(metadata.get("finalizers") or ()),
        )
    except ValidationError as error:
        lines = [
            f"{'.'.join(filter(None, ('spec', one.where)))}: {one.message}"
            for one in refusals(error, EventFederationSpec, Writing.MANIFEST)
        ]
        raise InvalidResource("; ".join(lines)) from None
    except (KeyError, ValueError) as error:
        raise InvalidResource(str(error)) from None


def read_status(document: Mapping[str, Any] | None) -> EventFederationStatus:
    """The status as it was last written; one that somebody damaged is written again."""
    try:
        return EventFederationStatus.model_validate(document or {})
    except ValidationError:
        return EventFederationStatus()
