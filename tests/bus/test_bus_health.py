"""A NATS that lets us in and does not do its work is told, once, as its own fault; and all crosses once it does."""

import asyncio
import contextlib
import logging
from dataclasses import replace
from typing import Any

import pytest

from eventfed import (
    EID,
    Claim,
    Credentials,
    DeviceState,
    Event,
    Federation,
    FederationSettings,
    stream_configuration,
)
from eventfed.core.troubles import Trouble
from eventfed.wire.roster import Roster, RosterMember
from eventfed_lab import AgentProcess, NatsServer, SimulatedServer
from eventfed_operator.federation_bus import NatsBus
from tests.ground.fixture_types import Until
from tests.ground.narrowing import present
from tests.ground.nats_faults import FAULTS, Fault, make_stream

A = EID.parse("02:00:00:00:00:0a")
DEVICES = 20
NEW = Event.device("PJSIP/new", DeviceState.INUSE, A)


def devices(state: DeviceState) -> list[Event]:
    return [Event.device(f"PJSIP/{number}", state, A) for number in range(DEVICES)]


def shows(client: Federation, state: DeviceState) -> bool:
    return all((seen := client.get(event.state_key)) and seen.device_state is state for event in devices(state))


@pytest.fixture
def hurried(quick: FederationSettings) -> FederationSettings:
    return replace(quick, retry_pause_limit=0.5, stream_check=0.5, stream_recheck=0.3, lease_ttl=3.0)


@pytest.mark.timeout(90)
@pytest.mark.parametrize("fault", FAULTS, ids=str)
async def test_what_nats_does_not_do_is_told_once_and_heals(
    fault: Fault, hurried: FederationSettings, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "eventfed.federation")
    credentials = Credentials(**fault.options)
    async with NatsServer(configuration=fault.configuration, jetstream=fault.jetstream) as server:
        if fault.stream is not None:
            await make_stream(server, fault.stream)
        connect: dict[str, Any] = {"federation": "pbx", "settings": hurried, "credentials": credentials}
        async with Federation.connect(server.url, agent="a", **connect) as client:
            claim: Claim = client.claim(A, uid="u", name="a")
            if fault.stream is None:
                for event in devices(DeviceState.INUSE):
                    client.publish(event)
                assert await client.flush(10), client.problem
                assert client.problem is None
            kind, words = fault.trouble
            words = words.lower()  # as nats-py tells what is not permitted
            caplog.clear()
            await fault.begin(server)
            for event in [*devices(DeviceState.RINGING), NEW]:
                client.publish(event)
            await until(lambda: words in client.health.troubles.get(kind, "").lower(), 20)
            assert client.problem is not None
            if not fault.crosses:
                await until(lambda: client.health.trouble_of(A) is not None)
                await asyncio.sleep(2 * hurried.lease_ttl)
                assert words in client.health.troubles[kind].lower()
                assert client.health.trouble_of(A) is not None or not client.connected
            told = [record for record in caplog.records if words in record.getMessage().lower()]
            assert len(told) == 1
            assert told[0].levelno == logging.WARNING
            await fault.end(server)
            await until(lambda: client.problem is None, 30)
            assert await client.flush(10), client.problem
            await until(lambda: claim.held)
            assert client.health.trouble_of(A) is None
            assert "NATS works again" in caplog.text
            async with Federation.connect(server.url, agent="late", **connect) as late:
                await until(lambda: shows(late, DeviceState.RINGING))


async def test_a_lease_that_nats_does_not_renew_is_held_no_longer_than_its_ttl(
    hurried: FederationSettings, until: Until
) -> None:
    [full] = [fault for fault in FAULTS if fault.name == "store of the server full"]
    changes: list[bool] = []
    async with (
        NatsServer(jetstream=full.jetstream) as server,
        Federation.connect(server.url, federation="pbx", agent="a", settings=hurried) as client,
    ):
        claim = client.claim(A, uid="u", name="a", on_change=lambda claim: changes.append(claim.held))
        await until(lambda: claim.held)
        await full.begin(server)
        began = asyncio.get_running_loop().time()
        await until(lambda: not claim.held)
        assert asyncio.get_running_loop().time() - began < hurried.lease_ttl + 0.5
        await until(lambda: not claim.undisputed)
        await until(lambda: changes[-1] is False)
        client.publish(devices(DeviceState.INUSE)[0])
        await full.end(server)
        await until(lambda: claim.held and claim.undisputed)
        await until(lambda: changes[-1] is True)
        assert await client.flush(5)


async def test_while_nats_is_away_a_lease_lapses_and_its_server_is_still_served(
    hurried: FederationSettings, until: Until
) -> None:
    async with (
        NatsServer() as server,
        Federation.connect(server.url, federation="pbx", agent="a", settings=hurried) as client,
    ):
        claim = client.claim(A, uid="u", name="a")
        await until(lambda: claim.held)
        await server.stop()
        await asyncio.sleep(hurried.lease_ttl + 0.5)
        assert not claim.held
        assert claim.undisputed
        await server.start()
        await until(lambda: claim.held)


class SlowWire:
    """Passes on what the server says after a while."""

    def __init__(self, port: int, delay: float) -> None:
        self._target = port
        self.delay = delay
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self._target)
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        async def there() -> None:
            while data := await reader.read(65_536):
                to_server.write(data)

        async def listen() -> None:
            while data := await from_server.read(65_536):
                queue.put_nowait((loop.time() + self.delay, data))

        async def back() -> None:
            while True:
                at, data = await queue.get()
                await asyncio.sleep(max(0.0, at - loop.time()))
                writer.write(data)

        tasks = [asyncio.create_task(one) for one in (there(), listen(), back())]
        try:
            await asyncio.wait(tasks[:2], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            writer.close()
            to_server.close()


async def test_answers_that_are_slow_are_told_heard_and_nothing_is_lost(
    nats_server: NatsServer, hurried: FederationSettings, until: Until
) -> None:
    wire = SlowWire(nats_server.port, 0.0)
    settings = replace(hurried, request_timeout=3.0, ack_deadline=0.5, lease_ttl=9.0, lease_renewal=2.5)
    async with await asyncio.start_server(wire.serve, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        async with Federation.connect(
            f"nats://127.0.0.1:{port}", federation="pbx", agent="a", settings=settings
        ) as client:
            claim = client.claim(A, uid="u", name="a")
            await until(lambda: claim.held)
            wire.delay = 0.8  # longer than the deadline, shorter than four times that
            for event in devices(DeviceState.RINGING):
                client.publish(event)
            await until(lambda: Trouble.UNACKNOWLEDGED in client.health.troubles)
            assert "does not acknowledge" in present(client.problem)
            assert await client.flush(20)
            wire.delay = 0.0
            await until(lambda: client.problem is None)
            assert claim.held


async def test_an_agents_server_is_not_synced_while_nats_is_full_and_everybody_is_told(
    hurried: FederationSettings, until: Until
) -> None:
    [full] = [fault for fault in FAULTS if fault.name == "store of the server full"]
    reads = replace(hurried, create_stream=False, deputy=False, read_states=False, read_reports=True)
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(NatsServer(jetstream=full.jetstream))
        operator = await stack.enter_async_context(
            Federation.connect(server.url, federation="lab", agent="operator", settings=reads)
        )
        await until(lambda: operator.connected)
        await operator.administration.make_stream(stream_configuration(operator.subjects, hurried))
        agent = AgentProcess("a", server.url, sections={"agent": {"node": "node-1"}}, token="t")
        stack.push_async_callback(agent.close)
        asterisk = SimulatedServer("a", agent=(agent.host, agent.sip_port), tokens=("t",))
        stack.push_async_callback(asterisk.close)
        member = RosterMember("a", "uid-a", asterisk.host, asterisk.sip_port)
        assert await operator.wait_synced(5)
        await operator.administration.write_roster(Roster("node-1", (member,)))
        await agent.start()
        await asterisk.start()
        await agent.wait_members("synced")
        assert await agent.metric("eventfed_bus_problem") == 0
        await full.begin(server)
        await asterisk.set_device("Custom:lamp", DeviceState.INUSE)
        await agent.wait_members("syncing")
        [told] = await agent.member_list()
        assert "insufficient resources (10023): its store is full" in told["reason"]
        assert await agent.metric("eventfed_bus_problem", kind="refused") == 1
        assert await agent.metric("eventfed_bus_connected") == 1
        await until(lambda: [report for report in operator.reports.current() if "10023" in report.problem])
        bus = await NatsBus(operator).observe(mark="")
        assert "10023" in bus.agent_problems["a"]
        await asyncio.sleep(6)
        assert agent.log.count("insufficient resources (10023)") == 1
        assert (await agent.member_states())["a"] == "syncing"
        await full.end(server)
        await agent.wait_members("synced")
        assert (await agent.member_list())[0]["reason"] == ""
        assert await agent.metric("eventfed_bus_problem") == 0
        await until(lambda: not any(report.problem for report in operator.reports.current()))
