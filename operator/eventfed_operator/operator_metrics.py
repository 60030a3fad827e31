"""What Prometheus sees of the operator."""

import platform
from collections.abc import Callable, Iterator
from importlib.metadata import version

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from .manager import Manager

__all__ = ["METRICS", "render_metrics"]

METRICS = {
    "eventfed_operator_leader": "1 in the operator that acts, 0 in those that wait for the Lease",
    "eventfed_operator_watch_lag_seconds": "For how long the watch has not told of a change that a list shows",
    "eventfed_operator_federations": "EventFederations that are looked after",
    "eventfed_operator_oldest_look_seconds": "How long ago the EventFederation that waits longest was looked at",
    "eventfed_operator_rounds_total": "Times that an EventFederation was looked at",
    "eventfed_operator_failures_total": "Times that the API server, NATS or we failed at it; it is tried again",
    "eventfed_operator_actions_total": "What was done, by action",
    "eventfed_federation_condition": "1 for the status that a condition of an EventFederation has, 0 for the others",
    "eventfed_stream_messages": "Messages in the stream of an EventFederation",
    "eventfed_stream_bytes": "How large the stream of an EventFederation is, in bytes",
    "eventfed_stream_limit_bytes": "How large it may be, in bytes; absent where spec.nats.stream.maxBytes is",
    "eventfed_build_info": "1; the labels say which version runs, on which Python",
}
"""Every metric and its help text; those of the process (`process_...`) are prometheus-client's own."""

_OF_A_FEDERATION = ("resource_namespace", "resource")
"""Labels. `namespace` would be overwritten by the scrape with the operator's own."""
_VERSION = version("eventfed")
_STATUSES = ("True", "False", "Unknown")


class _OperatorCollector(Collector):
    def __init__(self, supervisor: Manager, clock: Callable[[], float]) -> None:
        self._supervisor = supervisor
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        now = self._clock()
        health = self._supervisor.health
        yield _gauge("eventfed_operator_leader", health.leading)
        yield _gauge("eventfed_operator_watch_lag_seconds", health.watches.standing(now))
        reconcilers, counters = self._supervisor.reconcilers.values(), self._supervisor.counters
        yield _gauge("eventfed_operator_federations", len(reconcilers))
        oldest = max((now - reconciler.seen.at for reconciler in reconcilers), default=0.0)
        yield _gauge("eventfed_operator_oldest_look_seconds", oldest)
        yield _counter("eventfed_operator_rounds_total", counters.rounds)
        yield _counter("eventfed_operator_failures_total", counters.failures)
        name = "eventfed_operator_actions_total"
        actions = CounterMetricFamily(name, METRICS[name], labels=["action"])
        for action, count in counters.actions.items():
            actions.add_metric([action], float(count))
        yield actions
        yield from self._federations()
        yield build_info()

    def _federations(self) -> Iterator[Metric]:
        name = "eventfed_federation_condition"
        conditions = GaugeMetricFamily(name, METRICS[name], labels=[*_OF_A_FEDERATION, "type", "status"])
        messages, size, limit = (
            GaugeMetricFamily(name, METRICS[name], labels=_OF_A_FEDERATION)
            for name in ("eventfed_stream_messages", "eventfed_stream_bytes", "eventfed_stream_limit_bytes")
        )
        for key, reconciler in self._supervisor.reconcilers.items():
            for one in reconciler.seen.status.conditions if reconciler.seen.status is not None else ():
                for status in _STATUSES:
                    conditions.add_metric([*key, one.type, status], float(one.status == status))
            if reconciler.seen.stream is not None:
                messages.add_metric(key, float(reconciler.seen.stream.messages))
                size.add_metric(key, float(reconciler.seen.stream.bytes))
                most = reconciler.seen.stream.configuration.get("max_bytes", -1)
                if most > 0:
                    limit.add_metric(key, float(most))
        yield from (conditions, messages, size, limit)


def build_info() -> Metric:
    """Which version runs."""
    name = "eventfed_build_info"
    info = GaugeMetricFamily(name, METRICS[name], labels=["version", "python"])
    info.add_metric([_VERSION, platform.python_version()], 1.0)
    return info


def _gauge(name: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, METRICS[name], value=float(value))


def _counter(name: str, value: int) -> CounterMetricFamily:
    return CounterMetricFamily(name, METRICS[name], value=float(value))


def render_metrics(supervisor: Manager, clock: Callable[[], float]) -> bytes:
    """The exposition text; an operator that waits for the Lease has one as well."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_OperatorCollector(supervisor, clock))
    ProcessCollector(registry=registry)
    return generate_latest(registry)
