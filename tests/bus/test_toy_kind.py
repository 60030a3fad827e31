"""Another kind of event: one entry in the table of kinds and one codec, and it crosses between two agents."""

from contextlib import AsyncExitStack
from typing import Any

import pytest

from eventfed import EID, KINDS, Event, EventType, InformationElement, Kind, Merge
from eventfed_agent.adapter import Tokens
from eventfed_agent.agent import Agent
from eventfed_agent.configuration import AgentConfiguration
from eventfed_agent.pjsip.payloads import CODECS, Codec
from eventfed_agent.process.adapters import ADAPTERS
from eventfed_lab import SHORT_TIMES, NatsServer, allot
from tests.ground.fixture_types import Until
from tests.ground.toy_pbx import ToyPbx

NAME, VALUE = InformationElement.DEVICE, InformationElement.STATE


def toy(name: str, value: int, eid: EID) -> Event:
    return Event(EventType.PING, eid, ((NAME, name), (VALUE, value)))


KIND = Kind(
    "toy",
    EventType.PING,
    Merge.PER_SERVER,
    find_name=lambda event: str(event.get(NAME)),
    show=lambda event: {"value": int(event.get(VALUE) or 0)},
    text=lambda event: str(event.get(VALUE)),
    combine=lambda events: ({"value": max(int(event.get(VALUE) or 0) for event in events)}, "highest"),
    neutral=lambda name: ((NAME, name), (VALUE, 0)),
    package="asterisk-toy",
)
CODEC = Codec(
    "toystate",
    parse=lambda document, eid, time: toy(str(document["name"]), int(str(document["value"])), eid),
    build=lambda event: {"name": event.key, "value": event.get(VALUE)},
)


async def test_a_kind_crosses_by_one_entry_and_one_codec(
    nats_server: NatsServer, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(KINDS, KIND.type, KIND)
    monkeypatch.setitem(CODECS, "asterisk-toy", CODEC)
    async with AsyncExitStack() as stack:
        pbxs, agents = list[ToyPbx](), list[Agent]()
        for name in ("a", "b"):
            of_agent, of_pbx = stack.enter_context(allot()), stack.enter_context(allot())
            listen, place = (of_agent.host, of_agent.sip_port), (of_pbx.host, of_pbx.sip_port)
            sections: dict[str, Any] = {
                "federation": {"name": "lab"},
                "nats": {"servers": [nats_server.url]},
                "agent": {"name": f"agent-{name}", "listen": [f"{listen[0]}:{listen[1]}"], "http": None},
                "events": [{"type": "device_state"}, {"type": "toy"}],
                "members": [{"name": name, "host": place[0], "port": place[1]}],
                **SHORT_TIMES,
            }
            configuration = AgentConfiguration.model_validate(sections)
            agents.append(await stack.enter_async_context(Agent(configuration, adapters=ADAPTERS, tokens=Tokens())))
            pbxs.append(await stack.enter_async_context(ToyPbx(name, place, listen)))
        a, b = pbxs
        # Live, and each server with a value of its own under one name.
        a.set(toy("lamp", 3, a.eid))
        b.set(toy("lamp", 5, b.eid))
        await until(lambda: value(b, a.eid) == 3 and value(a, b.eid) == 5, 20)
        await until(lambda: all(m.state.value == "synced" for one in agents for m in one.members.values()), 20)
        a.set(toy("lamp", 4, a.eid))
        await until(lambda: value(b, a.eid) == 4)
        # What a dump lacks is taken back: its neutral value comes.
        del a.own["asterisk-toy", "lamp"]
        agents[0].members["a"].refresh("requested")
        await until(lambda: value(b, a.eid) == 0)
        assert value(a, b.eid) == 5
        assert not any(one.membership.failures for one in agents)


def value(pbx: ToyPbx, eid: EID) -> object:
    event = pbx.given.get((eid, "lamp"))
    return event.get(VALUE) if event is not None else None
