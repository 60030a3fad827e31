"""What all cores of one client share. No I/O."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ..wire.subjects import Subjects
from .counters import FederationCounters
from .settings import FederationSettings

__all__ = ["ClientContext"]


@dataclass(slots=True)
class ClientContext:
    """Who a client is, what it counts, and its clocks.

    Args:
        agent: the name of the client.
        instance: tells two clients of that name apart, as leases do.
        subjects: of its federation.
        settings: as they are now; `Engine.configure` replaces them.
        counters: what happened so far.
        clock: seconds, monotonic.
        wall_clock: seconds since 1970.
    """

    agent: str
    instance: str
    subjects: Subjects
    settings: FederationSettings
    counters: FederationCounters = field(default_factory=FederationCounters)
    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time
