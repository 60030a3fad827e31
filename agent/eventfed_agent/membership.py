"""Which members an agent serves at this moment, and how it begins and ends with one."""

import asyncio
from collections.abc import Mapping

from eventfed import EID, Federation
from eventfed.pace import Backoff, until_due
from eventfed.wire.roster import Roster

from .adapter import AdapterFactory
from .configuration import MemberConfiguration
from .event_log import EventLog
from .members.member import Member
from .members.member_status import Registry
from .orders import Orders
from .roster_changes import Parting, part_with

__all__ = ["Membership"]

_RESTART_PAUSE, _RESTART_LIMIT = 1.0, 60.0


class Membership:
    """The members of one agent: each in a task of its own, whose failure is no other member's.

    Args:
        orders: which members there are to be.
        adapters: the first that serves a member has it.
        registry: the agent, as its members see it.
    """

    def __init__(
        self, orders: Orders, adapters: Mapping[str, AdapterFactory], *, registry: Registry, event_log: EventLog
    ) -> None:
        self.members: dict[str, Member] = {}
        self.failures = 0
        """Times a member's task failed."""
        self.served_at = float("inf")  # before the first roster each source may be one that it names
        """When `serve` was called last, by the event loop's clock."""
        self._orders = orders
        self._adapters = adapters
        self._registry = registry
        self._event_log = event_log
        self._running: dict[str, asyncio.Task[None]] = {}
        self._partings: dict[str, asyncio.Task[None]] = {}

    def begin(self, federation: Federation, tasks: asyncio.TaskGroup) -> None:
        """From now on `serve` may be called, until `stop`."""
        self._federation = federation
        self._tasks = tasks

    def holder(self, eid: EID) -> Member | None:
        """The member that has the EID."""
        return next((member for member in self.members.values() if member.eid == eid), None)

    def serve(self, *, reshaped: bool = False, before: Roster | None = None) -> set[str]:
        """Part with whom we do not want as they are, and start whom we lack. Returns with whom we part.

        Args:
            reshaped: the mailboxes of all members have to be emptied, whatever the members are.
            before: the roster until now.
        """
        wanted = {member.name: member for member in self._orders.members}
        for name, member in list(self.members.items()):
            stays = wanted.get(name) == member.configuration
            if name in self._partings:
                if name in wanted:
                    member.identity.hurry()
            elif reshaped or not stays:
                parting = Parting.WITHDRAW
                if self._orders.reads_roster and not stays:
                    node_of = self._federation.rosters.node_of
                    parting = part_with(member.configuration, before=before, wanted=wanted.values(), node_of=node_of)
                self._partings[name] = self._tasks.create_task(self._part(member, parting), name=f"part with {name}")
        self._start_missing()
        self.served_at = _now()
        return set(self._partings)

    async def stop(self) -> None:
        """End with all of them, without taking anything back."""
        for task in self._partings.values():
            task.cancel()
        for name in list(self.members):
            await self._end(name)

    def look(self) -> None:
        """The view of the federation has changed."""
        for factory in self._adapters.values():
            factory.look()

    def _start_missing(self) -> None:
        for configuration in self._orders.members:
            if configuration.name not in self.members:
                self._start(configuration)

    async def _part(self, member: Member, parting: Parting) -> None:
        try:
            if parting is Parting.WITHDRAW:
                await member.leave(self._orders.configuration.timing.withdrawal)
        except Exception:
            self._failed(member)
        await self._end(member.name)
        del self._partings[member.name]
        self._start_missing()

    def _start(self, configuration: MemberConfiguration, backoff: Backoff | None = None) -> None:
        adapter = next(one.make(configuration) for one in self._adapters.values() if one.serves(configuration))
        member = Member(
            configuration,
            adapter,
            self._federation,
            self._registry,
            filters=self._orders.filters,
            timing=self._orders.configuration.timing,
            event_log=self._event_log,
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
            backoff.succeeded(_now())
            await member.run()
        except Exception:
            # One member's misfortune must not be that of all others on this node.
            backoff.failed(_now())
            self._failed(member)
            self._forget(member)
            task = asyncio.current_task()
            if task is None or not task.cancelling():
                self._start(member.configuration, backoff)

    def _failed(self, member: Member) -> None:
        self.failures += 1
        self._event_log.failed("member_failed", member.name)

    async def _end(self, name: str) -> None:
        task = self._running[name]
        task.cancel()
        await asyncio.wait([task])
        # The member may have failed in this moment, and another one of the name have begun.
        if self._running.get(name) is task:
            self._forget(self.members[name])

    def _forget(self, member: Member) -> None:
        del self._running[member.name]
        del self.members[member.name]
        member.adapter.detach()
        self.look()


def _now() -> float:
    return asyncio.get_running_loop().time()
