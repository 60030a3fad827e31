"""A whole federation on one machine: nats-server, Asterisk servers, and an agent for each."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Self

from ._addresses import allot
from ._agents import MWI_AND_DEVICES, AgentProcess
from ._configuration import AsteriskConfiguration
from ._errors import LabError
from ._federated import Federated
from ._lamps import Lamps
from ._nats import NatsServer
from ._rootfs import AsteriskRoot
from ._servers import AsteriskServer
from ._simulated import SimulatedServer

__all__ = ["Pbx"]


class Pbx(Federated[AsteriskServer | SimulatedServer]):
    """Servers of the given names, federated; use it as an async context manager, which starts all and waits for sync.

    Args:
        root: real Asterisk; None: simulated servers.
        names: the servers'; each has an agent ``agent-<name>``.
        configuration: of all servers; `configurations` has those that differ.
        events: the ``[[events]]`` of the agents.
        sections: more sections for the agents' files.
        one_agent: one agent serves all of them.
        shared_spool: all servers keep their voicemail in one spool, as behind NFS.
        devices: which devices the servers publish; absent: those that `events` needs.
        expiration: seconds for which the servers' publications are granted, and after which they are renewed.
        ipv6: servers, agents and nats-server are on ::1, with ports of their own.
    """

    def __init__(
        self,
        root: AsteriskRoot | None,
        names: Sequence[str] = ("a", "b", "c"),
        *,
        configuration: AsteriskConfiguration | None = None,
        configurations: Mapping[str, AsteriskConfiguration] | None = None,
        events: Sequence[Mapping[str, object]] = MWI_AND_DEVICES,
        sections: Mapping[str, Mapping[str, object]] | None = None,
        one_agent: bool = False,
        shared_spool: bool = False,
        ipv6: bool = False,
        devices: str | None = None,
        expiration: int = 60,
    ) -> None:
        self.root = root
        self.names = list(names)
        self.nats = NatsServer(host="::1") if ipv6 else NatsServer()
        self.servers: dict[str, AsteriskServer | SimulatedServer] = {}
        self.agents: dict[str, AgentProcess] = {}
        self._configuration = configuration or AsteriskConfiguration()
        self._configurations = configurations or {}
        self._events = events
        self._sections = sections
        self._one_agent = one_agent
        self._shared_spool = shared_spool
        self._host = "::1" if ipv6 else None
        self._devices = devices
        self._expiration = expiration
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.nats.close)
            await self.nats.start()
            for name in self.names:
                self.add(name, stack)
            async with asyncio.TaskGroup() as tasks:
                for agent in set(self.agents.values()):
                    tasks.create_task(agent.start())
            async with asyncio.TaskGroup() as tasks:
                for server in self.servers.values():
                    tasks.create_task(server.start())
            await self.wait_synced()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def add(self, name: str, stack: AsyncExitStack | None = None) -> None:
        """One more server and its agent, not started."""
        stack = stack or self._stack
        if self._one_agent and self.agents:
            agent = next(iter(self.agents.values()))
        else:
            agent = AgentProcess(
                "agent" if self._one_agent else f"agent-{name}",
                self.nats.url,
                events=self._events,
                sections=self._sections,
                devices=self._devices,
                expiration=self._expiration,
                host=self._host,
            )
            stack.push_async_callback(agent.close)
        server = self._make(name, agent, stack)
        stack.push_async_callback(server.close)
        agent.members.append(server)
        self.servers[name] = server
        self.agents[name] = agent
        if name not in self.names:
            self.names.append(name)

    def _make(self, name: str, agent: AgentProcess, stack: AsyncExitStack) -> AsteriskServer | SimulatedServer:
        configuration = self._configurations.get(name, self._configuration)
        address = stack.enter_context(allot(self._host))
        if self.root is None:
            place = (agent.host, agent.sip_port)
            return SimulatedServer(
                name,
                agent=place,
                tokens=(agent.token,),
                configuration=configuration,
                address=address,
                device_filter=agent.device_filter,
            )
        configuration = replace(configuration, pjsip_snippet=agent.snippet)
        first = next(iter(self.servers.values()), None)
        shared = first.spool.folder if self._shared_spool and isinstance(first, AsteriskServer) else None
        return AsteriskServer(self.root, name, configuration=configuration, address=address, spool=shared)

    def asterisk(self, name: str) -> AsteriskServer:
        """A real server; LabError if it is a simulated one."""
        server = self.servers[name]
        if not isinstance(server, AsteriskServer):
            raise LabError(f"{name} is simulated")
        return server

    def lamps(self, phone: str = "1001") -> Lamps:
        """The message lamps of a phone on each server, to be opened with ``async with``."""
        return Lamps([self.asterisk(name) for name in self.names], phone)

    async def wait_quiet(self, still: float = 0.5, within: float = 20.0) -> None:
        """Wait until for `still` seconds nothing was heard from, nor put into, any server.

        Raises:
            TimeoutError: not in `within` seconds.
        """
        counters = ("eventfed_member_heard_total", "eventfed_member_injected_total")
        agents = list(dict.fromkeys(self.agents.values()))
        before: list[float] = []
        async with asyncio.timeout(within):
            while (now := [await agent.metric(name) for agent in agents for name in counters]) != before:
                before = now
                await asyncio.sleep(still)

    async def wait_synced(self, *names: str, within: float = 30.0) -> float:
        """Wait until the named servers' members (all without names) are synced; the ``time.monotonic()``."""
        names = names or tuple(self.names)
        async with asyncio.TaskGroup() as tasks:
            for name in names:
                tasks.create_task(self.agents[name].wait_members("synced", self.servers[name].name, within=within))
        return time.monotonic()

    async def mend(self) -> None:
        """Resume and start whatever hangs or has ended, and wait until all members are synced."""
        if self.nats.running:
            self.nats.resume()
        await self.nats.start()
        for agent in set(self.agents.values()):
            if agent.running:
                agent.resume()
            else:
                await agent.start()
        for server in self.servers.values():
            if not server.running:
                await server.start()
            server.resume()
        await self.wait_synced()
