"""All cores of one client, wired: what the bus tells them, and what the clock does. No I/O."""

import logging
from collections.abc import Callable, Sequence

from ..model.event import Event
from ..wire.report import AgentReport
from ..wire.subjects import ForgetSubject, RefreshSubject
from .bus import Interest
from .bus_health import BusHealth
from .callbacks import Callbacks
from .context import ClientContext
from .departures import Departures
from .intake import Intake
from .messages import Stored
from .outbox import Outbox
from .ownership import Ownership
from .reports import Reports
from .requests import Requests
from .rosters import Rosters
from .settings import FederationSettings
from .tombstones import apply_departures
from .troubles import Trouble
from .view import View

__all__ = ["Engine"]

_log = logging.getLogger("eventfed.federation")


class Engine:
    """One client of one federation without its bus. It is the `BusListener` of that bus.

    Args:
        send: sends a plain message; whether it could.
        soon: runs a callback a little later, once for many changes of the view. Who follows the view is called at once.
    """

    def __init__(
        self,
        context: ClientContext,
        *,
        send: Callable[[str, bytes], bool],
        soon: Callable[[Callable[[], None]], object] | None = None,
    ) -> None:
        settings, subjects = context.settings, context.subjects
        self.context = context
        self.view = View(tombstone_ttl=settings.tombstone_ttl, clock=context.clock, soon=soon)
        self.rosters = Rosters()
        self.reports = Reports(settings.report_lifetime, clock=context.clock)
        self.outbox = Outbox(
            window=settings.publish_window,
            deadline=settings.ack_deadline,
            pause=settings.retry_pause,
            pause_limit=settings.retry_pause_limit,
            counters=context.counters,
        )
        self.ownership = Ownership(context, self.view, self.outbox)
        self.health = BusHealth(subjects.stream, self.outbox, self.ownership, clock=context.clock)
        self.requests = Requests(subjects, send)
        self.on_event = Callbacks[Event]()
        self.on_idle: Callable[[], None] = lambda: None
        """Called when all that was published is on the stream."""
        self.interest = Interest(settings.read_states, settings.read_reports)
        self.synced = False
        """Whether the view has been complete once."""
        self._departures = Departures(settings, context.agent, clock=context.clock)
        self._intake = Intake(subjects, self.view, self.rosters, self.ownership, context.counters)

    def configure(self, settings: FederationSettings) -> None:
        """Other times of leases, states and departures; nothing is interrupted."""
        self.view.keep_tombstones(settings.tombstone_ttl)
        self.ownership.configure(settings)
        self._departures.configure(settings)

    # The clock

    def stood_still(self, seconds: float) -> bool:
        """This process did nothing for so long that others may have taken what it holds. Returns whether to read all
        again, since there was something to take."""
        self.context.counters.stalls += 1
        _log.warning("this process stood still for %.1f s: its leases are checked", seconds)
        self.reports.start_again()
        self._departures.start_again()
        return self.ownership.stalled()

    def tick(self) -> None:
        """Once every `FederationSettings.tick`."""
        counters, view = self.context.counters, self.view
        self.ownership.tick()
        self.health.look()
        view.forget_old_tombstones()
        self.reports.forget_old()
        counters.older, counters.lapsed = view.older, view.lapsed
        due = self._departures.step(view)
        apply_departures(due, self.outbox, self.context.subjects, view, self.context.settings, counters)

    # What the bus tells: see `BusListener`

    def answered(self) -> None:
        if self.ownership.idle:
            self.on_idle()

    def session_began(self) -> None:
        self.context.counters.sessions += 1
        self.reports.start_again()
        self.health.session_began()
        self.ownership.session_began()

    def session_ended(self) -> None:
        self.ownership.session_ended()
        self.view.interrupt()

    def connect_failed(self) -> None:
        self.context.counters.connect_failures += 1

    def trouble(self, kind: Trouble, reason: str) -> None:
        self.health.note(kind, reason)

    def replay_began(self, incarnation: str) -> None:
        counters = self.context.counters
        counters.replays += 1
        # Leases may have been renewed unheard while nothing was read: no grace goes on from before.
        self._departures.start_again()
        reset = self.view.begin_replay(incarnation)
        self.rosters.begin_replay(reset)
        if reset and self.view.incarnations > 1:
            counters.resets += 1
            stream = self.context.subjects.stream
            _log.warning("the stream %s is another one than before: publishing everything again", stream)
        self.ownership.replay_began(reset)

    def stored(self, message: Stored) -> None:
        self._intake.stored(message)
        self.view.tell_followers()

    def replay_ended(self) -> None:
        self.synced = True
        self.health.replay_ended()
        self.rosters.end_replay()
        self.view.end_replay()
        self._departures.start_again()
        # Last: what it publishes again rests on what the view now knows to be missing.
        self.ownership.replay_ended()

    def replay_broke(self, reason: str) -> None:
        _log.info("reading the stream again: %s", reason)
        self.view.interrupt()

    def stream_problem(self, reason: str) -> None:
        self.health.note(Trouble.STREAM, reason)
        self.view.interrupt()

    def stream_seen(self, faults: Sequence[str]) -> None:
        self.health.stream_seen(faults)

    def heard(self, subject: str, body: bytes) -> None:
        match self._intake.heard(subject, body, events=bool(self.on_event)):
            case Event() as event:
                self.on_event.call(event)
            case AgentReport() as report:
                self.reports.put(report)
            case RefreshSubject() | ForgetSubject() as request:
                self.requests.came(request)
