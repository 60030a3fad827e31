"""What is well with a federation and what is not, in conditions whose messages say what to do."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeAlias

from eventfed.wire.report import MemberState

from .crd.status import Condition, ConditionType
from .resources import Resource, Settings
from .rosters import Selection
from .snapshot import MemberReport, ObjectKey, Observed, Pod
from .streams import stream_owner
from .tokens import SNIPPET_KEY

__all__ = [
    "NOT_YET",
    "SYNCING",
    "Circumstances",
    "Notice",
    "Verdict",
    "conditions_from",
    "judge",
    "notices",
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
class Verdict:
    """One condition, judged.

    Args:
        passes: an EventFederation that was just made, or has NATS again, goes through this: no fault of anybody's yet.
    """

    status: Truth
    reason: str
    message: str
    passes: bool = False


@dataclass(frozen=True, slots=True)
class Notice:
    """A Kubernetes Event about a transition."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What the judgement rests on.

    Args:
        obstacle: (reason, message) why the federation cannot be carried at all; None if it can.
        missing_secrets: what the EventFederation names and nobody made, for people.
        foreign: objects of ours whose names are taken.
    """

    resource: Resource
    settings: Settings
    observed: Observed
    selection: Selection
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


def judge(case: Circumstances) -> dict[ConditionType, Verdict]:
    """All conditions, Ready first."""
    others = {kind: _fitting(_patiently(case, kind, rule(case))) for kind, rule in _RULES.items()}
    return {ConditionType.READY: _ready(case, others), **others, ConditionType.STALLED: stalled(others.values())}


def _patiently(case: Circumstances, kind: ConditionType, verdict: Verdict) -> Verdict:
    """What passes by itself is for a while not known rather than false: at the start, and after what was not known."""
    old = case.resource.status.condition(kind)
    if verdict.passes and (old is None or (old.status == "Unknown" and case.observed.now - _since(old) < _PATIENCE)):
        return replace(verdict, status="Unknown")
    return verdict


def _ready(case: Circumstances, others: Mapping[ConditionType, Verdict]) -> Verdict:
    for status in ("False", "Unknown"):
        for kind in _BLOCKING:
            if others[kind].status == status:
                return others[kind]
    if case.resource.spec.paused:
        return Verdict("True", "Paused", "All is well; changes wait until spec.paused is false")
    return Verdict("True", "Synced", f"{_count(len(case.selection.members), 'member')} synced")


def stalled(verdicts: Iterable[Verdict]) -> Verdict:
    """Whether one of these is a fault that no time mends."""
    for one in verdicts:
        if one.status == "False" and one.reason in _STALLING:
            return replace(one, status="True")
    return Verdict("False", "NotStalled", "Nothing stands in the way that only a change would remove")


def _bus_reachable(case: Circumstances) -> Verdict:
    bus, resource = case.observed.bus, case.resource
    if case.obstacle is not None:
        return Verdict("False", *case.obstacle)
    if case.missing_secrets:
        return Verdict("False", "SecretMissing", f"Missing: {_names(case.missing_secrets)}")
    if not bus.connected:
        problem = bus.problem or NOT_YET
        if problem == NOT_YET:
            return Verdict("Unknown", "Connecting", "The connection to NATS is being made")
        told = problem[0].upper() + problem[1:] if "NATS" in problem else f"NATS: {problem}"
        if any(word in problem.lower() for word in _REFUSALS):
            told = f"The operator cannot log in: {problem}. {_other_access(case)}"
            return Verdict("False", "CredentialsRefused", told)
        return Verdict("False", "BusUnreachable", f"{told}. Members keep what they have")
    if bus.stream is None:
        told = f"There is no stream {resource.subjects.stream}"
        before = resource.status.condition(ConditionType.BUS_REACHABLE)
        if not bus.problem and before is not None and before.status == "False" and before.reason != "StreamMissing":
            # NATS has just let us in, and the stream is what we see to next.
            return Verdict("Unknown", "StreamMissing", f"{told} yet")
        return Verdict(
            "False", "StreamMissing", f"{told}: {bus.problem}" if bus.problem else f"{told} yet", passes=True
        )
    owner = bus.stream.owner
    if owner not in ("", stream_owner(resource)):
        return Verdict(
            "False",
            "StreamOwnedByAnother",
            f"Stream {resource.subjects.stream} belongs to EventFederation {owner}: "
            "delete one of the two, and give a new one another spec.federation",
        )
    if bus.problem is not None:
        return Verdict("False", "BusTrouble", f"NATS: {bus.problem}", passes=True)
    if case.observed.bus_refused:
        return Verdict("False", "BusTrouble", f"NATS: {case.observed.bus_refused}", passes=True)
    if bus.agent_problems:
        told = next(iter(bus.agent_problems.values()))
        agents = sorted(agent for agent, problem in bus.agent_problems.items() if problem == told)
        return Verdict("False", "BusTrouble", f"NATS, for agent {_names(agents)}: {told}", passes=True)
    return Verdict("True", "Connected", "NATS answers and has the stream")


def _other_access(case: Circumstances) -> str:
    """What to do when NATS refuses us."""
    if case.resource.spec.nats.servers is None:
        return "Restart the chart's NATS if its passwords were changed: it reads them at its start"
    return "Check spec.nats.credentials and operatorCredentials, and what stands in the Secrets that they name"


def _agents_ready(case: Circumstances) -> Verdict:
    if case.foreign:
        taken = _names([f"{key.kind} {key.name}" for key in case.foreign])
        return Verdict("False", "NameTaken", f"Not of this EventFederation: {taken}. Delete it, or choose another name")
    if case.observed.refused:
        told = "; ".join(
            f"{key.kind} {key.name}: {said}" for key, said in sorted(case.observed.refused.items(), key=str)
        )
        return Verdict("False", "ObjectRefused", f"Kubernetes refuses {told}")
    daemon_set = case.observed.objects.get(ObjectKey("DaemonSet", case.resource.agent_name))
    if daemon_set is None:
        return Verdict("False", "AgentsMissing", "There is no DaemonSet of agents yet", passes=True)
    status = daemon_set.get("status") or {}
    if "observedGeneration" not in status:
        return Verdict("Unknown", "AgentsStarting", "Kubernetes has not looked at the DaemonSet of agents yet")
    changed = status["observedGeneration"] < daemon_set["metadata"].get("generation", 0)
    desired, ready = status.get("desiredNumberScheduled", 0), status.get("numberReady", 0)
    if desired == 0:
        return Verdict("False", "NoNodeForAgents", "No node takes agents: look at spec.agent.placement")
    present = {agent.node for agent in case.observed.agents}
    lacking = sorted({pod.node for pod in case.without_agent if pod.node not in present})
    if lacking:
        return Verdict(
            "False",
            "NodesWithoutAgent",
            f"Members run on {_names(lacking)}, where no agent may: give the taints of these nodes in "
            "spec.agent.placement.tolerations, or let spec.agent.placement.nodeSelector select them",
        )
    if ready < desired:
        waiting = sorted(agent.name for agent in case.observed.agents if not agent.ready)
        told = f"{ready} of {desired} agents are ready; not: {_names(waiting)}"
        return Verdict("False", "AgentsNotReady", told, passes=True)
    if changed or status.get("updatedNumberScheduled", 0) < desired:
        return Verdict("True", "RollingOut", f"{ready} of {desired} agents are ready; a new version is on its way")
    return Verdict("True", "AgentsReady", f"{ready} of {desired} agents are ready")


def _members_configured(case: Circumstances) -> Verdict:
    resource, selection = case.resource, case.selection
    if selection.contended:
        some = _names([f"{pod.name} (of {owner})" for pod, owner in selection.contended])
        message = f"An older EventFederation has these pods: {some}. Make the selectors differ"
        return Verdict("False", "MemberContended", message)
    if not selection.members:
        expression = resource.spec.members.selector.expression
        message = f"No pod of namespace {resource.namespace} has the labels {expression}"
        return Verdict("False", "NoPodMatches", message, passes=True)
    silent = case.members_in(MemberState.NOT_CONFIGURED)
    if silent:
        reports = [case.report(pod) for pod in silent]
        seen = next((report.reason for report in reports if report is not None and report.reason), "publishes nothing")
        told = f"{_names([pod.name for pod in silent])}: {seen}. To be a member, {snippet_lines(resource)}"
        return Verdict("False", "NotConfigured", told)
    synced = {pod.uid for pod in case.members_in(MemberState.SYNCED)}
    without_port = [pod.name for pod in selection.without_port if pod.uid not in synced]
    if without_port:
        members = resource.spec.members
        return Verdict(
            "False",
            "PortNotDeclared",
            f"No container has port {members.port}/{members.transport} in {_names(without_port)}: "
            "set spec.members.port and spec.members.transport to Asterisk's",
        )
    if not case.observed.bus.connected:
        return Verdict("Unknown", "BusUnreachable", "Nobody tells while NATS is away")
    return Verdict("True", "AllConfigured", "Every member publishes, or has just started")


def _entity_ids_unique(case: Circumstances) -> Verdict:
    if not case.observed.bus.connected:
        return Verdict("Unknown", "BusUnreachable", "Nobody tells while NATS is away")
    doubles = [_double(case, pod) for pod in case.members_in(MemberState.DUPLICATE)]
    if doubles:
        message = f"Two servers with one EID: {_names(doubles)}. Give each an entityid of its own in asterisk.conf"
        return Verdict("False", "DuplicateEntityID", message)
    return Verdict("True", "Unique", "No two servers have the same EID")


def _double(case: Circumstances, pod: Pod) -> str:
    """The pod, its EID, and who has it."""
    report = case.report(pod)
    if report is None or not report.eid:
        return pod.name
    owners = [lease.name for lease in case.observed.bus.leases if str(lease.eid) == report.eid and lease.uid != pod.uid]
    return f"{pod.name} and {owners[0]} ({report.eid})" if owners else f"{pod.name} ({report.eid})"


def _members_synced(case: Circumstances) -> Verdict:
    members = case.selection.members
    if not members:
        return Verdict("Unknown", "NoPodMatches", "There are no members")
    if not case.observed.bus.connected:
        return Verdict("Unknown", "BusUnreachable", "Nobody tells while NATS is away")
    synced = {pod.uid for pod in case.members_in(MemberState.SYNCED)}
    told = f"{len(synced)} of {_count(len(members), 'member')} synced"
    if len(synced) == len(members):
        return Verdict("True", "Synced", told)
    silent = case.members_in(MemberState.LOST)
    if lost := [pod.name for pod in silent if not pod.terminating]:
        return Verdict("False", "MembersLost", f"{told}; no answer from {_names(lost)}")
    if silent:
        leaving = _names([pod.name for pod in silent])
        return Verdict("False", SYNCING, f"{told}; no answer from {leaving}, being deleted", passes=True)
    waiting = [pod.name for pod in members if pod.uid not in synced]
    return Verdict("False", SYNCING, f"{told}; not yet: {_names(waiting)}", passes=True)


def _names_uncontended(case: Circumstances) -> Verdict:
    bus = case.observed.bus
    if not bus.connected:
        return Verdict("Unknown", "BusUnreachable", "Nobody tells while NATS is away")
    mailboxes = [pod.name for pod in case.selection.members if (one := case.report(pod)) and one.contended_mailboxes]
    if mailboxes:
        message = f"{_names(mailboxes)}: answers each count with its own. Set pollmailboxes=no in voicemail.conf"
        return Verdict("False", "MailboxContended", message)
    if bus.contended_names:
        message = f"Several servers announce {_names(bus.contended_names)}: let one do it, or exclude the name"
        return Verdict("False", "NameContended", message)
    return Verdict("True", "Uncontended", "No name is announced by several servers")


_RULES: dict[ConditionType, Callable[[Circumstances], Verdict]] = {
    ConditionType.AGENTS_READY: _agents_ready,
    ConditionType.BUS_REACHABLE: _bus_reachable,
    ConditionType.MEMBERS_SYNCED: _members_synced,
    ConditionType.MEMBERS_CONFIGURED: _members_configured,
    ConditionType.ENTITY_IDS_UNIQUE: _entity_ids_unique,
    ConditionType.NAMES_UNCONTENDED: _names_uncontended,
}


def conditions_from(
    verdicts: Mapping[ConditionType, Verdict], previous: Iterable[Condition], *, generation: int, now: datetime
) -> tuple[Condition, ...]:
    """Verdicts as conditions; the time of transition changes only when the status does."""
    before = {one.type: one for one in previous}
    result: list[Condition] = []
    for kind, verdict in verdicts.items():
        old = before.get(kind)
        same = old is not None and old.status == verdict.status
        result.append(
            Condition(
                type=kind.value,
                status=verdict.status,
                reason=verdict.reason,
                message=verdict.message,
                observed_generation=generation,
                last_transition_time=old.last_transition_time if same and old else _written(now),
            )
        )
    return tuple(result)


def notices(previous: Sequence[Condition], present: Sequence[Condition]) -> list[Notice]:
    """Events for what changed: what became false or is false for another reason, and what is mended.

    What is well with a new EventFederation is no news, but that it is ready. That it is no longer ready is told by the
    condition which is the cause. That members exchange their states is no fault: those that never come to an
    end of it are told as lost or not configured.
    """
    before = {one.type: one for one in previous}
    told: list[Notice] = []
    for one in present:
        if one.type == ConditionType.STALLED:
            # It repeats another condition.
            continue
        old = before.get(one.type)
        is_ready = one.type == ConditionType.READY
        if one.status == "True" and (old is None or old.status != "True"):
            if is_ready or (old is not None and old.status == "False" and one.reason not in {n.reason for n in told}):
                told.append(Notice("Normal", one.reason, one.message))
        elif one.status == "False" and not is_ready and not (old and (old.status, old.reason) == ("False", one.reason)):
            told.append(Notice("Normal" if one.reason == SYNCING else "Warning", one.reason, one.message))
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


def _fitting(verdict: Verdict) -> Verdict:
    return Verdict(verdict.status, verdict.reason, verdict.message[:_MAX_MESSAGE])
