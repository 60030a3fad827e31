"""Another technology than SIP: a short adapter, registered with an agent, and nothing of the product is changed."""

from pathlib import Path
from typing import Any

from pydantic import SecretStr

from eventfed import DeviceState
from eventfed.model.devices import neutral_device_state
from eventfed_agent.adapter import Tokens
from eventfed_agent.agent import Agent
from eventfed_agent.configuration import AgentConfiguration
from eventfed_agent.process.adapters import ADAPTERS
from eventfed_lab import SHORT_TIMES, NatsServer, SimulatedServer, allot
from tests.ground import toy_adapter
from tests.ground.fixture_types import Until
from tests.ground.narrowing import instance
from tests.ground.toy_adapter import Toy

TOKEN = "a-token-of-the-test"


def test_an_adapter_is_short() -> None:
    assert len(Path(toy_adapter.__file__).read_text(encoding="utf-8").splitlines()) < 60


async def test_members_of_two_technologies_federate(nats_server: NatsServer, until: Until) -> None:
    with allot() as address:
        a = SimulatedServer("a", agent=(address.host, address.sip_port), tokens=(TOKEN,))
        sections: dict[str, Any] = {
            "federation": {"name": "lab"},
            "nats": {"servers": [nats_server.url]},
            "agent": {"name": "agent", "listen": [f"{address.host}:{address.sip_port}"], "http": None},
            "events": [{"type": "device_state"}],
            "members": [
                {"name": "a", "host": a.host, "port": a.sip_port},
                {"name": "toy", "host": "127.0.0.99"},
            ],
            **SHORT_TIMES,
        }
        configuration, tokens = AgentConfiguration.model_validate(sections), Tokens((SecretStr(TOKEN),))
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
