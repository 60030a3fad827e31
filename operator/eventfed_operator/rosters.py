"""From the pods of a namespace to the rosters of its nodes."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from eventfed.wire.roster import MAX_ROSTER, MAX_RULES, Roster, RosterMember

from .agent_configuration import live_sections
from .crd.resource import Protocol
from .resources import Resource
from .snapshot import AgentPod, Pod, Rival

__all__ = ["MemberSelection", "changed_rosters", "roster_rules", "select_members", "wanted_rosters"]


@dataclass(frozen=True, slots=True)
class MemberSelection:
    """The selected pods, sorted out.

    Args:
        members: they run, or are about to; some may have no address yet.
        contended: pods that an older federation has, with its name.
        without_port: members whose containers declare ports, but not the one where Asterisk should be.
    """

    members: tuple[Pod, ...] = ()
    contended: tuple[tuple[Pod, str], ...] = ()
    without_port: tuple[Pod, ...] = ()


def select_members(resource: Resource, pods: Iterable[Pod], rivals: Iterable[Rival]) -> MemberSelection:
    """Sort out the pods that the selector selects; of two federations, the older has a pod (then: the lower name)."""
    mine = (resource.created, resource.name)
    older = sorted(
        (one for one in rivals if one.uid != resource.uid and (one.created, one.name) < mine),
        key=lambda one: (one.created, one.name),
    )
    members: list[Pod] = []
    contended: list[tuple[Pod, str]] = []
    for pod in sorted(pods, key=lambda pod: (pod.name, pod.uid)):
        if pod.ended or not resource.spec.members.selector.selects(pod.labels):
            continue
        owner = next((one.name for one in older if one.members.selector.selects(pod.labels)), None)
        if owner is None:
            members.append(pod)
        else:
            contended.append((pod, owner))
    wanted = (resource.spec.members.port, resource.spec.members.transport.value)
    without_port = tuple(pod for pod in members if pod.ports and wanted not in pod.ports)
    return MemberSelection(tuple(members), tuple(contended), without_port)


def roster_rules(resource: Resource, present: Iterable[Roster]) -> str:
    """What rosters say beside members: so filters count within a second, where the kubelet takes up to a minute to
    bring them in the agents' file. It does, if they are too long for a roster.

    Args:
        present: the rosters as they are; a paused EventFederation keeps their rules.
    """
    if resource.spec.paused:
        return next((one.rules for one in present if one.rules), "")
    rules = json.dumps(live_sections(resource.spec), sort_keys=True, ensure_ascii=False)
    return rules if len(rules.encode()) <= MAX_RULES else ""


def wanted_rosters(
    resource: Resource, members: Iterable[Pod], agents: Iterable[AgentPod], rules: str = ""
) -> dict[str, Roster]:
    """The roster of each node that has a member or an agent: an agent without a roster answers nobody.

    A pod is on it from its address until it is gone, ready or not: an agent must know whom it hears, and a server that
    has been told to end may have calls for a while.
    """
    port = resource.spec.members.port
    transport: Literal["udp", "tcp"] = "udp" if resource.spec.members.transport is Protocol.UDP else "tcp"
    by_node: dict[str, list[RosterMember]] = {agent.node: [] for agent in agents if agent.node}
    for pod in members:
        if pod.node and pod.address:
            one = RosterMember(pod.name, pod.uid, pod.address, port, transport, leaving=pod.terminating)
            by_node.setdefault(pod.node, []).append(one)
    return {
        node: Roster(node, tuple(sorted(some, key=lambda one: (one.name, one.uid))[:MAX_ROSTER]), rules)
        for node, some in sorted(by_node.items())
    }


def changed_rosters(wanted: Mapping[str, Roster], present: Mapping[str, Roster]) -> dict[str, Roster | None]:
    """What has to be written, by node; None where the roster of a node without members and agent has to go."""
    changed: dict[str, Roster | None] = {node: roster for node, roster in wanted.items() if present.get(node) != roster}
    return changed | {node: None for node in present if node not in wanted}
