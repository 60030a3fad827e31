"""Another technology than SIP: a short adapter, registered with an agent, and nothing of the product is changed."""

from pathlib import Path
from typing import Any

from pydantic import SecretStr

from eventfed import EID, DeviceState, Event
from eventfed.model.devices import neutral_device_state
from eventfed_agent.adapter import Adapter, AdapterFactory, AdapterOutcome, Delivery, DumpSource, Host, Premises, Tokens
from eventfed_agent.agent import Agent
from eventfed_agent.configuration import AgentConfiguration, MemberConfiguration
from eventfed_agent.process.adapters import ADAPTERS
from eventfed_lab import SHORT_TIMES, NatsServer, SimulatedServer, allot
from tests.ground import toy_adapter
from tests.ground.fixture_types import Until
from tests.ground.narrowing import instance
from tests.ground.toy_adapter import Toy

TOKEN = "a-token-of-the-test"


def test_an_adapter_is_short() -> None:
    assert len(Path(toy_adapter.__file__).read_text(encoding="utf-8").splitlines()) < 60


def configured(nats_server: NatsServer, listen: str, a: SimulatedServer) -> AgentConfiguration:
    sections: dict[str, Any] = {
        "federation": {"name": "lab"},
        "nats": {"servers": [nats_server.url]},
        "agent": {"name": "agent", "listen": [listen], "http": None},
        "events": [{"type": "device_state"}],
        "members": [
            {"name": "a", "host": a.host, "port": a.sip_port},
            {"name": "toy", "host": "127.0.0.99"},
        ],
        **SHORT_TIMES,
    }
    return AgentConfiguration.model_validate(sections)


class PagerAdapter(Adapter):
    """To a server that cannot be asked for what it has: nothing beside what `Adapter` leaves open."""

    lanes = 1

    def __init__(self) -> None:
        self.eid = EID.derive("pager")
        self.host: Host | None = None
        self.given: dict[str, DeviceState] = {}

    def attach(self, host: Host) -> None:
        self.host = host

    def detach(self) -> None:
        self.host = None

    def tell(self, name: str, state: DeviceState) -> None:
        if self.host is not None and self.host.open and self.host.identified(self.eid) and self.host.spoke():
            self.host.heard(Event.device(name, state, self.eid))

    async def inject(self, event: Event, lane: int) -> AdapterOutcome:
        self.given[event.key] = event.device_state
        return AdapterOutcome(Delivery.ACCEPTED)

    async def is_alive(self, within: float) -> bool:
        return True


class Pagers(AdapterFactory):
    def __init__(self, premises: Premises) -> None:
        self.pager = PagerAdapter()

    def serves(self, member: MemberConfiguration) -> bool:
        return member.name == "toy"

    def make(self, member: MemberConfiguration) -> Adapter:
        return self.pager


async def test_a_server_that_has_no_dump_needs_none(nats_server: NatsServer, until: Until) -> None:
    assert not isinstance(PagerAdapter(), DumpSource)
    with allot() as address:
        a = SimulatedServer("a", agent=(address.host, address.sip_port), tokens=(TOKEN,))
        configuration = configured(nats_server, f"{address.host}:{address.sip_port}", a)
        async with Agent(
            configuration, adapters={"pager": Pagers, **ADAPTERS}, tokens=Tokens((SecretStr(TOKEN),))
        ) as agent:
            await a.start()
            try:
                pager = instance(Pagers, agent.adapters["pager"]).pager
                pager.tell("SIP/pager", DeviceState.BUSY)
                await a.set_device("Custom:lamp", DeviceState.INUSE)
                await until(lambda: all(one.state.value == "synced" for one in agent.members.values()), 20)
                await a.wait_device("SIP/pager", DeviceState.BUSY, 10)
                await until(lambda: pager.given.get("Custom:lamp") is DeviceState.INUSE)
                # It tells no more than changes, so what it is not heard of in a round is not gone.
                before = agent.members["toy"].dumps.completed
                agent.members["toy"].refresh("requested")
                await until(lambda: agent.members["toy"].dumps.completed > before, 20)
                pager.tell("SIP/pager-2", DeviceState.RINGING)
                await a.wait_device("SIP/pager-2", DeviceState.RINGING, 10)
                assert await a.device_state("SIP/pager") is DeviceState.BUSY
                assert agent.membership.failures == 0
            finally:
                await a.close()


async def test_members_of_two_technologies_federate(nats_server: NatsServer, until: Until) -> None:
    with allot() as address:
        a = SimulatedServer("a", agent=(address.host, address.sip_port), tokens=(TOKEN,))
        configuration = configured(nats_server, f"{address.host}:{address.sip_port}", a)
        tokens = Tokens((SecretStr(TOKEN),))
        async with Agent(configuration, adapters={"toy": Toy, **ADAPTERS}, tokens=tokens) as agent:
            await a.start()
            try:
                toy = instance(Toy, agent.adapters["toy"]).servers["toy"]
                toy.set_device("SIP/toy-before", DeviceState.BUSY)
                await until(lambda: all(one.state.value == "synced" for one in agent.members.values()), 20)
                await a.wait_device("SIP/toy-before", DeviceState.BUSY, 10)
                for state in (DeviceState.RINGING, DeviceState.INUSE, DeviceState.NOT_INUSE):
                    toy.set_device("SIP/toy-1", state)
                    await a.wait_device("SIP/toy-1", state, 10)
                    await a.set_device("Custom:lamp", state)
                    await until(lambda state=state: toy.given.get("Custom:lamp") is state)  # type: ignore[misc]
                # What the toy has no more is taken back at the next dump.
                toy.set_device("SIP/toy-1", DeviceState.INUSE)
                await a.wait_device("SIP/toy-1", DeviceState.INUSE, 10)
                del toy.own["SIP/toy-1"]
                agent.members["toy"].refresh("requested")
                await a.wait_device("SIP/toy-1", neutral_device_state("SIP/toy-1"), 10)
                assert not agent.membership.failures
            finally:
                await a.close()
