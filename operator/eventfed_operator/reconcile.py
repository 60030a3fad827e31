"""What has to be done so that what there is becomes what an EventFederation asks for.

`reconcile` is pure and idempotent: it looks at no history, so that every trigger and a resync may call it. Once its
actions are carried out and observed, it has nothing more to say.
"""

from collections.abc import Iterator, Mapping

from eventfed.wire.roster import Roster

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
from .agent_configuration import NO_NATS, agent_configuration, referenced_secrets
from .builders import (
    build_agent_secret,
    build_asterisk_secret,
    build_daemon_set,
    build_network_policy,
    build_service,
    build_service_account,
)
from .conditions import ReconcileContext, kubernetes_events
from .crd.resource import DeletionPolicy
from .drift import is_foreign, matches, stamped
from .resources import FINALIZER, Resource, Settings
from .rosters import changed_rosters, roster_rules, select_members, wanted_rosters
from .snapshot import ObjectKey, Snapshot
from .statuses import build_status, differs, recorded_address, service_address
from .streams import stream_differs, stream_owner, wanted_stream
from .tokens import next_tokens

__all__ = ["reconcile", "reconcile_context"]

_WITHDRAWAL_LOOK = 1.0


def reconcile(resource: Resource, settings: Settings, observed: Snapshot) -> tuple[Action, ...]:
    """The actions that are due, in their order; empty when all is as it should be."""
    context = reconcile_context(resource, settings, observed)
    if resource.deleted is not None:
        return tuple(_withdraw(context))
    actions: list[Action] = []
    if FINALIZER not in resource.finalizers:
        actions.append(AddFinalizer())
    if context.obstacle is None:
        if not resource.spec.paused:
            actions += _objects(context)
            actions += _stream(context)
        actions += _rosters(
            context, wanted_rosters(resource, context.selection.members, observed.agents, _rules(context))
        )
    status = build_status(context)
    if differs(resource.status, status):
        actions.append(WriteStatus(status))
    actions += [EmitEvent(notice) for notice in kubernetes_events(resource.status.conditions, status.conditions)]
    return tuple(actions)


def reconcile_context(resource: Resource, settings: Settings, observed: Snapshot) -> ReconcileContext:
    """What reconciling and judging rest on."""
    obstacle: tuple[str, str] | None = None
    if not resource.is_allowed(settings):
        obstacle = (
            "FederationNotAllowed",
            f"Federation {resource.federation} is not of namespace {resource.namespace}: name it "
            f"{resource.namespace}_..., or have who runs the operator add it to allowFederations",
        )
    elif resource.spec.nats.servers is None and settings.nats is None:
        obstacle = ("NoNats", NO_NATS)
    missing: list[str] = []
    for name, keys in referenced_secrets(resource.spec.nats).items():
        secret = observed.secrets.get(name)
        if secret is None:
            missing.append(f"Secret {name}")
        else:
            missing += [f"key {key} of Secret {name}" for key in sorted(keys - (secret.get("data") or {}).keys())]
    names = {
        *(ObjectKey(kind, resource.agent_name) for kind in _AGENT_KINDS),
        ObjectKey("Secret", resource.asterisk_name),
    }
    foreign = sorted(
        (key for key in names if key in observed.objects and is_foreign(observed.objects[key], resource)),
        key=lambda key: (key.kind, key.name),
    )
    return ReconcileContext(
        resource=resource,
        settings=settings,
        observed=observed,
        selection=select_members(resource, observed.pods, observed.rivals),
        obstacle=obstacle,
        missing_secrets=tuple(missing),
        foreign=tuple(foreign),
    )


_AGENT_KINDS = ("ServiceAccount", "NetworkPolicy", "Secret", "Service", "DaemonSet")


def _objects(context: ReconcileContext) -> Iterator[Action]:
    """What belongs to the EventFederation and is not as it should be; nothing while one of our names is taken."""
    if context.foreign:
        return
    resource, settings, observed = context.resource, context.settings, context.observed
    service = observed.objects.get(ObjectKey("Service", resource.agent_name))
    actual, address = service_address(context), recorded_address(resource.status)
    if address == observed.address_refused:
        address = None
    if service is not None and address is not None and actual != address:
        # Somebody replaced it. Its address cannot be changed, and members have the old one in their snippets.
        yield Delete(ObjectKey("Service", resource.agent_name), service["metadata"]["uid"])
        service = None
    tokens = next_tokens(
        observed.objects.get(ObjectKey("Secret", resource.agent_name)),
        observed.objects.get(ObjectKey("Secret", resource.asterisk_name)),
        rotation=resource.rotation,
        fresh=observed.fresh_token,
        all_have_current=_all_have_current(context),
    )
    configuration = agent_configuration(resource, settings, tokens, _versions(observed))
    wanted = [
        build_service_account(resource),
        build_network_policy(resource, settings),
        build_agent_secret(resource, tokens, configuration),
        build_service(resource, address or (actual if service is not None else None)),
    ]
    told = address or actual
    if told is not None:
        wanted.append(build_asterisk_secret(resource, told, tokens))
    if not context.missing_secrets:
        # Agents that run have the Secrets as they were; new ones could not start.
        wanted.append(build_daemon_set(resource, settings, configuration))
    for manifest in map(stamped, wanted):
        key = ObjectKey(manifest["kind"], manifest["metadata"]["name"])
        present = service if key.kind == "Service" else observed.objects.get(key)
        if present is None or not matches(present, manifest):
            yield Apply(manifest)


def _all_have_current(context: ReconcileContext) -> bool:
    """Whether a rotation has come to its end: every member was seen to take the current token."""
    reports = [context.report(pod) for pod in context.selection.members]
    return bool(reports) and all(one is not None and one.accepts_current for one in reports)


def _versions(observed: Snapshot) -> Mapping[str, str | None]:
    return {
        name: None if secret is None else secret["metadata"].get("resourceVersion")
        for name, secret in observed.secrets.items()
    }


def _stream(context: ReconcileContext) -> Iterator[Action]:
    bus, wanted = context.observed.bus, wanted_stream(context.resource)
    if not bus.connected or context.missing_secrets:
        return
    if bus.stream is None:
        yield EnsureStream(wanted, exists=False)
    elif _owns_stream(context) and stream_differs(bus.stream.configuration, wanted):
        yield EnsureStream(wanted, exists=True)


def _owns_stream(context: ReconcileContext) -> bool:
    stream = context.observed.bus.stream
    return stream is not None and stream.owner == stream_owner(context.resource)


def _rules(context: ReconcileContext) -> str:
    return roster_rules(context.resource, context.observed.bus.rosters.values())


def _rosters(context: ReconcileContext, wanted: Mapping[str, Roster]) -> Iterator[Action]:
    """Rosters to write: only on a stream that is ours, or that somebody made by hand and nobody else has."""
    bus = context.observed.bus
    if bus.connected and bus.stream is not None and bus.stream.owner in ("", stream_owner(context.resource)):
        for node, roster in changed_rosters(wanted, bus.rosters).items():
            yield PublishRoster(node, roster)


def _withdraw(context: ReconcileContext) -> Iterator[Action]:
    """Empty rosters, so that agents withdraw; when they have, or after some time in any case, let go."""
    resource, observed = context.resource, context.observed
    if FINALIZER not in resource.finalizers or resource.deleted is None:
        return
    # Of one that was deleted while no operator ran, the withdrawal begins now.
    waited = (observed.now - max(resource.deleted, observed.since or resource.deleted)).total_seconds()
    concerns_us = context.obstacle is None and (observed.bus.stream is None or _owns_stream(context))
    if concerns_us and waited < context.settings.withdrawal:
        nodes = {agent.node for agent in observed.agents if agent.node}
        yield from _rosters(context, {node: Roster(node, rules=_rules(context)) for node in sorted(nodes)})
        withdrawn = observed.bus.connected and observed.bus.stream is not None and not observed.bus.leases
        if not withdrawn and (observed.agents or not observed.bus.connected):
            yield Requeue(_WITHDRAWAL_LOOK)
            return
    if resource.spec.deletion_policy is DeletionPolicy.DELETE and observed.bus.connected and _owns_stream(context):
        yield DeleteStream(resource.subjects.stream, last_try=waited >= context.settings.withdrawal)
    yield RemoveFinalizer()
