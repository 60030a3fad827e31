"""The status of an EventFederation: counts, conditions, and a few members by name."""

from collections.abc import Iterable
from datetime import datetime

from eventfed.wire.report import MemberState

from .agent_configuration import SIP_PORT
from .conditions import ConditionResult, ReconcileContext, conditions_from, judge, snippet_lines, stalled
from .crd.status import (
    MAX_NOTED_MEMBERS,
    AgentsStatus,
    ConditionType,
    EventFederationStatus,
    MembersStatus,
    NotedMember,
    StreamStatus,
)
from .snapshot import ObjectKey, Pod

__all__ = ["build_status", "differs", "invalid_status", "recorded_address", "service_address"]

_NOISE = 0.1
"""A stream's size is told again when it changed by this share: it changes all the time."""

_REASONS = {
    MemberState.DUPLICATE: "DuplicateEntityID",
    MemberState.NOT_CONFIGURED: "NotConfigured",
    MemberState.LOST: "Lost",
    MemberState.MOVED: "Moved",
    MemberState.CONNECTING: "Connecting",
    MemberState.SYNCING: "Syncing",
}


def build_status(context: ReconcileContext) -> EventFederationStatus:
    """The status as it should be now."""
    resource, observed = context.resource, context.observed
    previous = resource.status
    return EventFederationStatus(
        observed_generation=resource.generation,
        federation=resource.federation,
        conditions=conditions_from(
            judge(context), previous.conditions, generation=resource.generation, now=observed.now
        ),
        members=_members(context),
        agents=_agents(context),
        stream=_stream(context),
        noted_members=tuple(_noted(context))[:MAX_NOTED_MEMBERS],
    )


def invalid_status(
    previous: EventFederationStatus, *, generation: int, message: str, now: datetime
) -> EventFederationStatus:
    """The status of an EventFederation that cannot be acted on: what runs goes on as it was."""
    others = {
        ConditionType(one.type): ConditionResult(one.status, one.reason, one.message)
        for one in previous.conditions
        if one.type in set(ConditionType) - {ConditionType.READY, ConditionType.STALLED}
    }
    invalid = ConditionResult("False", "InvalidSpec", message[:1024])
    results = {ConditionType.READY: invalid, **others, ConditionType.STALLED: stalled([invalid])}
    conditions = conditions_from(results, previous.conditions, generation=generation, now=now)
    return previous.model_copy(update={"observed_generation": generation, "conditions": conditions})


def differs(present: EventFederationStatus, wanted: EventFederationStatus) -> bool:
    """Whether it is worth a write: a stream that grew a little is not."""
    if present.stream is not None and wanted.stream is not None:
        near = all(
            abs(new - old) <= _NOISE * max(old, 1)
            for old, new in (
                (present.stream.messages, wanted.stream.messages),
                (present.stream.bytes, wanted.stream.bytes),
            )
        )
        if near:
            wanted = wanted.model_copy(update={"stream": present.stream})
    return present != wanted


def service_address(context: ReconcileContext) -> str | None:
    """The clusterIP of the agents' Service, if there is one."""
    service = context.observed.objects.get(ObjectKey("Service", context.resource.agent_name))
    return (service.get("spec") or {}).get("clusterIP") if service is not None else None


def recorded_address(status: EventFederationStatus) -> str | None:
    """The clusterIP that members were told, so that a lost Service can be made again with it."""
    text = status.agents.address if status.agents is not None else ""
    return text.rpartition(":")[0].strip("[]") or None


def _members(context: ReconcileContext) -> MembersStatus:
    total, synced = len(context.selection.members), len(context.members_in(MemberState.SYNCED))
    return MembersStatus(
        summary=f"{synced}/{total}",
        total=total,
        synced=synced,
        not_configured=len(context.members_in(MemberState.NOT_CONFIGURED)),
        without_agent=len(context.without_agent),
        contended=len(context.selection.contended),
    )


def _agents(context: ReconcileContext) -> AgentsStatus:
    daemon_set = context.observed.objects.get(ObjectKey("DaemonSet", context.resource.agent_name))
    counts = (daemon_set.get("status") or {}) if daemon_set is not None else {}
    ready, desired = counts.get("numberReady", 0), counts.get("desiredNumberScheduled", 0)
    # What members were told stays on record while the Service is away.
    host = recorded_address(context.resource.status) or service_address(context)
    if host == context.observed.address_refused:
        host = service_address(context)
    netloc = "" if host is None else f"[{host}]:{SIP_PORT}" if ":" in host else f"{host}:{SIP_PORT}"
    return AgentsStatus(
        summary=f"{ready}/{desired}",
        desired=desired,
        ready=ready,
        updated=counts.get("updatedNumberScheduled", 0),
        address=netloc,
    )


def _stream(context: ReconcileContext) -> StreamStatus | None:
    stream = context.observed.bus.stream
    if stream is None:
        return None
    return StreamStatus(name=context.resource.subjects.stream, messages=stream.messages, bytes=stream.bytes)


def _noted(context: ReconcileContext) -> Iterable[NotedMember]:
    """Members that need attention, the gravest first, then by name."""
    for state, reason in _REASONS.items():
        for pod in context.members_in(state):
            report = context.report(pod)
            told = report.reason if report else ""
            if state is MemberState.NOT_CONFIGURED:
                told = f"{told}. {snippet_lines(context.resource)}" if told else snippet_lines(context.resource)
            yield _note(pod, reason, told)
    for pod, owner in context.selection.contended:
        yield _note(pod, "MemberContended", f"The older EventFederation {owner} has it")
    for pod in context.without_agent:
        if context.report(pod) is None:
            yield _note(pod, "NoAgent", f"There is no ready agent on {pod.node}")


def _note(pod: Pod, reason: str, message: str) -> NotedMember:
    return NotedMember(name=pod.name, node=pod.node, reason=reason, message=message[:1024])
