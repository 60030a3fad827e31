"""The agent: one federation client, the adapters it was given, and the members of its roster."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from functools import partial
from types import TracebackType
from typing import Self

from eventfed import EID, Event, EventfedError, Federation
from eventfed.pace import Backoff, until_due
from eventfed.spec import Spec
from eventfed.wire.roster import Roster

from .adapter import AdapterFactory, OpenFactory, Tokens
from .configuration import AgentConfiguration, AgentSection
from .contention import NamesInTrouble
from .event_log import EventLog
from .latencies import Latencies
from .members.evidence import Strangers
from .members.member import Member
from .membership import Membership
from .nats_access import credentials_source, federation_settings
from .orders import Orders
from .reporting import report_repeatedly
from .requests import answer_requests

__all__ = ["Agent", "AgentError"]

_RESTART_PAUSE, _RESTART_LIMIT = 1.0, 60.0


class AgentError(EventfedError):
    """The agent cannot start."""


class Agent:
    """Serves the members of a configuration until it is closed; use it as an async context manager.

    Raises what a factory raises from ``async with``, as where an address cannot be bound. That NATS or members are
    away is no reason not to start.

    Args:
        adapters: the technologies that members may be of, by name; the first that serves a member has it.
    """

    def __init__(
        self,
        configuration: AgentConfiguration,
        *,
        adapters: Mapping[str, OpenFactory],
        tokens: Tokens,
        event_log: EventLog | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.event_log = event_log or EventLog()
        self.latencies = Latencies()
        self.orders = Orders(configuration, self.event_log)
        self.tokens = tokens
        self.wall_clock = wall_clock
        self.strangers = Strangers()
        self.stopping = False
        self.federation_eid = EID.derive(f"eventfed/{configuration.federation.name}")
        self._following: list[asyncio.Task[None]] = []
        self._stack = AsyncExitStack()
        self.adapters: dict[str, AdapterFactory] = {name: make(self) for name, make in adapters.items()}
        self.membership = Membership(self.orders, self.adapters, registry=self, event_log=self.event_log)

    @property
    def configuration(self) -> AgentConfiguration:
        """The file's, with the rules of the roster."""
        return self.orders.configuration

    @property
    def members(self) -> Mapping[str, Member]:
        """The members that are served now, by name."""
        return self.membership.members

    @property
    def served_at(self) -> float:
        """When it began to serve them, by the event loop's clock."""
        return self.membership.served_at

    async def __aenter__(self) -> Self:
        configuration = self.configuration
        async with self._stack as stack:
            self.federation = await stack.enter_async_context(
                Federation.connect(
                    configuration.nats.servers,
                    federation=configuration.federation.name,
                    site=configuration.federation.site,
                    agent=configuration.agent.name,
                    prefix=configuration.nats.subject_prefix,
                    settings=federation_settings(configuration),
                    credentials=credentials_source(configuration.nats),
                )
            )
            self.names = NamesInTrouble(self.federation.view)
            stack.enter_context(answer_requests(self.federation, self.members.values()))
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            for factory in self.adapters.values():
                await stack.enter_async_context(factory)
            stack.callback(self.federation.view.listen(self.membership.look))
            stack.push_async_callback(self._stop_members)
            self.membership.begin(self.federation, tasks)
            self.membership.serve()
            if (node := configuration.roster_node) is not None:
                reports = partial(report_repeatedly, self.federation, self.members, node, self.names, self.event_log)
                works = {"roster_failed": partial(self._follow_rosters, node), "report_failed": reports}
                self._following = [tasks.create_task(self._keep_up(*one)) for one in works.items()]
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop reading, let what was read reach the bus, release the leases."""
        self.stopping = True
        try:
            await self.federation.flush(self.configuration.timing.shutdown / 2)
        finally:
            await self._stack.__aexit__(kind, error, traceback)

    # --- members ----------------------------------------------------------------------------------------------

    def reconfigure(self, configuration: AgentConfiguration, tokens: Tokens) -> None:
        """Serve another configuration: what went is withdrawn, what stays does not notice.

        Raises:
            AgentError: when a section changed that needs another process; nothing was changed then.
        """
        old = self.orders.file
        for section in ("federation", "nats", "agent"):
            if _fixed(getattr(old, section)) != _fixed(getattr(configuration, section)):
                raise AgentError(f"section [{section}] has changed: restart the agent")
        if old.roster_node != configuration.roster_node:
            raise AgentError("[[members]] have come to an agent that reads a roster, or gone: restart the agent")
        self.orders.file = configuration
        if tokens != self.tokens:
            self.tokens = tokens
            self.event_log.info("tokens_changed", configuration.agent.name, tokens=len(tokens.values))
            for factory in self.adapters.values():
                factory.use_tokens(tokens)
            for member in self.members.values():
                member.turns.hurry()
        self._configure()

    def _configure(self, before: Roster | None = None) -> None:
        """Take over what file and roster say now. `before` is the roster until now."""
        old, filters = self.configuration, self.orders.filters
        self.orders.combine()
        configuration = self.configuration
        self.federation.configure(federation_settings(configuration))
        now = self.orders.filters
        reshaped = (filters.storage, filters.injection) != (now.storage, now.injection)
        if configuration.timing != old.timing:
            for member in self.members.values():
                member.retime(configuration.timing)
        partings = self.membership.serve(reshaped=reshaped, before=before)
        if configuration.events != old.events:
            for member in self.members.values():
                if member.name not in partings:
                    member.refilter(now)

    async def _keep_up(self, failure: str, work: Callable[[], Coroutine[None, None, None]]) -> None:
        """Do what concerns no single member until cancelled. A failure ends no member: the work begins again."""
        backoff = Backoff(_RESTART_PAUSE, _RESTART_LIMIT)
        while True:
            await until_due(backoff)
            backoff.succeeded(asyncio.get_running_loop().time())
            try:
                await work()
            except Exception:
                backoff.failed(asyncio.get_running_loop().time())
                self.event_log.failed(failure, self.configuration.agent.name)

    async def _follow_rosters(self, node: str) -> None:
        """Serve what the roster of our node lists. When it is lost or taken away, the last one counts."""
        changed = asyncio.Event()
        stop = self.federation.rosters.listen(lambda _: changed.set())
        try:
            while True:
                changed.clear()
                roster = self.federation.rosters.known.get(node)
                if roster is not None and roster != self.orders.roster:
                    self.event_log.info("roster_changed", node, members=len(roster.members))
                    before, self.orders.roster = self.orders.roster, roster
                    try:
                        self._configure(before)
                    except BaseException:
                        # It was not taken over, or in part alone: the next attempt does it from the same beginning.
                        self.orders.roster = before
                        raise
                for member in self.members.values():
                    member.identity.rosters_changed()
                await changed.wait()
        finally:
            stop()

    async def _stop_members(self) -> None:
        for task in self._following:
            task.cancel()
        await self.membership.stop()
        await self.federation.flush(self.configuration.timing.shutdown / 2)

    # --- what members ask -------------------------------------------------------------------------------------

    def holder(self, eid: EID) -> Member | None:
        return self.membership.holder(eid)

    def is_gone(self, uid: str) -> bool:
        # Only rosters have uids of pods; the uid of a member from a file is its address.
        known = self.orders.roster is not None and self.federation.synced
        return known and ":" not in uid and self.federation.rosters.node_of(uid) is None

    async def answers(self, address: str) -> bool:
        for factory in self.adapters.values():
            if await factory.answers(address):
                return True
        return False

    # --- what adapters ask ------------------------------------------------------------------------------------

    @property
    def waits_for_roster(self) -> bool:
        """Whether it is not known yet which members there are."""
        return self.orders.waits_for_roster

    def note_stranger(self, host: str, eid: str) -> None:
        """Somebody spoke from an address that no member has."""
        self.strangers.note(host, eid, asyncio.get_running_loop().time())

    def delivered(self, event: Event) -> None:
        """A member took a state of another server."""
        if event.time:
            self.latencies.observe(self.wall_clock() - event.time)


def _fixed(section: Spec) -> Spec:
    """A section without what a running agent takes over."""
    if isinstance(section, AgentSection):
        return section.model_copy(update={"token_file": None, "previous_token_file": None})
    return section
