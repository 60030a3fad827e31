"""The client of a federation: publish, read, claim, watch."""

import asyncio
import contextlib
import functools
import logging
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager

from nats.aio.msg import Msg

from .core.bus_health import BusHealth
from .core.callbacks import Callbacks, call_soon
from .core.changes import Change
from .core.claims import Claim
from .core.counters import FederationCounters
from .core.departures import Departures
from .core.intake import Intake
from .core.messages import Stored
from .core.outbox import Outbox
from .core.ownership import Ownership
from .core.reports import Reports
from .core.requests import Requests
from .core.rosters import Rosters
from .core.settings import Credentials, CredentialsSource, FederationSettings
from .core.tombstones import bury
from .core.troubles import Trouble
from .core.view import View
from .core.watch import watch
from .jetstream.administration import Administration
from .jetstream.connection import Client
from .jetstream.link import Link
from .jetstream.publisher import Publisher
from .jetstream.reader import Reader
from .jetstream.stream import stream_configuration
from .jetstream.tasks import in_background
from .model.eid import EID
from .model.elements import EventType
from .model.event import Event, StateKey
from .wire.envelope import MAX_ENVELOPE, encode_envelope
from .wire.leases import Lease
from .wire.report import AgentReport, encode_report
from .wire.subjects import Subjects, check_agent

__all__ = ["Federation"]

_log = logging.getLogger("eventfed.federation")


class Federation:
    """One client of one federation. Make it by `Federation.connect`; use it in one event loop only.

    It goes on trying while NATS is away, lost its store, or hangs: see `connected`, `synced` and `problem`.
    """

    def __init__(
        self,
        servers: Sequence[str],
        *,
        subjects: Subjects,
        agent: str,
        settings: FederationSettings,
        credentials: Credentials | CredentialsSource | None,
    ) -> None:
        self.subjects = subjects
        self.agent = agent
        self.instance = secrets.token_hex(8)
        """Tells two clients of one agent name apart, as leases do."""
        self.settings = settings
        self.counters = FederationCounters()
        """What happened so far."""
        self.view = View(
            tombstone_ttl=settings.tombstone_ttl, soon=lambda call: asyncio.get_running_loop().call_soon(call)
        )
        """Every state and lease of the federation."""
        self.rosters = Rosters()
        """Which members each node has, where an operator says so."""
        self.reports = Reports(settings.report_lifetime, clock=time.monotonic)
        """How agents say that their members stand; only with `FederationSettings.read_reports`."""
        self.administration = Administration(subjects, self.rosters, settings, lambda: self._link.client)
        """The stream, and writing rosters: for whoever has the rights."""
        self._link = Link(
            servers,
            name=f"eventfed {agent}",
            settings=settings,
            credentials=credentials,
            counters=self.counters,
            note=lambda kind, reason: self.health.note(kind, reason),
            session=self._session,
            ended=self._session_ended,
        )
        self._outbox = Outbox(
            window=settings.publish_window,
            deadline=settings.ack_deadline,
            pause=settings.retry_pause,
            pause_limit=settings.retry_pause_limit,
            counters=self.counters,
        )
        self._ownership = Ownership(
            agent=agent,
            instance=self.instance,
            subjects=subjects,
            view=self.view,
            outbox=self._outbox,
            settings=settings,
            counters=self.counters,
        )
        self.health = BusHealth(subjects.stream, self._outbox, self._ownership, clock=time.monotonic)
        """How well NATS serves us, and whom that concerns."""
        self._departures = Departures(settings, agent, clock=time.monotonic)
        self._intake = Intake(subjects, self.view, self.rosters, self._ownership, self.counters)
        self._publisher = Publisher(self._outbox, self.counters, clock=time.monotonic, on_answer=self._answered)
        self._reader = Reader(
            subjects.stream,
            subjects.read(states=settings.read_states),
            self,
            settings,
            configuration=stream_configuration(subjects, settings),
            create=settings.create_stream,
            seen=self.health.stream_seen,
        )
        self._was_synced = False
        self._settled = asyncio.Event()
        self.requests = Requests(subjects, self._intake, self._publisher.send)
        """Asking owners to tell their states again, or to forget one."""
        self._on_event = Callbacks[Event]()

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        servers: str | Sequence[str],
        *,
        federation: str,
        agent: str,
        site: str = "local",
        prefix: str = "eventfed",
        settings: FederationSettings | None = None,
        credentials: Credentials | CredentialsSource | None = None,
    ) -> AsyncGenerator["Federation", None]:
        """A client that connects, reads and publishes while the context is open.

        It does not fail, nor wait, when NATS is away: see `connected`, `wait_synced` and `problem`. On leaving, what
        was published but not acknowledged may be lost (`flush` first), and claims lapse (`Claim.release` first).

        Args:
            servers: NATS URLs, ``nats://host:4222`` or ``tls://…``; an IPv6 address in brackets.
            federation: its name, one token; under Kubernetes ``<namespace>_<name>``.
            agent: who we are: the name of the node, of the host, or of a tool.
            site: our site of the federation.
            prefix: the first token of all subjects.
            credentials: what proves who we are, or a function that reads it anew before each attempt to connect.

        Raises:
            MalformedSubject: for a name that is no token.
        """
        client = cls(
            [servers] if isinstance(servers, str) else servers,
            subjects=Subjects(federation, site, prefix=prefix),
            agent=check_agent(agent),
            settings=settings or FederationSettings(),
            credentials=credentials,
        )
        async with in_background(client._link.run(), client._tick_for_ever()):
            yield client

    @property
    def connected(self) -> bool:
        """Whether there is a connection to NATS."""
        return self._ownership.connected

    @property
    def synced(self) -> bool:
        """Whether the view has been complete once. It stays so when NATS goes away: what is known is still shown."""
        return self._was_synced

    @property
    def problem(self) -> str | None:
        """What is wrong at present, for people; None if all is well."""
        return self.health.problem

    def configure(self, settings: FederationSettings) -> None:
        """Other times of leases, states and departures; nothing is interrupted.

        What says how to connect, read and publish stays as it was at the start.
        """
        self.settings = settings
        self.view.keep_tombstones(settings.tombstone_ttl)
        self._ownership.configure(settings)
        self._departures.configure(settings)

    async def wait_synced(self, timeout: float) -> bool:  # noqa: ASYNC109
        """Wait until `synced`, at most `timeout` seconds. Returns whether it is."""
        wake = asyncio.Event()
        stop = self.view.listen(wake.set)
        try:
            async with asyncio.timeout(timeout):
                while not self._was_synced:
                    wake.clear()
                    await wake.wait()
        except TimeoutError:
            pass
        finally:
            stop()
        return self._was_synced

    def publish(self, event: Event) -> None:
        """Make `event` the last value of its state. It never blocks.

        Only the latest value of a state is sent. Under a claim (`claim`), states wait until its lease is held, and are
        dropped once it is lost or released; without a claim they are published as they are, and readers bury
        them after the grace. Epoch and sequence are filled in. A value that is the last one already is not sent again.

        Raises:
            MalformedEvent: for an event of a type that has no state.
        """
        self._ownership.publish(event)

    def retract(self, key: StateKey) -> None:
        """Take a state of one's own back: a tombstone stands in its place."""
        self._ownership.retract(key)

    def own_value(self, key: StateKey) -> Event | None:
        """What this client published last for a state, on the stream or not; None after `retract` or a lost claim."""
        return self._ownership.own_value(key)

    def get(self, key: StateKey) -> Event | None:
        """The value of a state; None if it is unknown or gone."""
        return self.view.get(key)

    async def flush(self, timeout: float) -> bool:  # noqa: ASYNC109
        """Wait until all that was published is on the stream, at most `timeout` seconds. Returns whether it is."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while not self._ownership.idle:
                    self._settled.clear()
                    await self._settled.wait()
        return self._ownership.idle

    # Members

    def claim(
        self,
        eid: EID,
        *,
        uid: str,
        name: str,
        address: str = "",
        on_change: Callable[[Claim], None] | None = None,
    ) -> Claim:
        """Wish to serve one member; the result tells how that stands, and `on_change` is called when it changes.

        Args:
            eid: the member.
            uid: which life of it, such as the pod's UID. A lease of the same uid is taken over from another agent at
                once; one of another uid makes the claim CONTESTED.
            name: what people call it.
            address: where it is reached.

        Raises:
            ValueError: when this client has a claim of that EID that is neither LOST nor RELEASED.
        """
        tell = None if on_change is None else functools.partial(call_soon, on_change)
        return self._ownership.claim(eid, uid=uid, name=name, address=address, on_change=tell)

    def members(self) -> list[Lease]:
        """The live leases, by name."""
        return sorted(self.view.leases.values(), key=lambda lease: (lease.name, lease.eid))

    def report(self, report: AgentReport) -> None:
        """Tell how our members stand, to whoever listens now. It is dropped while NATS is away.

        Raises:
            MalformedEnvelope: for a report of too many members.
        """
        if not self._publisher.send(self.subjects.report(self.agent), encode_report(report)):
            self.counters.reports_dropped += 1

    # Requests and events without a last value

    async def request_refresh(self, eid: EID | None = None) -> None:
        """Ask the owner of `eid`, or every owner, to have its server tell all its states again. Nobody confirms it."""
        self.requests.refresh(eid)

    def on_refresh(self, callback: Callable[[EID | None], None]) -> Callable[[], None]:
        """Call `callback` when somebody asks for a refresh (None: of everything). The result ends that."""
        return self.requests.on_refresh(callback)

    def publish_event(self, event: Event) -> None:
        """Send an event without a last value to whoever listens now. It is dropped while NATS is away."""
        body = encode_envelope(event)
        if len(body) > MAX_ENVELOPE:
            self.counters.oversized += 1
        elif self._publisher.send(self.subjects.event(event.type, event.eid), body):
            self.counters.events_sent += 1
        else:
            self.counters.events_dropped += 1

    def on_event(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        """Call `callback` for each event without a last value. The result ends that."""
        return self._on_event.add(callback)

    async def watch(self, *, type: EventType | None = None, eid: EID | None = None) -> AsyncGenerator[Change, None]:
        """What there is, then `Synced`, then each change, for ever. Changes faster than they are taken are merged.

        Args:
            type: only states of this type.
            eid: only states and the lease of this server.
        """
        async for change in watch(self.view, type=type, eid=eid):
            yield change

    # What the reader tells

    def replay_began(self, incarnation: str) -> None:
        self.counters.replays += 1
        self._departures.start_anew()
        reset = self.view.begin_replay(incarnation)
        self.rosters.begin_replay(reset)
        if reset and self.view.incarnations > 1:
            self.counters.resets += 1
            _log.warning("the stream %s is another one than before: publishing everything again", self.subjects.stream)
        self._ownership.replay_began(reset)

    def stored(self, message: Stored) -> None:
        self._intake.stored(message)

    def replay_ended(self) -> None:
        self._link.was_of_use()
        self._was_synced = True
        self.health.replay_ended()
        self.rosters.end_replay()
        self.view.end_replay()
        self._departures.start_anew()
        self._ownership.replay_ended()

    def replay_broke(self, reason: str) -> None:
        _log.info("reading the stream again: %s", reason)
        self.view.interrupt()

    def stream_problem(self, reason: str) -> None:
        self.health.note(Trouble.STREAM, reason)
        self.view.interrupt()

    async def _session(self, client: Client, group: asyncio.TaskGroup) -> None:
        if self.settings.read_states:
            for subject in self.requests.heard:
                await client.subscribe(subject, cb=self._request_came)
            await client.subscribe(self.subjects.events, cb=self._event_came)
        if self.settings.read_reports:
            await client.subscribe(self.subjects.reports, cb=self._report_came)
            self.reports.start_anew()
        self.health.session_began()
        self._ownership.session_began()
        group.create_task(self._publisher.run(client))
        group.create_task(self._reader.run(client))

    def _session_ended(self) -> None:
        self._ownership.session_ended()
        self.view.interrupt()

    async def _tick_for_ever(self) -> None:
        before = time.monotonic()
        while True:
            await asyncio.sleep(self.settings.tick)
            now = time.monotonic()
            if now - before > self.settings.stall:
                self.counters.stalls += 1
                _log.warning("this process stood still for %.1f s: its leases are checked", now - before)
                self.reports.start_anew()
                self._departures.start_anew()
                if self._ownership.stalled():
                    self._reader.start_anew()
            before = now
            self._ownership.tick()
            self.health.look()
            self.view.forget_old_tombstones()
            self.reports.forget_old()
            self.counters.older, self.counters.lapsed = self.view.older, self.view.lapsed
            due = self._departures.step(self.view)
            bury(due, self._outbox, self.subjects, self.view, self.settings, self.counters)

    async def _request_came(self, message: Msg) -> None:
        self.requests.came(message.subject)

    async def _event_came(self, message: Msg) -> None:
        if self._on_event:
            event = self._intake.event(message.subject, message.data)
            if event is not None:
                self._on_event.call(event)

    async def _report_came(self, message: Msg) -> None:
        if (report := self._intake.report(message.subject, message.data)) is not None:
            self.reports.put(report)

    def _answered(self) -> None:
        if self._ownership.idle:
            self._settled.set()
