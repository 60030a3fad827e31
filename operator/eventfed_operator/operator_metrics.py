"""What Prometheus sees of the operator."""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from .manager import Supervisor

__all__ = ["METRICS", "render_metrics"]

METRICS = {
    "eventfed_operator_leader": "1 in the operator that acts, 0 in those that wait for the Lease",
    "eventfed_operator_watch_lag_seconds": "For how long the watch has not told of a change that a list shows",
    "eventfed_operator_federations": "EventFederations that are looked after",
    "eventfed_operator_oldest_look_seconds": "How long ago the EventFederation that waits longest was looked at",
    "eventfed_operator_rounds_total": "Times that an EventFederation was looked at",
    "eventfed_operator_failures_total": "Times that the API server, NATS or we failed at it; it is tried again",
    "eventfed_operator_actions_total": "What was done, by action",
}
"""Every metric and its help text."""


class _OperatorCollector(Collector):
    def __init__(self, supervisor: Supervisor, clock: Callable[[], float]) -> None:
        self._supervisor = supervisor
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        now = self._clock()
        health = self._supervisor.health
        yield _gauge("eventfed_operator_leader", health.leading)
        yield _gauge("eventfed_operator_watch_lag_seconds", health.watches.standing(now))
        keepers, counters = self._supervisor.keepers.values(), self._supervisor.counters
        yield _gauge("eventfed_operator_federations", len(keepers))
        oldest = max((now - keeper.looked_at for keeper in keepers), default=0.0)
        yield _gauge("eventfed_operator_oldest_look_seconds", oldest)
        yield _counter("eventfed_operator_rounds_total", counters.rounds)
        yield _counter("eventfed_operator_failures_total", counters.failures)
        name = "eventfed_operator_actions_total"
        actions = CounterMetricFamily(name, METRICS[name], labels=["action"])
        for action, count in counters.actions.items():
            actions.add_metric([action], float(count))
        yield actions


def _gauge(name: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, METRICS[name], value=float(value))


def _counter(name: str, value: int) -> CounterMetricFamily:
    return CounterMetricFamily(name, METRICS[name], value=float(value))


def render_metrics(supervisor: Supervisor, clock: Callable[[], float]) -> bytes:
    """The exposition text; an operator that waits for the Lease has one as well."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_OperatorCollector(supervisor, clock))
    return generate_latest(registry)
