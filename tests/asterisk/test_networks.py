"""An agent with an address in each of two networks, and a server in each: every server is reached from its own."""

import tempfile

import pytest

from eventfed.asterisk_config import pjsip_snippet
from eventfed_lab import (
    AgentProcess,
    Allotment,
    AsteriskConfiguration,
    AsteriskRoot,
    AsteriskServer,
    NatsServer,
    allot,
)
from tests.ground.networks import HERE, HERE6, THERE, THERE6, two_networks
from tests.ground.strangers import crosses

USUAL_PORTS = (5060, 5038, 4222, 8080, 8081, 8082, 8083, 8084)


@pytest.mark.parametrize("ipv6", [False, True], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("loopback_first", [True, False], ids=["loopback first", "loopback last"])
async def test_a_member_on_another_network_is_reached_from_the_address_that_it_reaches(
    asterisk_root: AsteriskRoot, ipv6: bool, loopback_first: bool
) -> None:
    here, there = (HERE6, THERE6) if ipv6 else (HERE, THERE)
    host = "::1" if ipv6 else None
    with two_networks() as other_network, tempfile.TemporaryFile() as lock, allot(host) as address:
        async with NatsServer(host=address.host) as nats, AgentProcess("agent", nats.url, host=host) as agent:
            listen = [f"{_in_uri(agent.host)}:{agent.sip_port}", f"{_in_uri(here)}:5060"]
            agent.sections = {**agent.sections, "agent": {"listen": listen if loopback_first else listen[::-1]}}
            near = AsteriskServer(
                asterisk_root, "near", configuration=_of(agent, agent.host, agent.sip_port), address=address
            )
            far = AsteriskServer(
                asterisk_root,
                "far",
                configuration=_of(agent, here, 5060),
                address=Allotment(host=there, ports=USUAL_PORTS, _lock=lock),
            )
            try:
                agent.members += [near, far]
                await agent.stop()
                await agent.start()
                await near.start()
                other_network.start(far.launch)
                await far.wait_booted()
                await agent.wait_members("synced", "near", "far")
                await crosses(near, far)
                await crosses(far, near)
            finally:
                await near.close()
                await far.close()


def _of(agent: AgentProcess, host: str, port: int) -> AsteriskConfiguration:
    return AsteriskConfiguration(pjsip_snippet=pjsip_snippet(agent_host=host, agent_port=port, token=agent.token))


def _in_uri(host: str) -> str:
    return f"[{host}]" if ":" in host else host
