"""What Prometheus sees of an agent; ``docs/operations.md`` lists it from here."""

import asyncio
import dataclasses
import platform
from collections.abc import Callable, Iterator
from importlib.metadata import version

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from eventfed.core.troubles import Trouble
from eventfed.wire.report import MemberState

from ..agent import Agent
from ..latencies import BOUNDS
from ..members.member import Member
from ..pjsip.switchboard import Switchboard

__all__ = ["METRICS", "AgentCollector", "render_metrics"]

METRICS = {
    "eventfed_member_state": "1 for the state the member is in, 0 for the others",
    "eventfed_member_heard_total": "States that the member published",
    "eventfed_member_published_total": "States of the member that went to the bus",
    "eventfed_member_ignored_total": "States of the member that did not cross, by reason",
    "eventfed_member_refused_total": "PUBLISH requests of the member answered 403, by reason",
    "eventfed_member_gaps_total": "Times the member's own numbering showed a lost PUBLISH",
    "eventfed_member_restarts_total": "Times the member restarted",
    "eventfed_member_dumps_total": "Dumps of all its states that the member completed",
    "eventfed_member_dump_reasons_total": "Why dumps were asked for",
    "eventfed_member_injected_total": "States put into the member",
    "eventfed_member_coalesced_total": "Injections that a newer value of the same name made needless",
    "eventfed_member_injection_failures_total": "Injections that failed, by SIP status or silence; tried again",
    "eventfed_member_injections_given_up_total": "Injections dropped because the member cannot read them",
    "eventfed_member_injections_unbuildable_total": "Injections dropped because no message can be made of a state",
    "eventfed_member_events_dropped_total": "Events without a last value that the member could not be given at once",
    "eventfed_member_possible_intrusions_total": "Our publications that the member lost without a restart",
    "eventfed_member_backlog": "Names that wait to be put into the member",
    "eventfed_member_contended_mailboxes": "Mailboxes the member overwrites after each injection (pollmailboxes=yes)",
    "eventfed_delivery_seconds": "From the origin's agent to the receiving server, by the two hosts' clocks",
    "eventfed_bus_connected": "1 while NATS is connected",
    "eventfed_bus_synced": "1 once all states have been replayed",
    "eventfed_bus_problem": "1 for each kind of thing that NATS does not do for this agent at present",
    "eventfed_bus_waiting": "Publications that NATS has not taken yet",
    "eventfed_bus_total": "What the federation client counted, by name",
    "eventfed_states": "States in the agent's view of the federation",
    "eventfed_leases": "Members of the whole federation that hold a lease",
    "eventfed_contended_names": "Custom: and Stasis: devices that more than one live server announces",
    "eventfed_cut_names": "Devices whose name has 79 bytes, where Asterisk cuts longer names",
    "eventfed_sip_total": "What the SIP user agent counted, by name",
    "eventfed_unknown_sources_total": "Requests from addresses that no member has",
    "eventfed_requests_without_roster_total": "Requests left unanswered because no roster has come yet",
    "eventfed_malformed_payloads_total": "PUBLISH bodies that no Asterisk sends",
    "eventfed_mailbox_answers_waiting": "Mailbox counts that servers keep until NATS has them",
    "eventfed_mailbox_answers_early_total": "Mailbox counts taken although NATS did not have them in time",
    "eventfed_member_failures_total": "Times a member's task failed and was started again",
    "eventfed_tasks": "Tasks of the agent's event loop; a number that only grows is a bug",
    "eventfed_warnings_total": "Warnings by name; each is logged once per source",
    "eventfed_build_info": "1; the labels say which version runs, on which Python",
}
"""Every metric and its help text; those of the process (`process_...`) are prometheus-client's own."""

_VERSION = version("eventfed")


class AgentCollector(Collector):
    """Reads the agent's own counters when it is asked; nothing is counted twice."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def collect(self) -> Iterator[Metric]:
        yield from self._members()
        yield from self._bus()
        agent = self._agent
        for factory in agent.adapters.values():
            if isinstance(factory, Switchboard):
                yield from self._sip(factory)
        yield _plain_counter("eventfed_member_failures_total", agent.membership.failures)
        yield _gauge("eventfed_tasks", len(asyncio.all_tasks()))
        yield _counter("eventfed_warnings_total", "name", dict(agent.event_log.warnings))
        info = GaugeMetricFamily("eventfed_build_info", METRICS["eventfed_build_info"], labels=["version", "python"])
        info.add_metric([_VERSION, platform.python_version()], 1.0)
        yield info
        latencies, total, buckets = agent.latencies, 0, []
        for bound, count in zip([*map(str, BOUNDS), "+Inf"], latencies.buckets, strict=True):
            total += count
            buckets.append((bound, float(total)))
        name = "eventfed_delivery_seconds"
        yield HistogramMetricFamily(name, METRICS[name], buckets=buckets, sum_value=latencies.sum)

    def _sip(self, switchboard: Switchboard) -> Iterator[Metric]:
        yield _counter("eventfed_sip_total", "name", dataclasses.asdict(switchboard.user_agent.counters))
        yield _plain_counter("eventfed_unknown_sources_total", switchboard.unknown_sources)
        yield _plain_counter("eventfed_requests_without_roster_total", switchboard.requests_without_roster)
        yield _plain_counter("eventfed_malformed_payloads_total", switchboard.malformed_payloads)
        yield _gauge("eventfed_mailbox_answers_waiting", len(switchboard.mailbox_answers))
        yield _plain_counter("eventfed_mailbox_answers_early_total", switchboard.mailbox_answers.given_early)

    def _bus(self) -> Iterator[Metric]:
        federation = self._agent.federation
        yield _gauge("eventfed_bus_connected", federation.connected)
        yield _gauge("eventfed_bus_synced", federation.synced)
        troubles = federation.health.troubles
        kinds = GaugeMetricFamily("eventfed_bus_problem", METRICS["eventfed_bus_problem"], labels=["kind"])
        for kind in Trouble:
            kinds.add_metric([kind.value], float(kind in troubles))
        yield kinds
        yield _gauge("eventfed_bus_waiting", federation.health.backlog)
        yield _counter("eventfed_bus_total", "name", dataclasses.asdict(federation.counters))
        yield _gauge("eventfed_states", len(federation.view.states))
        yield _gauge("eventfed_leases", len(federation.view.leases))
        names = self._agent.names
        names.look()
        yield _gauge("eventfed_contended_names", len(names.contended()))
        yield _gauge("eventfed_cut_names", names.cut_count)

    def _members(self) -> Iterator[Metric]:
        members = list(self._agent.members.values())
        states = GaugeMetricFamily(
            "eventfed_member_state", METRICS["eventfed_member_state"], labels=["member", "state"]
        )
        for member in members:
            for state in MemberState:
                states.add_metric([member.name, state.value], float(member.state is state))
        yield states
        for name, read in _MEMBER_COUNTERS.items():
            family = CounterMetricFamily(name, METRICS[name], labels=["member"])
            for member in members:
                family.add_metric([member.name], float(read(member)))
            yield family
        for name, label, read_all in (
            ("eventfed_member_ignored_total", "reason", _ignored),
            ("eventfed_member_refused_total", "reason", _refused),
            ("eventfed_member_dump_reasons_total", "reason", lambda member: member.dumps.reasons),
            ("eventfed_member_injection_failures_total", "status", lambda member: member.counters.failures),
        ):
            family = CounterMetricFamily(name, METRICS[name], labels=["member", label])
            for member in members:
                for value, count in read_all(member).items():
                    family.add_metric([member.name, value], float(count))
            yield family
        backlog = GaugeMetricFamily("eventfed_member_backlog", METRICS["eventfed_member_backlog"], labels=["member"])
        contended = GaugeMetricFamily(
            "eventfed_member_contended_mailboxes", METRICS["eventfed_member_contended_mailboxes"], labels=["member"]
        )
        for member in members:
            backlog.add_metric([member.name], float(member.injector.backlog if member.injector else 0))
            contended.add_metric([member.name], float(len(member.contended)))
        yield backlog
        yield contended


def _ignored(member: Member) -> dict[str, int]:
    counters = member.counters
    return {"filtered": counters.filtered, "not_cachable": counters.not_cachable}


def _refused(member: Member) -> dict[str, int]:
    return {"duplicate_eid": member.counters.refused, "foreign_eid": member.counters.foreign}


def _injection(name: str) -> Callable[[Member], int]:
    return lambda member: getattr(member.injector.counters, name) if member.injector else 0


_MEMBER_COUNTERS: dict[str, Callable[[Member], int]] = {
    "eventfed_member_heard_total": lambda member: member.counters.heard,
    "eventfed_member_published_total": lambda member: member.counters.published,
    "eventfed_member_gaps_total": lambda member: member.counters.gaps,
    "eventfed_member_restarts_total": lambda member: member.counters.restarts,
    "eventfed_member_dumps_total": lambda member: member.dumps.completed,
    "eventfed_member_injected_total": _injection("injected"),
    "eventfed_member_coalesced_total": _injection("coalesced"),
    "eventfed_member_injections_given_up_total": _injection("given_up"),
    "eventfed_member_injections_unbuildable_total": _injection("unbuildable"),
    "eventfed_member_events_dropped_total": _injection("events_dropped"),
    "eventfed_member_possible_intrusions_total": lambda member: member.intrusions.confirmed,
}


def _gauge(name: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, METRICS[name], value=float(value))


def _plain_counter(name: str, value: int) -> CounterMetricFamily:
    return CounterMetricFamily(name, METRICS[name], value=float(value))


def _counter(name: str, label: str, values: dict[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, METRICS[name], labels=[label])
    for value, count in values.items():
        family.add_metric([value], float(count))
    return family


def render_metrics(agent: Agent) -> bytes:
    """The exposition text of one agent."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(AgentCollector(agent))
    ProcessCollector(registry=registry)
    return generate_latest(registry)
