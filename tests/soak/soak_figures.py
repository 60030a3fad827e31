"""What is read of the federation at one moment."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

from eventfed.model.device_kinds import PROBE_PREFIX
from eventfed_lab import AgentProcess, AmiEvents, Pbx, ProcessFigures, Subscription, process_figures
from soak_bus import ASKED_FOR, BusCount
from soak_federation import Load

__all__ = ["Counts", "Reading", "Watched"]

MEBIBYTE = 1 << 20

_FAULTS = (
    "eventfed_member_gaps_total",
    "eventfed_member_restarts_total",
    "eventfed_member_injection_failures_total",
    "eventfed_member_injections_given_up_total",
    "eventfed_member_possible_intrusions_total",
    "eventfed_member_refused_total",
    "eventfed_member_failures_total",
    "eventfed_malformed_payloads_total",
    "eventfed_unknown_sources_total",
    "eventfed_mailbox_answers_early_total",
    "eventfed_warnings_total",
)
_BUS_FAULTS = ("replays", "resets", "malformed", "refused", "unanswered", "corrected", "leases_lost", "stalls")


@dataclass(slots=True)
class Counts:
    """Numbers that only grow, summed up over the federation."""

    device_changes: int = 0
    mailbox_changes: int = 0
    asked: Counter[str] = field(default_factory=Counter)
    """Dumps that were asked for on some evidence, by reason. A sweep has none."""
    dumps: int = 0
    injected: Counter[str] = field(default_factory=Counter)
    """Server → states put into it."""
    bus: Counter[str] = field(default_factory=Counter)
    announced: int = 0
    """States that the servers told their own modules: DeviceStateChange and MessageWaiting of the AMI."""
    notified: int = 0
    """How often a lamp on any of the servers was told something (NOTIFY)."""
    faults: Counter[str] = field(default_factory=Counter)
    """The agents' counters of what must not happen."""

    def since(self, earlier: "Counts") -> "Counts":
        """The difference. A number that has fallen, since something was begun again, stays negative."""
        result = Counts(
            self.device_changes - earlier.device_changes,
            self.mailbox_changes - earlier.mailbox_changes,
            dumps=self.dumps - earlier.dumps,
            announced=self.announced - earlier.announced,
            notified=self.notified - earlier.notified,
        )
        for name in ("asked", "injected", "bus", "faults"):
            now, before, into = getattr(self, name), getattr(earlier, name), getattr(result, name)
            into.update({key: now[key] - before[key] for key in now | before if now[key] != before[key]})
        return result


@dataclass(frozen=True, slots=True)
class Reading:
    """The federation at one moment."""

    at: float
    """Seconds of the event loop's clock."""
    counts: Counts
    processes: dict[str, ProcessFigures]
    tasks: dict[str, int]
    """Agent → tasks of its event loop."""
    seen: tuple[str, ...] = ()
    """The last things since the last reading that only a change brings about, in words."""


class Watched:
    """A federation that runs, and all that is read of it.

    Args:
        events: of each server's AMI, DeviceStateChange and MessageWaiting.
        lamps: a subscription to `LAMP` on each server.
    """

    def __init__(self, pbx: Pbx, load: Load, bus: BusCount, events: list[AmiEvents], lamps: list[Subscription]) -> None:
        self._pbx = pbx
        self._load = load
        self._bus = bus
        self._events = events
        self._lamps = lamps
        self._announced = 0

    async def read(self) -> Reading:
        """What there is now. Agents are read before the bus, so that no injection is known before its cause."""
        counts = Counts()
        agents = dict(
            zip(self._pbx.agents, await asyncio.gather(*map(_metrics, self._pbx.agents.values())), strict=True)
        )
        tasks = {f"agent {name}": int(metrics["eventfed_tasks", ""]) for name, metrics in agents.items()}
        for server, metrics in agents.items():
            for (name, label), value in metrics.items():
                _take(counts, server, name, label, int(value))
        # The probe that ends a dump is announced too; whether a dump was asked for, the dumps tell.
        announced = [
            message
            for events in self._events
            for _, message in events.drain()
            if not message["Device"].startswith(PROBE_PREFIX)
        ]
        self._announced += len(announced)
        counts.announced = self._announced
        seen = [f"announced {message['Device'] or message['Mailbox']}" for message in announced[-3:]]
        seen += [f"on the bus {subject}" for kind, subject in self._bus.last.items() if kind in ASKED_FOR]
        self._bus.last.clear()
        counts.notified = sum(len(lamp.notifications) for lamp in self._lamps)
        counts.bus = self._bus.kinds.copy()
        counts.device_changes, counts.mailbox_changes = self._load.device_changes, self._load.mailbox_changes
        return Reading(asyncio.get_running_loop().time(), counts, self._processes(), tasks, tuple(seen))

    def _processes(self) -> dict[str, ProcessFigures]:
        pids = {f"agent {name}": agent.process.pid for name, agent in self._pbx.agents.items()}
        pids |= {f"Asterisk {server.name}": server.pid for server in self._load.servers}
        return {name: process_figures(pid) for name, pid in (pids | {"nats-server": self._pbx.nats.pid}).items()}


async def _metrics(agent: AgentProcess) -> dict[tuple[str, str], float]:
    """(metric, its label beside the member) → value, summed up over members."""
    values: dict[tuple[str, str], float] = {}
    for family in text_string_to_metric_families(await agent.get("/metrics")):
        for sample in family.samples:
            label = ",".join(value for name, value in sample.labels.items() if name != "member")
            values[sample.name, label] = values.get((sample.name, label), 0.0) + sample.value
    return values


def _take(counts: Counts, server: str, name: str, label: str, value: int) -> None:
    if name == "eventfed_member_dumps_total":
        counts.dumps += value
    elif name == "eventfed_member_dump_reasons_total":
        counts.asked[label] += value
    elif name == "eventfed_member_injected_total":
        counts.injected[server] += value
    elif name in _FAULTS or (name == "eventfed_bus_total" and label in _BUS_FAULTS):
        counts.faults[f"{name} {label}".strip()] += value
