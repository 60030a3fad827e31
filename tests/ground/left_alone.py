"""What a federation does while nobody does anything with it: counted in the agents and on NATS."""

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

__all__ = ["AGENT_COUNTERS", "BusTraffic", "bus_traffic", "counted", "follow", "sum_samples"]

AGENT_COUNTERS = {
    "dumps": ("eventfed_member_dumps_total", ""),
    "dumps asked for": ("eventfed_member_dump_reasons_total", ""),
    "injections": ("eventfed_member_injected_total", ""),
    "restarts": ("eventfed_member_restarts_total", ""),
    "gaps": ("eventfed_member_gaps_total", ""),
    "possible intrusions": ("eventfed_member_possible_intrusions_total", ""),
    "states heard": ("eventfed_member_heard_total", ""),
    "replays of the stream": ("eventfed_bus_total", 'name="replays"'),
    "sessions with NATS": ("eventfed_bus_total", 'name="sessions"'),
    "renewals of states": ("eventfed_bus_total", 'name="renewed"'),
    "publications prolonged": ("eventfed_sip_total", 'name="requests"'),
}
"""What is counted → the agent's metric, and a label that its sample carries."""


def sum_samples(metrics: str, name: str, label: str = "") -> float:
    """The sum of a metric's samples in an exposition text."""
    total = 0.0
    for line in metrics.splitlines():
        sample, _, value = line.rpartition(" ")
        if sample.partition("{")[0] == name and label in sample:
            total += float(value)
    return total


def counted(metrics: Iterable[str]) -> Counter[str]:
    """The counters of several agents together, from their exposition texts."""
    total: Counter[str] = Counter()
    for text in metrics:
        for what, (name, label) in AGENT_COUNTERS.items():
            total[what] += int(sum_samples(text, name, label))
    return total


@dataclass(slots=True)
class BusTraffic:
    """Messages of a federation, by kind: the fourth token of their subjects (``docs/wire.md``)."""

    kinds: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    """Kind → the last subject of it."""

    def beside(self, *kinds: str) -> Mapping[str, int]:
        """Those of all other kinds."""
        return {kind: number for kind, number in self.kinds.items() if kind not in kinds}

    async def take(self, message: Msg) -> None:
        kind = message.subject.split(".")[3]
        self.kinds[kind] += 1
        self.examples[kind] = message.subject


async def follow(client: Client, subjects: Iterable[str]) -> BusTraffic:
    """Count what comes on subjects from now on, while the client is connected."""
    traffic = BusTraffic()
    for subject in subjects:
        await client.subscribe(subject, cb=traffic.take)
    await client.flush()
    return traffic


@asynccontextmanager
async def bus_traffic(url: str) -> AsyncIterator[BusTraffic]:
    """What crosses a NATS server on subjects of eventfed while the context is open."""
    client = await nats.connect(url)
    try:
        yield await follow(client, ["eventfed.>"])
    finally:
        await client.close()
