"""What agents reported lately. No I/O."""

from collections.abc import Callable

from ..wire.report import AgentReport
from .callbacks import Callbacks

__all__ = ["Reports"]

_MAX_AGENTS = 10_000


class Reports:
    """The last report of each agent, for as long as it counts. See `Federation.reports`.

    Args:
        lifetime: seconds after which a report that is not repeated counts no longer.
        clock: seconds, monotonic.
    """

    def __init__(self, lifetime: float, *, clock: Callable[[], float]) -> None:
        self._lifetime = lifetime
        self._clock = clock
        self._reports: dict[str, tuple[float, AgentReport]] = {}
        self._callbacks = Callbacks["Reports"]()

    def listen(self, callback: Callable[["Reports"], None]) -> Callable[[], None]:
        """Call `callback` after each report that says anything new, and when one lapses; the result ends that."""
        return self._callbacks.add(callback)

    def current(self) -> list[AgentReport]:
        """Those that count, the newest last."""
        return [report for _, report in sorted(self._reports.values(), key=lambda one: one[0])]

    def put(self, report: AgentReport) -> None:
        """A report came."""
        before = self._reports.get(report.agent)
        if before is None and len(self._reports) >= _MAX_AGENTS:
            return
        self._reports[report.agent] = (self._clock(), report)
        if before is None or before[1] != report:
            self._callbacks.call(self)

    def start_again(self) -> None:
        """None could be heard for a while: the connection is a new one, or this process stood still. That time does
        not count."""
        now = self._clock()
        self._reports = {agent: (now, report) for agent, (_, report) in self._reports.items()}

    def forget_old(self) -> None:
        """Drop those that lapsed."""
        until = self._clock() - self._lifetime
        old = [agent for agent, (at, _) in self._reports.items() if at < until]
        for agent in old:
            del self._reports[agent]
        if old:
            self._callbacks.call(self)
