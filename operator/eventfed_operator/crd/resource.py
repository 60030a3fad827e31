"""The custom resource ``EventFederation``: what a user writes, and what the operator answers.

The CRD of the chart is generated from these models. What they refuse, the API server refuses with the same words.
"""

import enum
import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema, model_validator

from eventfed.spec import DepartureSpec, EventSpec, Spec, check_events, refused_unless

from .kubernetes_types import LabelSelector, ObjectName, Resources, Toleration
from .nats_spec import CredentialsSpec, NatsSpec, SecretKey, StreamSpec, StreamStorage, SubjectToken, TlsSpec
from .pod_template import PodSecuritySpec, PodTemplateSpec

__all__ = [
    "GROUP",
    "KIND",
    "NAME_RULE",
    "PLURAL",
    "SHORT_NAME",
    "VERSION",
    "AgentSpec",
    "CredentialsSpec",
    "DeletionPolicy",
    "EventFederationSpec",
    "MembersSpec",
    "Method",
    "NatsSpec",
    "PlacementSpec",
    "PodSecuritySpec",
    "PodTemplateSpec",
    "Protocol",
    "SecretKey",
    "StreamSpec",
    "StreamStorage",
    "TlsSpec",
    "UpdateStrategySpec",
    "check_resource_name",
]

GROUP = "eventfed.io"
VERSION = "v1alpha1"
KIND = "EventFederation"
PLURAL = "eventfederations"
SHORT_NAME = "evfed"

_NAME = (
    "metadata.name: use 1 to 40 characters of a-z, 0-9 and '-', beginning with a letter: a Service is named after it"
)
_ONE_IDENTITY = "cannot be changed: delete the EventFederation, which withdraws its states, and create it again"
_SELECTS_ALL = "members.selector would select every pod of the namespace: name a label of your Asterisk pods"
_LISTED_TWICE = "events: a type is listed twice: merge the two entries"
_SHARE = "write a number from 1 or a share from 1% to 100%"
_SURGE_WHEN_ROLLING = "agent.updateStrategy: maxSurge is for type: RollingUpdate: remove it"


def check_resource_name(name: str) -> str:
    """`name`, if objects can be named after it.

    Raises:
        ValueError: what names may look like.
    """
    allowed = set("abcdefghijklmnopqrstuvwxyz0123456789-")
    if not (0 < len(name) <= 40 and set(name) <= allowed and name[0].isalpha() and name[-1] != "-"):
        raise ValueError(_NAME)
    return name


NAME_RULE = ("self.metadata.name.matches('^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$')", _NAME)
"""The same for the API server; it stands at the root of the schema, where alone the name can be seen."""


class Protocol(enum.StrEnum):
    UDP = "UDP"
    TCP = "TCP"


class Method(enum.StrEnum):
    JETSTREAM = "jetstream"


class DeletionPolicy(enum.StrEnum):
    DELETE = "Delete"
    RETAIN = "Retain"


class MembersSpec(Spec):
    """Which pods are the Asterisk servers of the federation, and how they are reached."""

    selector: Annotated[
        LabelSelector,
        Field(
            description="Labels of the Asterisk pods, in the namespace of the EventFederation.",
            json_schema_extra=refused_unless(
                (
                    "(has(self.matchLabels) && self.matchLabels.size() > 0)"
                    " || (has(self.matchExpressions) && self.matchExpressions.size() > 0)",
                    _SELECTS_ALL,
                )
            ),
        ),
    ]
    port: Annotated[int, Field(ge=1, le=65_535, description="SIP port of the Asterisk pods.")] = 5060
    transport: Annotated[
        Protocol,
        Field(
            description="Transport of SIP, both ways. UDP loses nothing while an agent restarts, because Asterisk "
            "retransmits for 32 s; TCP stands still for 32 s after each start of Asterisk."
        ),
    ] = Protocol.UDP

    @model_validator(mode="after")
    def _selects_something(self) -> Self:
        if self.selector.is_empty:
            raise ValueError(_SELECTS_ALL)
        return self


def _check_share(value: int | str) -> int | str:
    fits = value > 0 if isinstance(value, int) else re.fullmatch("([1-9][0-9]?|100)%", value)
    if not fits:
        raise ValueError(_SHARE)
    return value


IntOrPercent = Annotated[
    int | str,
    AfterValidator(_check_share),
    WithJsonSchema(
        {
            "x-kubernetes-int-or-string": True,
            **refused_unless(("type(self) == int ? self > 0 : self.matches('^([1-9][0-9]?|100)%$')", _SHARE)),
        }
    ),
]
"""A number of nodes, or a share of them."""


class UpdateStrategySpec(Spec):
    """How agents are replaced. A new one is ready before the old one ends, so nothing blinks."""

    model_config = ConfigDict(
        json_schema_extra=refused_unless(("self.type == 'RollingUpdate' || !has(self.maxSurge)", _SURGE_WHEN_ROLLING))
    )

    type: Annotated[
        Literal["RollingUpdate", "OnDelete"],
        Field(description="OnDelete: an agent is replaced when somebody deletes its pod."),
    ] = "RollingUpdate"
    max_surge: Annotated[
        IntOrPercent | None,
        Field(description="How many nodes, or which share of them, get their new agent at a time. Absent: 1."),
    ] = None

    @model_validator(mode="after")
    def _only_rolling(self) -> Self:
        if self.type == "OnDelete" and self.max_surge is not None:
            raise ValueError(_SURGE_WHEN_ROLLING)
        return self


class PlacementSpec(Spec):
    """On which nodes agents run: on all where Asterisk pods may."""

    node_selector: Annotated[
        dict[str, Annotated[str, Field(max_length=63)]], Field(max_length=32, description="Labels of the nodes.")
    ] = Field(default_factory=dict)
    tolerations: Annotated[
        tuple[Toleration, ...], Field(max_length=32, description="Taints that agents bear; give those of the members.")
    ] = ()
    priority_class_name: Annotated[
        ObjectName | None, Field(description="Name of the agents' PriorityClass. Absent: the cluster's default.")
    ] = None


class AgentSpec(Spec):
    """The agents: one pod on each node."""

    image: Annotated[
        str | None,
        Field(min_length=1, max_length=512, pattern=r"^\S+$", description="Image. Absent: the operator's own."),
    ] = None
    image_pull_policy: Annotated[
        Literal["Always", "IfNotPresent", "Never"], Field(description="When the image is pulled.")
    ] = "IfNotPresent"
    image_pull_secrets: Annotated[
        tuple[ObjectName, ...],
        Field(
            max_length=8,
            description="Names of the Secrets with which the image is pulled. Empty: those of the chart.",
            json_schema_extra={"x-kubernetes-list-type": "set"},
        ),
    ] = ()
    resources: Annotated[Resources, Field(description="Requests and limits of an agent.")] = Resources(
        requests={"cpu": "20m", "memory": "96Mi"}, limits={"memory": "256Mi"}
    )
    placement: Annotated[PlacementSpec, Field(description="On which nodes agents run.")] = PlacementSpec()
    pod_template: Annotated[
        PodTemplateSpec,
        Field(description="Labels, annotations, affinity, security, variables and volumes of the agents' pods."),
    ] = PodTemplateSpec()
    update_strategy: Annotated[UpdateStrategySpec, Field(description="How agents are replaced.")] = UpdateStrategySpec()
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Field(description="The least that agents write to their log.")
    ] = "info"


class EventFederationSpec(Spec):
    """What crosses between which Asterisk servers."""

    model_config = ConfigDict(
        json_schema_extra=refused_unless(
            (
                "has(self.federation) == has(oldSelf.federation)"
                " && (!has(self.federation) || self.federation == oldSelf.federation)",
                f"federation {_ONE_IDENTITY}",
            ),
            ("self.site == oldSelf.site", f"site {_ONE_IDENTITY}"),
            ("self.nats.subjectPrefix == oldSelf.nats.subjectPrefix", f"nats.subjectPrefix {_ONE_IDENTITY}"),
        )
    )

    members: Annotated[MembersSpec, Field(description="Which pods are the Asterisk servers.")]
    events: Annotated[
        tuple[EventSpec, ...],
        Field(
            min_length=1,
            max_length=8,
            description="What crosses between them, one entry per type.",
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"],
                **refused_unless(
                    ("self.all(one, self.exists_one(other, other.type == one.type))", _LISTED_TWICE),
                ),
            },
        ),
        AfterValidator(check_events),
    ]
    federation: Annotated[
        SubjectToken | None,
        Field(
            description="Name of the federation on NATS. Absent: <namespace>_<name>. On the chart's NATS, another "
            "beginning than <namespace>_ needs the permission of who runs the operator (allowFederations). It cannot "
            "be changed."
        ),
    ] = None
    site: Annotated[
        SubjectToken,
        Field(description="Name of this cluster in a federation that spans several. It cannot be changed."),
    ] = "local"
    nats: Annotated[NatsSpec, Field(description="The NATS that carries the states.")] = NatsSpec()
    method: Annotated[Method, Field(description="How events travel between agents: jetstream keeps last values.")] = (
        Method.JETSTREAM
    )
    departure: Annotated[DepartureSpec, Field(description="What becomes of the states of a server that has gone.")] = (
        DepartureSpec()
    )
    agent: Annotated[AgentSpec, Field(description="The agents.")] = AgentSpec()
    paused: Annotated[
        bool,
        Field(description="The operator leaves objects and stream as they are; rosters still follow the pods."),
    ] = False
    deletion_policy: Annotated[
        DeletionPolicy, Field(description="What becomes of the stream when the EventFederation is deleted.")
    ] = DeletionPolicy.DELETE

    def federation_name(self, namespace: str, name: str) -> str:
        """Its name on NATS, of the EventFederation `name` in `namespace`."""
        return self.federation or f"{namespace}_{name}"
