"""A NATS cluster that has lost its majority lets clients in, and stores nothing: it has no leader."""

import contextlib
import socket
from dataclasses import replace

import pytest

from eventfed import EID, DeviceState, Event, Federation, FederationSettings
from eventfed_lab import NatsServer
from tests.ground.fixture_types import Until

A = EID.parse("02:00:00:00:00:0a")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


@pytest.mark.timeout(120)
async def test_a_cluster_without_a_leader_is_told_and_all_crosses_once_it_has_one(
    quick: FederationSettings, until: Until
) -> None:
    routes = [free_port() for _ in range(3)]
    urls = ", ".join(f"nats://127.0.0.1:{port}" for port in routes)
    async with contextlib.AsyncExitStack() as stack:
        servers = []
        for number, port in enumerate(routes):
            text = f'cluster {{ name: lab, listen: "127.0.0.1:{port}", routes: [{urls}] }}'
            servers.append(await stack.enter_async_context(NatsServer(configuration=text, name=f"n{number}")))
        settings = replace(quick, replicas=3, request_timeout=2.0, stream_check=1.0, retry_pause_limit=0.5)
        client = await stack.enter_async_context(
            Federation.connect(servers[0].url, federation="pbx", agent="a", settings=settings)
        )
        assert await client.wait_synced(30), client.problem
        claim = client.claim(A, uid="u", name="a")
        state = Event.device("PJSIP/1", DeviceState.INUSE, A)
        client.publish(state)
        assert await client.flush(10), client.problem
        for one in servers[1:]:
            one.kill()
        client.publish(Event.device("PJSIP/1", DeviceState.RINGING, A))
        await until(lambda: client.problem is not None, 20)
        await until(lambda: not claim.held, 10)
        # Which of them it is depends on who notices first that the leader is gone.
        told = str(client.problem)
        assert any(words in told for words in ("NATS does not a", "no leader", "status 503")), told
        for one in servers[1:]:
            await one.start()
        await until(lambda: client.problem is None, 40)
        assert await client.flush(10)
        await until(lambda: claim.held)
        await until(lambda: (seen := client.get(state.state_key)) and seen.device_state is DeviceState.RINGING)
