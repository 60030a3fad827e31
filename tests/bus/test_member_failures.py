"""A member one of whose tasks fails, and one that is parted with while it speaks: nothing of it is left behind."""

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import SecretStr

from eventfed import EID, ClaimState, DeviceState
from eventfed.pace import Backoff, until_due
from eventfed_agent import membership
from eventfed_agent.adapter import Tokens
from eventfed_agent.agent import Agent
from eventfed_agent.configuration import AgentConfiguration, MemberConfiguration
from eventfed_agent.members.dump_rounds import DumpRounds
from eventfed_agent.members.identity import Identity
from eventfed_agent.members.injection import Injector
from eventfed_agent.members.liveness import Liveness
from eventfed_agent.members.member import Member
from eventfed_agent.pjsip.sip import Address, Request, parse_message
from eventfed_agent.pjsip.switchboard import Switchboard
from eventfed_agent.process.adapters import ADAPTERS
from eventfed_lab import SHORT_TIMES, MailboxCounts, NatsServer, SimulatedServer, allot
from tests.ground.fixture_types import Until
from tests.ground.narrowing import instance
from tests.ground.strangers import publish, state

LAMP, MAILBOX = "Custom:lamp", "1001@default"
TOKEN = "a-token-of-the-test"
TASKS: tuple[tuple[type, str], ...] = (
    (Liveness, "run"),
    (DumpRounds, "run"),
    (Member, "_watch_silence"),
    (Identity, "run"),
    (Injector, "run"),
    (Injector, "_drain"),
)
"""Everything that runs for one member."""


@dataclass
class World:
    """One agent in this process, and the two servers that it serves."""

    agent: Agent
    servers: dict[str, SimulatedServer]
    all: tuple[MemberConfiguration, ...]

    def configuration(self, *names: str) -> AgentConfiguration:
        members = tuple(one for one in self.all if one.name in names)
        return self.agent.configuration.model_copy(update={"members": members})

    @property
    def synced(self) -> bool:
        return all(member.state.value == "synced" for member in self.agent.members.values())

    @property
    def failures(self) -> int:
        return self.agent.membership.failures

    @property
    def sip(self) -> Switchboard:
        return instance(Switchboard, self.agent.adapters["pjsip"])

    def claims(self, eid: EID) -> ClaimState | None:
        claim = self.agent.federation._engine.ownership.claims.get(eid)
        return claim.state if claim is not None else None

    def left(self) -> dict[str, object]:
        """What an agent has because of its members."""
        agent: Any = self.agent
        sip = agent.adapters["pjsip"]
        return {
            "members": sorted(agent.members),
            "tasks": sorted(agent.membership._running),
            "addresses": sorted(sip.sources._by_host),
            "calls": sorted(sip.sources._by_call),
            "publications": sorted(map(str, sip._compositor._sources)),
            "listeners": len(agent.federation.view._notifier.listeners),
            "followers": len(agent.federation.view._notifier.followers),
            "requests": len(sip.user_agent._pending),
            "connections": len(sip.user_agent._connections),
            "answers": len(sip.mailbox_answers),
        }


@asynccontextmanager
async def one_agent(nats_server: NatsServer) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        address = stack.enter_context(allot())
        place = (address.host, address.sip_port)
        servers = {name: SimulatedServer(name, agent=place, tokens=(TOKEN,)) for name in ("a", "b")}
        sections: dict[str, Any] = {
            "federation": {"name": "lab"},
            "nats": {"servers": [nats_server.url]},
            "agent": {"name": "agent", "listen": [f"{address.host}:{address.sip_port}"], "http": None},
            "events": [{"type": "mwi", "voicemail_storage": "Separate"}, {"type": "device_state"}],
            **SHORT_TIMES,
        }
        members = [{"name": server.name, "host": server.host, "port": server.sip_port} for server in servers.values()]
        configuration = AgentConfiguration.model_validate({**sections, "members": members})
        agent = await stack.enter_async_context(
            Agent(configuration, adapters=ADAPTERS, tokens=Tokens((SecretStr(TOKEN),)))
        )
        for server in servers.values():
            stack.push_async_callback(server.close)
            await server.start()
        yield World(agent, servers, configuration.members)


class Fragile:
    """A method that runs as before until it is told to fail, once."""

    def __init__(self, owner: type, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self._broken = asyncio.Event()
        self._done = False
        original: Callable[..., Awaitable[None]] = getattr(owner, name)

        @functools.wraps(original)
        async def method(*args: Any) -> None:
            work = asyncio.ensure_future(original(*args))
            failure = asyncio.ensure_future(self._broken.wait())
            try:
                await asyncio.wait([work] if self._done else [work, failure], return_when=asyncio.FIRST_COMPLETED)
                if failure.done() and not self._done:
                    self._done = True
                    raise RuntimeError("broken by the test")
                await work
            finally:
                work.cancel()
                failure.cancel()
                await asyncio.wait([work, failure])

        monkeypatch.setattr(owner, name, method)

    def fail(self) -> None:
        self._broken.set()


class Pause:
    """The pause of an agent before it serves a failed member again lasts until it is told to end, and not less than
    it does by itself: on a busy machine, what is looked at in it takes longer than a second."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._over = asyncio.Event()

        async def until_due_and_told(backoff: Backoff) -> None:
            if backoff.due > float("-inf"):
                await self._over.wait()
            await until_due(backoff)

        monkeypatch.setattr(membership, "until_due", until_due_and_told)

    def end(self) -> None:
        self._over.set()


def names_of_tasks() -> set[str]:
    return {task.get_coro().__qualname__ for task in asyncio.all_tasks()}  # type: ignore[union-attr]


async def test_all_tasks_of_a_member_are_tried_below(nats_server: NatsServer, until: Until) -> None:
    async with one_agent(nats_server) as world:
        await until(lambda: world.synced, 20)
        with_members = names_of_tasks()
        for name in ("a", "b"):
            await world.agent.membership._end(name)
        tried = {f"{owner.__name__}.{name}" for owner, name in TASKS}
        assert with_members - names_of_tasks() == tried | {"Membership._serve"}


@pytest.mark.parametrize(("owner", "name"), TASKS, ids=lambda part: getattr(part, "__name__", part))
async def test_a_member_whose_task_failed_is_served_again_though_its_server_speaks_meanwhile(
    nats_server: NatsServer,
    monkeypatch: pytest.MonkeyPatch,
    until: Until,
    owner: type,
    name: str,
) -> None:
    fragile, pause = Fragile(owner, name, monkeypatch), Pause(monkeypatch)
    async with one_agent(nats_server) as world:
        await _fail(world, fragile, pause, until)


async def _fail(world: World, fragile: Fragile, pause: Pause, until: Until) -> None:
    a, b = world.servers["a"], world.servers["b"]
    await until(lambda: world.synced, 20)
    await a.leave_voicemail(MAILBOX)
    await b.wait_mailbox(MAILBOX, MailboxCounts(1, 0))
    before = world.left()
    fragile.fail()
    await until(lambda: world.failures, 5)

    # In the pause: it is heard, and nothing of what failed is taken up again.
    failed = {"a": a, "b": b}[_failed_member(world)]
    other = b if failed is a else a
    assert world.claims(failed.eid) is ClaimState.RELEASED
    await failed.set_device(LAMP, DeviceState.BUSY)
    await failed.leave_voicemail(MAILBOX, 2)
    await asyncio.sleep(0.3)
    assert world.claims(failed.eid) is ClaimState.RELEASED
    await other.set_device("Custom:other", DeviceState.BUSY)
    pause.end()

    # Afterwards all is as before, and what the server said in the pause is there.
    await other.wait_device(LAMP, DeviceState.BUSY, 20)
    await failed.wait_device("Custom:other", DeviceState.BUSY, 20)
    for server in (a, b):
        await server.wait_mailbox(MAILBOX, MailboxCounts(3, 0))
    await until(lambda: world.synced, 20)
    assert world.failures == 1
    assert world.sip.user_agent.counters.handler_failures == 0
    await until(lambda: world.left()["answers"] == 0 and world.left()["requests"] == 0)
    assert world.left() == before | {"requests": 0}


def _failed_member(world: World) -> str:
    (name,) = [name for name, member in world.agent.members.items() if not member._life.open]
    return name


async def test_a_server_that_speaks_while_it_is_parted_with_leaves_no_claim_and_is_served_when_it_comes_back(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    """Of the last thing that it was given a server tells at once, so its PUBLISH comes in just this moment."""
    async with one_agent(nats_server) as world:
        agent, a = world.agent, world.servers["a"]
        await until(lambda: world.synced, 20)
        forget = agent.membership._forget

        def forgetting(member: Member) -> None:
            if member.name == "a":
                request = parse_message(publish(state(LAMP, DeviceState.BUSY, a.eid)))
                assert isinstance(request, Request)
                world.sip.handle(request, Address(a.host, a.sip_port))
            forget(member)

        monkeypatch.setattr(agent.membership, "_forget", forgetting)
        agent.reconfigure(world.configuration("b"), Tokens((SecretStr(TOKEN),)))
        await until(lambda: list(agent.members) == ["b"])
        assert world.claims(a.eid) is ClaimState.RELEASED
        agent.reconfigure(world.configuration("a", "b"), Tokens((SecretStr(TOKEN),)))
        await a.set_device(LAMP, DeviceState.INUSE)
        await until(lambda: len(agent.members) == 2 and world.synced, 20)
        await world.servers["b"].wait_device(LAMP, DeviceState.INUSE)
        assert world.sip.user_agent.counters.handler_failures == 0
