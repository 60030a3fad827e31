"""What there is: in Kubernetes, on NATS, and what the agents tell."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from eventfed import Lease
from eventfed.wire.report import MemberState
from eventfed.wire.roster import Roster

from .crd.resource import MembersSpec
from .resources import read_time

__all__ = [
    "AgentPod",
    "BusSnapshot",
    "MemberReport",
    "ObjectKey",
    "Pod",
    "Rival",
    "Snapshot",
    "Stream",
    "read_agent",
    "read_pod",
    "read_rival",
]


@dataclass(frozen=True, slots=True)
class ObjectKey:
    """Which object, in the namespace of the EventFederation."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod that may be a member.

    Args:
        node: where it runs; empty before it is scheduled.
        address: its IP; empty before it has one.
        ports: what its containers declare, as (port, protocol); empty if they declare nothing.
        ended: it has run to its end, and only its record is left.
    """

    name: str
    uid: str
    labels: Mapping[str, str]
    node: str = ""
    address: str = ""
    ports: frozenset[tuple[int, str]] = frozenset()
    ready: bool = False
    terminating: bool = False
    ended: bool = False


@dataclass(frozen=True, slots=True)
class AgentPod:
    """A pod of the agents' DaemonSet."""

    name: str
    node: str
    ready: bool


@dataclass(frozen=True, slots=True)
class Rival:
    """Another EventFederation of the same namespace."""

    name: str
    uid: str
    created: datetime
    members: MembersSpec


@dataclass(frozen=True, slots=True)
class MemberReport:
    """What an agent tells of one member.

    Args:
        uid: which pod.
        reason: why it is in that state, for people.
        eid: its EID as text, if it has told one.
        contended_mailboxes: mailboxes that it overwrites after each injection.
        accepts_current: it took the current header secret; None if it was not tried.
    """

    uid: str
    state: MemberState
    reason: str = ""
    eid: str = ""
    contended_mailboxes: int = 0
    accepts_current: bool | None = None


@dataclass(frozen=True, slots=True)
class Stream:
    """The federation's stream as NATS has it.

    Args:
        owner: who made it, from its metadata; empty if it does not say.
        configuration: as ``STREAM.INFO`` gives it.
    """

    owner: str
    configuration: Mapping[str, Any]
    messages: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class BusSnapshot:
    """NATS, as the operator's client of this federation sees it.

    Args:
        connected: whether it answers at present.
        problem: what is wrong, for people; None if nothing is.
        stream: None if there is none, or NATS is away.
        leases: the live ones, of this site.
        rosters: as they are on the stream, by node.
        reports: what agents tell, by pod UID.
        contended_names: Custom: devices that several servers announce.
        agent_problems: what NATS does not do for agents, though it lets them in, by agent.
    """

    connected: bool = False
    problem: str | None = None
    stream: Stream | None = None
    leases: tuple[Lease, ...] = ()
    rosters: Mapping[str, Roster] = field(default_factory=dict)
    reports: Mapping[str, MemberReport] = field(default_factory=dict)
    contended_names: tuple[str, ...] = ()
    agent_problems: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that `reconcile` looks at.

    Args:
        now: the time.
        fresh_token: a new random header secret, in case one is needed.
        objects: those that belong to the EventFederation, as the API server gives them.
        secrets: the Secrets that the EventFederation names, None for one that is missing.
        pods: what its selector selects.
        agents: the pods of its DaemonSet.
        rivals: the other EventFederations of the namespace.
        bus: NATS.
        address_refused: a clusterIP that the API server did not give to the Service, because another one has it.
        refused: what the API server said to objects that it did not take when they were written last.
        bus_refused: what NATS said to what was written there last, if it did not take it; else empty.
        since: since when this process looks after the EventFederation; None: always.
    """

    now: datetime
    fresh_token: str = field(repr=False)
    objects: Mapping[ObjectKey, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    secrets: Mapping[str, Mapping[str, Any] | None] = field(default_factory=dict, repr=False)
    pods: tuple[Pod, ...] = ()
    agents: tuple[AgentPod, ...] = ()
    rivals: tuple[Rival, ...] = ()
    bus: BusSnapshot = field(default_factory=BusSnapshot)
    address_refused: str = ""
    refused: Mapping[ObjectKey, str] = field(default_factory=dict)
    bus_refused: str = ""
    since: datetime | None = None


def read_pod(manifest: Mapping[str, Any]) -> Pod:
    """A pod as the API server gives it."""
    metadata, spec, status = manifest["metadata"], manifest.get("spec", {}), manifest.get("status", {})
    ports = frozenset(
        (port["containerPort"], port.get("protocol", "TCP"))
        for container in spec.get("containers", ())
        for port in container.get("ports", ())
    )
    return Pod(
        name=metadata["name"],
        uid=metadata["uid"],
        labels=dict(metadata.get("labels") or {}),
        node=spec.get("nodeName", ""),
        address=status.get("podIP", ""),
        ports=ports,
        ready=_is_ready(status),
        terminating="deletionTimestamp" in metadata,
        ended=status.get("phase") in ("Succeeded", "Failed"),
    )


def read_agent(manifest: Mapping[str, Any]) -> AgentPod:
    """A pod of the agents' DaemonSet; one that is told to end is not ready, whatever it says."""
    ready = _is_ready(manifest.get("status", {})) and "deletionTimestamp" not in manifest["metadata"]
    return AgentPod(manifest["metadata"]["name"], manifest.get("spec", {}).get("nodeName", ""), ready)


def _is_ready(status: Mapping[str, Any]) -> bool:
    return any(one["type"] == "Ready" and one["status"] == "True" for one in status.get("conditions") or ())


def read_rival(manifest: Mapping[str, Any]) -> Rival:
    """Another EventFederation.

    Raises:
        ValueError: it says nothing usable of its members.
        KeyError: likewise.
    """
    metadata = manifest["metadata"]
    members = MembersSpec.model_validate(manifest["spec"]["members"])
    return Rival(metadata["name"], metadata["uid"], read_time(metadata["creationTimestamp"]), members)
