"""The status of an ``EventFederation``: what the operator answers. It is bounded: a few members by name, never all."""

import enum
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from eventfed.spec import Spec

__all__ = [
    "MAX_NOTED_MEMBERS",
    "AgentsStatus",
    "Condition",
    "ConditionType",
    "EventFederationStatus",
    "MembersStatus",
    "NotedMember",
    "StreamStatus",
]

MAX_NOTED_MEMBERS = 8
"""How many members a status names."""

_Count = Annotated[int, Field(ge=0)]


class _Status(Spec):
    # An operator of another version may have written more.
    model_config = ConfigDict(extra="ignore")


class ConditionType(enum.StrEnum):
    """What can be true or false of a federation; each is true when all is well, but for `STALLED`.

    ``Stalled`` is the word of kstatus (kubernetes-sigs/cli-utils), by which Flux, Argo CD and ``helm --wait`` know that
    waiting is without effect.
    """

    READY = "Ready"
    AGENTS_READY = "AgentsReady"
    BUS_REACHABLE = "BusReachable"
    MEMBERS_SYNCED = "MembersSynced"
    MEMBERS_CONFIGURED = "MembersConfigured"
    ENTITY_IDS_UNIQUE = "EntityIDsUnique"
    NAMES_UNCONTENDED = "NamesUncontended"
    STALLED = "Stalled"


class Condition(_Status):
    """One condition, as ``metav1.Condition`` writes it."""

    type: Annotated[str, Field(max_length=316, description="Which condition.")]
    status: Annotated[Literal["True", "False", "Unknown"], Field(description="Whether it holds.")]
    reason: Annotated[
        str,
        Field(pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$", max_length=1024, description="Why, in one word."),
    ]
    message: Annotated[str, Field(max_length=32_768, description="Why, for people, and what to do.")]
    observed_generation: Annotated[
        _Count, Field(json_schema_extra={"format": "int64"}, description="Generation of the spec that was judged.")
    ]
    last_transition_time: Annotated[
        str, Field(json_schema_extra={"format": "date-time"}, description="When status changed last.")
    ]


class NotedMember(_Status):
    """A member that needs attention."""

    name: Annotated[str, Field(max_length=253, description="Name of the pod.")]
    node: Annotated[str, Field(max_length=253, description="Node it runs on.")] = ""
    reason: Annotated[str, Field(max_length=64, description="What is the matter, in one word.")]
    message: Annotated[str, Field(max_length=1024, description="What is the matter, and what to do.")] = ""


class MembersStatus(_Status):
    """The selected pods, counted."""

    summary: Annotated[str, Field(max_length=32, description="synced/total.")] = "0/0"
    total: Annotated[_Count, Field(description="Pods that are selected and not contended by another federation.")] = 0
    synced: Annotated[_Count, Field(description="Of these, which have all states of the others.")] = 0
    not_configured: Annotated[_Count, Field(description="Which do not publish: the snippet is missing.")] = 0
    without_agent: Annotated[_Count, Field(description="Which are on a node without a ready agent.")] = 0
    contended: Annotated[_Count, Field(description="Pods that an older federation selects as well.")] = 0


class AgentsStatus(_Status):
    """The agents, counted."""

    summary: Annotated[str, Field(max_length=32, description="ready/desired.")] = "0/0"
    desired: Annotated[_Count, Field(description="Nodes that should have an agent.")] = 0
    ready: Annotated[_Count, Field(description="Agents that are ready.")] = 0
    updated: Annotated[_Count, Field(description="Agents that run the present configuration.")] = 0
    address: Annotated[
        str, Field(max_length=64, description="Where Asterisk reaches its agent. The Service is made again with it.")
    ] = ""


class StreamStatus(_Status):
    """The stream."""

    name: Annotated[str, Field(max_length=255, description="Its name.")]
    messages: Annotated[_Count, Field(json_schema_extra={"format": "int64"}, description="How many it holds.")] = 0
    bytes: Annotated[_Count, Field(json_schema_extra={"format": "int64"}, description="How large it is, bytes.")] = 0


class EventFederationStatus(_Status):
    """How a federation is doing."""

    observed_generation: Annotated[
        _Count, Field(json_schema_extra={"format": "int64"}, description="Generation of the spec that was acted on.")
    ] = 0
    federation: Annotated[str, Field(max_length=128, description="Name of the federation on NATS.")] = ""
    conditions: Annotated[
        tuple[Condition, ...],
        Field(
            max_length=16,
            description="What is well and what is not.",
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
        ),
    ] = ()
    members: Annotated[MembersStatus | None, Field(description="The selected pods, counted.")] = None
    agents: Annotated[AgentsStatus | None, Field(description="The agents, counted.")] = None
    stream: Annotated[StreamStatus | None, Field(description="The stream. Absent while NATS is away.")] = None
    noted_members: Annotated[
        tuple[NotedMember, ...],
        Field(max_length=MAX_NOTED_MEMBERS, description="The first few members that need attention."),
    ] = ()

    def condition(self, kind: ConditionType) -> Condition | None:
        """The condition of that type, if it was ever written."""
        return next((one for one in self.conditions if one.type == kind), None)
