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
from .configuration import AgentConfiguration, AgentSection, ConfigurationError, MemberConfiguration
from .event_log import Journal
from .latencies import Latencies
from .members.evidence import Strangers
from .members.member import Member
from .members.names import Filters
from .nats_access import credentials_source, federation_settings
from .reporting import report_for_ever
from .requests import answer_requests
from .roster_changes import Parting, part_with, roster_members, with_rules

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
        journal: Journal | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.configuration = configuration
        """The file's, with the rules of the roster."""
        self.journal = journal or Journal()
        self.latencies = Latencies()
        self.members: dict[str, Member] = {}
        self.member_failures = 0
        self._file = configuration
        self.tokens = tokens
        self.wall_clock = wall_clock
        self._filters = Filters(configuration.events)
        self._running: dict[str, asyncio.Task[None]] = {}
        self._partings: dict[str, asyncio.Task[None]] = {}
        self._following: list[asyncio.Task[None]] = []
        self._roster: Roster | None = None
        self.strangers = Strangers()
        self._stack = AsyncExitStack()
        self.served_at = float("inf")  # before the first roster each source may be one that it names
        self.stopping = False
        self.federation_eid = EID.derive(f"eventfed/{configuration.federation.name}")
        self.adapters: dict[str, AdapterFactory] = {name: make(self) for name, make in adapters.items()}

    async def __aenter__(self) -> Self:
        configuration = self.configuration
        self._loop = asyncio.get_running_loop()
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
            stack.enter_context(answer_requests(self.federation, self.members.values()))
            self._tasks = await stack.enter_async_context(asyncio.TaskGroup())
            for factory in self.adapters.values():
                await stack.enter_async_context(factory)
            stack.callback(self.federation.view.listen(self._look))
            stack.push_async_callback(self._stop_members)
            self._serve_wanted()
            if (node := configuration.roster_node) is not None:
                reports = partial(report_for_ever, self.federation, self.members, node, self.journal)
                works = {"roster_failed": partial(self._follow_rosters, node), "report_failed": reports}
                self._following = [self._tasks.create_task(self._keep_up(*one)) for one in works.items()]
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
        old = self._file
        for section in ("federation", "nats", "agent"):
            if _fixed(getattr(old, section)) != _fixed(getattr(configuration, section)):
                raise AgentError(f"section [{section}] has changed: restart the agent")
        if old.roster_node != configuration.roster_node:
            raise AgentError("[[members]] have come to an agent that reads a roster, or gone: restart the agent")
        self._file = configuration
        if tokens != self.tokens:
            self.tokens = tokens
            self.journal.info("tokens_changed", configuration.agent.name, tokens=len(tokens.values))
            for factory in self.adapters.values():
                factory.use_tokens(tokens)
            for member in self.members.values():
                member.turns.hurry()
        self._configure()

    def _configure(self, before: Roster | None = None) -> None:
        """Take over what file and roster say now. `before` is the roster until now."""
        old = self.configuration
        try:
            configuration = with_rules(self._file, self._roster)
            self.journal.settled("rules_refused", self._file.agent.name)
        except ConfigurationError as error:
            self.journal.warn("rules_refused", self._file.agent.name, error=str(error))
            configuration = self._file.model_copy(update={"events": old.events, "departure": old.departure})
        self.configuration = configuration
        self.federation.configure(federation_settings(configuration))
        filters, self._filters = self._filters, Filters(configuration.events)
        reshaped = (filters.storage, filters.injection) != (self._filters.storage, self._filters.injection)
        if configuration.timing != old.timing:
            for member in self.members.values():
                member.retime(configuration.timing)
        partings = self._serve_wanted(reshaped=reshaped, before=before)
        if configuration.events != old.events:
            for member in self.members.values():
                if member.name not in partings:
                    member.refilter(self._filters)

    async def _keep_up(self, failure: str, work: Callable[[], Coroutine[None, None, None]]) -> None:
        """Do what concerns no single member until cancelled. A failure ends no member: the work begins again."""
        backoff = Backoff(_RESTART_PAUSE, _RESTART_LIMIT)
        while True:
            await until_due(backoff)
            backoff.succeeded(self._loop.time())
            try:
                await work()
            except Exception:
                backoff.failed(self._loop.time())
                self.journal.failed(failure, self.configuration.agent.name)

    async def _follow_rosters(self, node: str) -> None:
        """Serve what the roster of our node lists. When it is lost or taken away, the last one counts."""
        changed = asyncio.Event()
        stop = self.federation.rosters.listen(lambda _: changed.set())
        try:
            while True:
                changed.clear()
                roster = self.federation.rosters.known.get(node)
                if roster is not None and roster != self._roster:
                    self.journal.info("roster_changed", node, members=len(roster.members))
                    before, self._roster = self._roster, roster
                    try:
                        self._configure(before)
                    except BaseException:
                        # It was not taken over, or in part alone: the next attempt does it from the same beginning.
                        self._roster = before
                        raise
                for member in self.members.values():
                    member.identity.rosters_changed()
                await changed.wait()
        finally:
            stop()

    def _wanted(self) -> tuple[MemberConfiguration, ...]:
        if self.configuration.roster_node is None:
            return self.configuration.members
        return roster_members(self._roster) if self._roster is not None else ()

    def _serve_wanted(self, *, reshaped: bool = False, before: Roster | None = None) -> set[str]:
        """Part with whom we do not want as they are, and start whom we lack. Returns with whom we part.

        Args:
            reshaped: the mailboxes of all members have to be emptied, whatever the members are.
            before: the roster until now.
        """
        wanted = {member.name: member for member in self._wanted()}
        for name, member in list(self.members.items()):
            stays = wanted.get(name) == member.configuration
            if name in self._partings:
                if name in wanted:
                    member.identity.hurry()
            elif reshaped or not stays:
                parting = Parting.WITHDRAW
                if self.configuration.roster_node is not None and not stays:
                    node_of = self.federation.rosters.node_of
                    parting = part_with(member.configuration, before=before, wanted=wanted.values(), node_of=node_of)
                self._partings[name] = self._tasks.create_task(self._part(member, parting), name=f"part with {name}")
        self._start_missing()
        self.served_at = self._loop.time()
        return set(self._partings)

    def _start_missing(self) -> None:
        for configuration in self._wanted():
            if configuration.name not in self.members:
                self._start(configuration)

    async def _part(self, member: Member, parting: Parting) -> None:
        try:
            if parting is Parting.WITHDRAW:
                await member.leave(self.configuration.timing.withdrawal)
        except Exception:
            self._failed(member)
        await self._end(member.name)
        del self._partings[member.name]
        self._start_missing()

    def _start(self, configuration: MemberConfiguration, backoff: Backoff | None = None) -> None:
        adapter = next(one.make(configuration) for one in self.adapters.values() if one.serves(configuration))
        member = Member(
            configuration,
            adapter,
            self.federation,
            self,
            filters=self._filters,
            timing=self.configuration.timing,
            journal=self.journal,
        )
        self.members[member.name] = member
        adapter.attach(member)
        serving = self._serve(member, backoff or Backoff(_RESTART_PAUSE, _RESTART_LIMIT))
        self._running[member.name] = self._tasks.create_task(serving, name=f"member {member.name}")

    async def _serve(self, member: Member, backoff: Backoff) -> None:
        """Serve a member until cancelled. After a failure another takes its place, which rests at first: until it
        begins, what the server publishes is not answered, so the server repeats it."""
        try:
            await until_due(backoff)
            backoff.succeeded(self._loop.time())
            await member.run()
        except Exception:
            # One member's misfortune must not be that of all others on this node.
            backoff.failed(self._loop.time())
            self._failed(member)
            self._forget(member)
            task = asyncio.current_task()
            if task is None or not task.cancelling():
                self._start(member.configuration, backoff)

    def _failed(self, member: Member) -> None:
        self.member_failures += 1
        self.journal.failed("member_failed", member.name)

    async def _end(self, name: str) -> None:
        task = self._running[name]
        task.cancel()
        await asyncio.wait([task])
        if self._running.get(name) is task:
            self._forget(self.members[name])

    def _forget(self, member: Member) -> None:
        del self._running[member.name]
        del self.members[member.name]
        member.adapter.detach()
        self._look()

    def _look(self) -> None:
        for factory in self.adapters.values():
            factory.look()

    async def _stop_members(self) -> None:
        for task in (*self._following, *self._partings.values()):
            task.cancel()
        for name in list(self.members):
            await self._end(name)
        await self.federation.flush(self.configuration.timing.shutdown / 2)

    def holder(self, eid: EID) -> Member | None:
        return next((member for member in self.members.values() if member.eid == eid), None)

    def is_gone(self, uid: str) -> bool:
        # Only rosters have uids of pods; the uid of a member from a file is its address.
        rosters = self.federation.rosters
        return self._roster is not None and self.federation.synced and ":" not in uid and rosters.node_of(uid) is None

    async def answers(self, address: str) -> bool:
        for factory in self.adapters.values():
            if await factory.answers(address):
                return True
        return False

    # --- what adapters ask ------------------------------------------------------------------------------------

    @property
    def waits_for_roster(self) -> bool:
        """Whether it is not known yet which members there are."""
        return self.configuration.roster_node is not None and self._roster is None

    def note_stranger(self, host: str, eid: str) -> None:
        """Somebody spoke from an address that no member has."""
        self.strangers.note(host, eid, self._loop.time())

    def delivered(self, event: Event) -> None:
        """A member took a state of another server."""
        if event.time:
            self.latencies.observe(self.wall_clock() - event.time)


def _fixed(section: Spec) -> Spec:
    """A section without what a running agent takes over."""
    if isinstance(section, AgentSection):
        return section.model_copy(update={"token_file": None, "previous_token_file": None})
    return section
