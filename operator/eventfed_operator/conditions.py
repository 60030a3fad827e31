"""What is well with a federation and what is not, in conditions whose messages say what to do."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeAlias

from eventfed.wire.report import MemberState

from .crd.status import Condition, ConditionType
from .resources import Resource, Settings
from .rosters import MemberSelection
from .snapshot import MemberReport, ObjectKey, Pod, Snapshot
from .streams import stream_owner
from .tokens import SNIPPET_KEY

__all__ = [
    "NOT_YET",
    "SYNCING",
    "ConditionResult",
    "KubernetesEvent",
    "ReconcileContext",
    "conditions_from",
    "judge",
    "kubernetes_events",
    "snippet_lines",
    "stalled",
]

Truth: TypeAlias = Literal["True", "False", "Unknown"]

NOT_YET = "no connection to NATS"
"""The problem of a connection that is being made, and of which nothing is known: `eventfed` says it so as well."""

SYNCING = "Syncing"

_REFUSALS = ("credentials", "authorization", "authentication", "permission")
"""Words of which one stands in every problem that is a refusal."""

_NAMED = 3
_MAX_MESSAGE = 1024
_PATIENCE = timedelta(seconds=60)
"""For how long a state that passes by itself is no trouble: agents that start, members that exchange their states."""
_FOLDER = "/etc/asterisk-eventfed"
_BLOCKING = (
    ConditionType.BUS_REACHABLE,
    ConditionType.AGENTS_READY,
    ConditionType.MEMBERS_CONFIGURED,
    ConditionType.ENTITY_IDS_UNIQUE,
    ConditionType.MEMBERS_SYNCED,
)


_STALLING = frozenset({"InvalidSpec", "NameTaken", "StreamOwnedByAnother", "FederationNotAllowed", "NoNats"})
"""Reasons that no time mends: somebody has to change the EventFederation, or what is in its way."""


@dataclass(frozen=True, slots=True)
class ConditionResult:
    """One condition, judged.

    Args:
        passes: an EventFederation that was just made, or has NATS again, goes through this: no fault of anybody's yet.
    """

    status: Truth
    reason: str
    message: str
    passes: bool = False


@dataclass(frozen=True, slots=True)
class KubernetesEvent:
    """A Kubernetes Event about a transition."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class ReconcileContext:
    """What the judgement rests on.

    Args:
        obstacle: (reason, message) why the federation cannot be carried at all; None if it can.
        missing_secrets: what the EventFederation names and nobody made, for people.
        foreign: our objects whose names are taken.
    """

    resource: Resource
    settings: Settings
    observed: Snapshot
    selection: MemberSelection
    obstacle: tuple[str, str] | None = None
    missing_secrets: tuple[str, ...] = ()
    foreign: tuple[ObjectKey, ...] = ()

    def report(self, pod: Pod) -> MemberReport | None:
        return self.observed.bus.reports.get(pod.uid)

    def members_in(self, *states: MemberState) -> list[Pod]:
        return [pod for pod in self.selection.members if (one := self.report(pod)) and one.state in states]

    @property
    def without_agent(self) -> list[Pod]:
        """Members on a node without a ready agent."""
        served = {agent.node for agent in self.observed.agents if agent.ready}
        return [pod for pod in self.selection.members if pod.node and pod.node not in served]


def snippet_lines(resource: Resource) -> str:
    """What a member lacks that does not publish."""
    return (
        f"mount Secret {resource.asterisk_name} (optional: true) at {_FOLDER} and end pjsip.conf with the line "
        f'#tryinclude "{_FOLDER}/{SNIPPET_KEY}"'
    )


def judge(context: ReconcileContext) -> dict[ConditionType, ConditionResult]:
    """All conditions, Ready first."""
    others = {kind: _fitting(_patiently(context, kind, rule(context))) for kind, rule in _RULES.items()}
    return {ConditionType.READY: _ready(context, others), **others, ConditionType.STALLED: stalled(others.values())}


def _patiently(context: ReconcileContext, kind: ConditionType, result: ConditionResult) -> ConditionResult:
    """What passes by itself is for a while not known rather than false: at the start, and after what was not known."""
    old = context.resource.status.condition(kind)
    if result.passes and (old is None or (old.status == "Unknown" and context.observed.now - _since(old) < _PATIENCE)):
        return replace(result, status="Unknown")
    return result


def _ready(context: ReconcileContext, others: Mapping[ConditionType, ConditionResult]) -> ConditionResult:
    for status in ("False", "Unknown"):
        for kind in _BLOCKING:
            if others[kind].status == status:
                return others[kind]
    if context.resource.spec.paused:
        return ConditionResult("True", "Paused", "All is well; changes wait until spec.paused is false")
    return ConditionResult("True", "Synced", f"{_count(len(context.selection.members), 'member')} synced")


def stalled(results: Iterable[ConditionResult]) -> ConditionResult:
    """Whether one of these is a fault that no time mends."""
    for one in results:
        if one.status == "False" and one.reason in _STALLING:
            return replace(one, status="True")
    return ConditionResult("False", "NotStalled", "Nothing stands in the way that only a change would remove")


def _bus_reachable(context: ReconcileContext) -> ConditionResult:
    bus, resource = context.observed.bus, context.resource
    if context.obstacle is not None:
        return ConditionResult("False", *context.obstacle)
    if context.missing_secrets:
        return ConditionResult("False", "SecretMissing", f"Missing: {_names(context.missing_secrets)}")
    if not bus.connected:
        problem = bus.problem or NOT_YET
        if problem == NOT_YET:
            return ConditionResult("Unknown", "Connecting", "The connection to NATS is being made")
        told = problem[0].upper() + problem[1:] if "NATS" in problem else f"NATS: {problem}"
        if any(word in problem.lower() for word in _REFUSALS):
            told = f"The operator cannot log in: {problem}. {_other_access(context)}"
            return ConditionResult("False", "CredentialsRefused", told)
        return ConditionResult("False", "BusUnreachable", f"{told}. Members keep what they have")
    if bus.stream is None:
        told = f"There is no stream {resource.subjects.stream}"
        before = resource.status.condition(ConditionType.BUS_REACHABLE)
        if not bus.problem and before is not None and before.status == "False" and before.reason != "StreamMissing":
            # NATS has just let us in, and the stream is what we see to next.
            return ConditionResult("Unknown", "StreamMissing", f"{told} yet")
        return ConditionResult(
            "False", "StreamMissing", f"{told}: {bus.problem}" if bus.problem else f"{told} yet", passes=True
        )
    owner = bus.stream.owner
    if owner not in ("", stream_owner(resource)):
        return ConditionResult(
            "False",
            "StreamOwnedByAnother",
            f"Stream {resource.subjects.stream} belongs to EventFederation {owner}: "
            "delete one of the two, and give a new one another spec.federation",
        )
    if bus.problem is not None:
        return ConditionResult("False", "BusTrouble", f"NATS: {bus.problem}", passes=True)
    if context.observed.bus_refused:
        return ConditionResult("False", "BusTrouble", f"NATS: {context.observed.bus_refused}", passes=True)
    if bus.agent_problems:
        told = next(iter(bus.agent_problems.values()))
        agents = sorted(agent for agent, problem in bus.agent_problems.items() if problem == told)
        return ConditionResult("False", "BusTrouble", f"NATS, for agent {_names(agents)}: {told}", passes=True)
    return ConditionResult("True", "Connected", "NATS answers and has the stream")


def _other_access(context: ReconcileContext) -> str:
    """What to do when NATS refuses us."""
    if context.resource.spec.nats.servers is None:
        return "Restart the chart's NATS if its passwords were changed: it reads them at its start"
    return "Check spec.nats.credentials and operatorCredentials, and what stands in the Secrets that they name"


def _agents_ready(context: ReconcileContext) -> ConditionResult:
    if context.foreign:
        taken = _names([f"{key.kind} {key.name}" for key in context.foreign])
        return ConditionResult(
            "False", "NameTaken", f"Not of this EventFederation: {taken}. Delete it, or choose another name"
        )
    if context.observed.refused:
        told = "; ".join(
            f"{key.kind} {key.name}: {said}" for key, said in sorted(context.observed.refused.items(), key=str)
        )
        return ConditionResult("False", "ObjectRefused", f"Kubernetes refuses {told}")
    daemon_set = context.observed.objects.get(ObjectKey("DaemonSet", context.resource.agent_name))
    if daemon_set is None:
        return ConditionResult("False", "AgentsMissing", "There is no DaemonSet of agents yet", passes=True)
    status = daemon_set.get("status") or {}
    if "observedGeneration" not in status:
        return ConditionResult("Unknown", "AgentsStarting", "Kubernetes has not looked at the DaemonSet of agents yet")
    changed = status["observedGeneration"] < daemon_set["metadata"].get("generation", 0)
    desired, ready = status.get("desiredNumberScheduled", 0), status.get("numberReady", 0)
    if desired == 0:
        return ConditionResult("False", "NoNodeForAgents", "No node takes agents: look at spec.agent.placement")
    present = {agent.node for agent in context.observed.agents}
    lacking = sorted({pod.node for pod in context.without_agent if pod.node not in present})
    if lacking:
        return ConditionResult(
            "False",
            "NodesWithoutAgent",
            f"Members run on {_names(lacking)}, where no agent may: give the taints of these nodes in "
            "spec.agent.placement.tolerations, or let spec.agent.placement.nodeSelector select them",
        )
    if ready < desired:
        waiting = sorted(agent.name for agent in context.observed.agents if not agent.ready)
        told = f"{ready} of {desired} agents are ready; not: {_names(waiting)}"
        return ConditionResult("False", "AgentsNotReady", told, passes=True)
    if changed or status.get("updatedNumberScheduled", 0) < desired:
        return ConditionResult(
            "True", "RollingOut", f"{ready} of {desired} agents are ready; a new version is on its way"
        )
    return ConditionResult("True", "AgentsReady", f"{ready} of {desired} agents are ready")


def _members_configured(context: ReconcileContext) -> ConditionResult:
    resource, selection = context.resource, context.selection
    if selection.contended:
        some = _names([f"{pod.name} (of {owner})" for pod, owner in selection.contended])
        message = f"An older EventFederation has these pods: {some}. Make the selectors differ"
        return ConditionResult("False", "MemberContended", message)
    if not selection.members:
        expression = resource.spec.members.selector.expression
        message = f"No pod of namespace {resource.namespace} has the labels {expression}"
        return ConditionResult("False", "NoPodMatches", message, passes=True)
    silent = context.members_in(MemberState.NOT_CONFIGURED)
    if silent:
        reports = [context.report(pod) for pod in silent]
        seen = next((report.reason for report in reports if report is not None and report.reason), "publishes nothing")
        told = f"{_names([pod.name for pod in silent])}: {seen}. To be a member, {snippet_lines(resource)}"
        return ConditionResult("False", "NotConfigured", told)
    synced = {pod.uid for pod in context.members_in(MemberState.SYNCED)}
    without_port = [pod.name for pod in selection.without_port if pod.uid not in synced]
    if without_port:
        members = resource.spec.members
        return ConditionResult(
            "False",
            "PortNotDeclared",
            f"No container has port {members.port}/{members.transport} in {_names(without_port)}: "
            "set spec.members.port and spec.members.transport to Asterisk's",
        )
    if not context.observed.bus.connected:
        return ConditionResult("Unknown", "BusUnreachable", "Nobody tells while NATS is away")
    return ConditionResult("True", "AllConfigured", "Every member publishes, or has just started")


def _entity_ids_unique(context: ReconcileContext) -> ConditionResult:
    if not context.observed.bus.connected:
        return ConditionResult("Unknown", "BusUnreachable", "Nobody tells while NATS is away")
    doubles = [_double(context, pod) for pod in context.members_in(MemberState.DUPLICATE)]
    if doubles:
        message = f"Two servers with one EID: {_names(doubles)}. Give each an entityid of its own in asterisk.conf"
        return ConditionResult("False", "DuplicateEntityID", message)
    return ConditionResult("True", "Unique", "No two servers have the same EID")


def _double(context: ReconcileContext, pod: Pod) -> str:
    """The pod, its EID, and who has it."""
    report = context.report(pod)
    if report is None or not report.eid:
        return pod.name
    owners = [
        lease.name for lease in context.observed.bus.leases if str(lease.eid) == report.eid and lease.uid != pod.uid
    ]
    return f"{pod.name} and {owners[0]} ({report.eid})" if owners else f"{pod.name} ({report.eid})"


def _members_synced(context: ReconcileContext) -> ConditionResult:
    members = context.selection.members
    if not members:
        return ConditionResult("Unknown", "NoPodMatches", "There are no members")
    if not context.observed.bus.connected:
        return ConditionResult("Unknown", "BusUnreachable", "Nobody tells while NATS is away")
    synced = {pod.uid for pod in context.members_in(MemberState.SYNCED)}
    told = f"{len(synced)} of {_count(len(members), 'member')} synced"
    if len(synced) == len(members):
        return ConditionResult("True", "Synced", told)
    silent = context.members_in(MemberState.LOST)
    if lost := [pod.name for pod in silent if not pod.terminating]:
        return ConditionResult("False", "MembersLost", f"{told}; no answer from {_names(lost)}")
    if silent:
        leaving = _names([pod.name for pod in silent])
        return ConditionResult("False", SYNCING, f"{told}; no answer from {leaving}, being deleted", passes=True)
    waiting = [pod.name for pod in members if pod.uid not in synced]
    return ConditionResult("False", SYNCING, f"{told}; not yet: {_names(waiting)}", passes=True)


def _names_uncontended(context: ReconcileContext) -> ConditionResult:
    bus = context.observed.bus
    if not bus.connected:
        return ConditionResult("Unknown", "BusUnreachable", "Nobody tells while NATS is away")
    mailboxes = [
        pod.name for pod in context.selection.members if (one := context.report(pod)) and one.contended_mailboxes
    ]
    if mailboxes:
        message = f"{_names(mailboxes)}: answers each count with its own. Set pollmailboxes=no in voicemail.conf"
        return ConditionResult("False", "MailboxContended", message)
    if bus.contended_names:
        message = f"Several servers announce {_names(bus.contended_names)}: let one do it, or exclude the name"
        return ConditionResult("False", "NameContended", message)
    return ConditionResult("True", "Uncontended", "No name is announced by several servers")


_RULES: dict[ConditionType, Callable[[ReconcileContext], ConditionResult]] = {
    ConditionType.AGENTS_READY: _agents_ready,
    ConditionType.BUS_REACHABLE: _bus_reachable,
    ConditionType.MEMBERS_SYNCED: _members_synced,
    ConditionType.MEMBERS_CONFIGURED: _members_configured,
    ConditionType.ENTITY_IDS_UNIQUE: _entity_ids_unique,
    ConditionType.NAMES_UNCONTENDED: _names_uncontended,
}


def conditions_from(
    results: Mapping[ConditionType, ConditionResult], previous: Iterable[Condition], *, generation: int, now: datetime
) -> tuple[Condition, ...]:
    """The results as conditions; the time of transition changes only when the status does."""
    before = {one.type: one for one in previous}
    conditions: list[Condition] = []
    for kind, result in results.items():
        old = before.get(kind)
        same = old is not None and old.status == result.status
        conditions.append(
            Condition(
                type=kind.value,
                status=result.status,
                reason=result.reason,
                message=result.message,
                observed_generation=generation,
                last_transition_time=old.last_transition_time if same and old else _written(now),
            )
        )
    return tuple(conditions)


def kubernetes_events(previous: Sequence[Condition], present: Sequence[Condition]) -> list[KubernetesEvent]:
    """Events for what changed: what became false or is false for another reason, and what is mended.

    What is well with a new EventFederation is no news, but that it is ready. That it is no longer ready is told by the
    condition which is the cause. That members exchange their states is no fault: those that never come to an
    end of it are told as lost or not configured.
    """
    before = {one.type: one for one in previous}
    told: list[KubernetesEvent] = []
    for one in present:
        if one.type == ConditionType.STALLED:
            # It repeats another condition.
            continue
        old = before.get(one.type)
        is_ready = one.type == ConditionType.READY
        if one.status == "True" and (old is None or old.status != "True"):
            if is_ready or (old is not None and old.status == "False" and one.reason not in {n.reason for n in told}):
                told.append(KubernetesEvent("Normal", one.reason, one.message))
        elif one.status == "False" and not is_ready and not (old and (old.status, old.reason) == ("False", one.reason)):
            told.append(KubernetesEvent("Normal" if one.reason == SYNCING else "Warning", one.reason, one.message))
    return told


def _written(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _since(condition: Condition) -> datetime:
    """When its status last changed; the API server has checked that it is a time."""
    return datetime.fromisoformat(condition.last_transition_time)


def _names(names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - _NAMED} more" if len(every) > _NAMED else ""
    return ", ".join(every[:_NAMED]) + more


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _fitting(result: ConditionResult) -> ConditionResult:
    return ConditionResult(result.status, result.reason, result.message[:_MAX_MESSAGE])
