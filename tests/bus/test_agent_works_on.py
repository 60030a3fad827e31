"""What concerns the whole agent, its roster and its reports, fails: no member notices, and it is done again."""

from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest
from pydantic import SecretStr

from eventfed import Federation, FederationSettings, Subjects, stream_configuration
from eventfed.wire.roster import Roster, RosterMember
from eventfed_agent import orders, reporting
from eventfed_agent.adapter import Tokens
from eventfed_agent.agent import Agent
from eventfed_agent.configuration import AgentConfiguration
from eventfed_agent.process.adapters import ADAPTERS
from eventfed_lab import SHORT_TIMES, NatsServer, SimulatedServer, allot
from tests.ground.fixture_types import Until

TOKEN, UIDS = "a-token-of-the-test", {"uid-a", "uid-b"}
PLACES = ((orders, "with_rules", "roster_failed"), (reporting, "reported", "report_failed"))


@pytest.mark.parametrize(("owner", "name", "failure"), PLACES, ids=["roster", "report"])
async def test_a_roster_or_a_report_that_failed_is_done_again_and_no_member_notices(
    owner: Any,
    name: str,
    failure: str,
    nats_server: NatsServer,
    quick: FederationSettings,
    monkeypatch: pytest.MonkeyPatch,
    until: Until,
) -> None:
    settings = replace(quick, create_stream=False, deputy=False, read_states=False, read_reports=True)
    async with AsyncExitStack() as stack:
        operator = await stack.enter_async_context(
            Federation.connect([nats_server.url], federation="lab", agent="operator", settings=settings)
        )
        await until(lambda: operator.connected)
        subjects = Subjects("lab")
        await operator.administration.make_stream(stream_configuration(subjects, quick))
        address = stack.enter_context(allot())
        servers = {
            each: SimulatedServer(each, agent=(address.host, address.sip_port), tokens=(TOKEN,)) for each in ("a", "b")
        }
        listed = [RosterMember(each, f"uid-{each}", one.host, one.sip_port) for each, one in servers.items()]
        await operator.administration.write_roster(Roster("node-1", tuple(listed[:1]), ""))
        sections: dict[str, Any] = {
            "federation": {"name": "lab"},
            "nats": {"servers": [nats_server.url], "create_stream": False},
            "agent": {
                "name": "agent",
                "node": "node-1",
                "listen": [f"{address.host}:{address.sip_port}"],
                "http": None,
            },
            "events": [{"type": "device_state"}],
            **SHORT_TIMES,
        }
        agent = await stack.enter_async_context(
            Agent(
                AgentConfiguration.model_validate(sections),
                adapters=ADAPTERS,
                tokens=Tokens((SecretStr(TOKEN),)),
            )
        )
        for server in servers.values():
            stack.push_async_callback(server.close)
            await server.start()
        await until(lambda: [one.state.value for one in agent.members.values()] == ["synced"], 20)
        (first,) = agent.members.values()

        original, failures = getattr(owner, name), 0

        def fail_twice(*args: Any, **kwargs: Any) -> Any:
            nonlocal failures
            if failures < 2:
                failures += 1
                raise RuntimeError("broken by the test")
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, fail_twice)
        await operator.administration.write_roster(Roster("node-1", tuple(listed), ""))

        await until(lambda: failures == 2, 20)
        await until(lambda: sorted(agent.members) == ["a", "b"], 20)
        await until(lambda: all(one.state.value == "synced" for one in agent.members.values()), 20)
        await until(
            lambda: any(
                {one.uid for one in report.members} == {"uid-a", "uid-b"} for report in operator.reports.current()
            ),
            20,
        )
        assert agent.members["a"] is first
        assert agent.membership.failures == 0
        assert agent.event_log.warnings[failure] == 2
