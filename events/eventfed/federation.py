"""The client of a federation: publish, read, claim, watch."""

import asyncio
import contextlib
import functools
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager

from .core.administration import Administration
from .core.bus import Bus
from .core.callbacks import call_soon
from .core.changes import Change
from .core.claims import Claim
from .core.context import ClientContext
from .core.engine import Engine
from .core.settings import Credentials, CredentialsSource, FederationSettings
from .core.watch import watch
from .jetstream.bus import JetStreamBus
from .model.eid import EID
from .model.elements import EventType
from .model.event import Event, StateKey
from .tasks import in_background
from .wire.envelope import MAX_ENVELOPE, encode_envelope
from .wire.leases import Lease
from .wire.report import AgentReport, encode_report
from .wire.subjects import Subjects, check_agent

__all__ = ["Federation"]


class Federation:
    """One client of one federation. Make it by `Federation.connect`; use it in one event loop only.

    It goes on trying while NATS is away, lost its store, or hangs: see `connected`, `synced` and `problem`.
    """

    def __init__(
        self, bus: Bus, *, subjects: Subjects, agent: str, settings: FederationSettings, clock: Callable[[], float]
    ) -> None:
        self.subjects = subjects
        self.agent = agent
        self.instance = secrets.token_hex(8)
        """Tells two clients of one agent name apart, as leases do."""
        self._clock = clock
        context = ClientContext(agent, self.instance, subjects, settings, clock=clock)
        self.counters = context.counters
        """What happened so far."""
        self._bus = bus
        engine = self._engine = Engine(
            context, send=bus.send, soon=lambda call: asyncio.get_running_loop().call_soon(call)
        )
        self.view = engine.view
        """Every state and lease of the federation."""
        self.rosters = engine.rosters
        """Which members each node has, where an operator says so."""
        self.reports = engine.reports
        """How agents say that their members stand; only with `FederationSettings.read_reports`."""
        self.health = engine.health
        """How well the bus serves us, and whom that concerns."""
        self.requests = engine.requests
        """Asking owners to tell their states again, or to forget one."""
        self.administration = Administration(subjects, engine.rosters, settings, bus.administration)
        """The stream, and writing rosters: for who has the rights."""
        self._settled = asyncio.Event()
        engine.on_idle = self._settled.set

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
            credentials: what proves who we are, or a function that reads it again before each attempt to connect.

        Raises:
            MalformedSubject: for a name that is no token.
        """
        settings = settings or FederationSettings()
        subjects = Subjects(federation, site, prefix=prefix)
        bus = JetStreamBus(
            [servers] if isinstance(servers, str) else servers,
            subjects=subjects,
            name=f"eventfed {check_agent(agent)}",
            settings=settings,
            credentials=credentials,
        )
        async with cls.over(bus, subjects=subjects, agent=agent, settings=settings) as client:
            yield client

    @classmethod
    @asynccontextmanager
    async def over(
        cls,
        bus: Bus,
        *,
        subjects: Subjects,
        agent: str,
        settings: FederationSettings | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> AsyncGenerator["Federation", None]:
        """A client like that of `connect`, over any `Bus`. It runs the bus while the context is open.

        Args:
            clock: seconds, monotonic; the event loop's own where that is not `time.monotonic`.

        Raises:
            MalformedSubject: for an agent's name that is no token.
        """
        settings = settings or FederationSettings()
        client = cls(bus, subjects=subjects, agent=check_agent(agent), settings=settings, clock=clock)
        async with in_background(bus.run(client._engine), client._tick_until_cancelled()):
            yield client

    @property
    def settings(self) -> FederationSettings:
        """As they are now; see `configure`."""
        return self._engine.context.settings

    @property
    def connected(self) -> bool:
        """Whether there is a connection to NATS."""
        return self._engine.ownership.connected

    @property
    def synced(self) -> bool:
        """Whether the view has been complete once. It stays so when NATS goes away: what is known is still shown."""
        return self._engine.synced

    @property
    def problem(self) -> str | None:
        """What is wrong at present, for people; None if all is well."""
        return self.health.problem

    def configure(self, settings: FederationSettings) -> None:
        """Other times of leases, states and departures; nothing is interrupted.

        What says how to connect, read and publish stays as it was at the start.
        """
        self._engine.configure(settings)

    async def wait_synced(self, timeout: float) -> bool:  # noqa: ASYNC109
        """Wait until `synced`, at most `timeout` seconds. Returns whether it is."""
        wake = asyncio.Event()
        stop = self.view.listen(wake.set)
        try:
            async with asyncio.timeout(timeout):
                while not self._engine.synced:
                    wake.clear()
                    await wake.wait()
        except TimeoutError:
            pass
        finally:
            stop()
        return self._engine.synced

    def publish(self, event: Event) -> None:
        """Make `event` the last value of its state. It never blocks.

        Only the latest value of a state is sent. Under a claim (`claim`), states wait until its lease is held, and are
        dropped once it is lost or released; without a claim they are published as they are, and readers bury
        them after the grace. Epoch and sequence are filled in. A value that is the last one already is not sent again.

        Raises:
            MalformedEvent: for an event of a type that has no state.
        """
        self._engine.ownership.publish(event)

    def retract(self, key: StateKey) -> None:
        """Take a state of one's own back: a tombstone stands in its place."""
        self._engine.ownership.retract(key)

    def own_value(self, key: StateKey) -> Event | None:
        """What this client published last for a state, on the stream or not; None after `retract` or a lost claim."""
        return self._engine.ownership.own_value(key)

    def get(self, key: StateKey) -> Event | None:
        """The value of a state; None if it is unknown or gone."""
        return self.view.get(key)

    async def flush(self, timeout: float) -> bool:  # noqa: ASYNC109
        """Wait until all that was published is on the stream, at most `timeout` seconds. Returns whether it is.

        What waits for a lease that another server has (a CONTESTED claim) is not waited for.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while not self._engine.ownership.idle:
                    self._settled.clear()
                    await self._settled.wait()
        return self._engine.ownership.idle

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
        return self._engine.ownership.claim(eid, uid=uid, name=name, address=address, on_change=tell)

    def members(self) -> list[Lease]:
        """The live leases, by name."""
        return sorted(self.view.leases.values(), key=lambda lease: (lease.name, lease.eid))

    def report(self, report: AgentReport) -> None:
        """Tell how our members stand, to the programs that listen now. It is dropped while NATS is away.

        Raises:
            MalformedEnvelope: for a report of too many members.
        """
        if not self._bus.send(self.subjects.report(self.agent), encode_report(report)):
            self.counters.reports_dropped += 1

    # Requests and events without a last value

    async def request_refresh(self, eid: EID | None = None) -> None:
        """Ask the owner of `eid`, or every owner, to have its server tell all its states again. Nobody confirms it."""
        self.requests.refresh(eid)

    def on_refresh(self, callback: Callable[[EID | None], None]) -> Callable[[], None]:
        """Call `callback` when somebody asks for a refresh (None: of everything). The result ends that."""
        return self.requests.on_refresh(callback)

    def publish_event(self, event: Event) -> None:
        """Send an event without a last value to the programs that listen now. It is dropped while NATS is away."""
        body = encode_envelope(event)
        if len(body) > MAX_ENVELOPE:
            self.counters.oversized += 1
        elif self._bus.send(self.subjects.event(event.type, event.eid), body):
            self.counters.events_sent += 1
        else:
            self.counters.events_dropped += 1

    def on_event(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        """Call `callback` for each event without a last value. The result ends that."""
        return self._engine.on_event.add(callback)

    async def watch(self, *, type: EventType | None = None, eid: EID | None = None) -> AsyncGenerator[Change, None]:
        """What there is, then `Synced`, then each change, without end. Changes faster than they are taken are merged.

        Args:
            type: only states of this type.
            eid: only states and the lease of this server.
        """
        async for change in watch(self.view, type=type, eid=eid):
            yield change

    async def _tick_until_cancelled(self) -> None:
        engine, before = self._engine, self._clock()
        while True:
            await asyncio.sleep(self.settings.tick)
            now = self._clock()
            if now - before > self.settings.stall and engine.stood_still(now - before):
                self._bus.replay_again()
            before = now
            engine.tick()
