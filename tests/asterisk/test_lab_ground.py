"""The ground itself: does a lab server do what tests will rely on?"""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from eventfed import EID, DeviceState
from eventfed.asterisk_config import pjsip_snippet
from eventfed_lab import (
    AmiError,
    AsteriskConfiguration,
    AsteriskRoot,
    LabError,
    MailboxCounts,
    SimulatedServer,
    allot,
)
from tests.ground.fixture_types import AsteriskFactory

TOKEN = "token-of-the-lab-1"
LAMP = "1001@default"


async def test_a_server_boots_within_five_seconds_with_the_eid_it_was_given(asterisk: AsteriskFactory) -> None:
    started = time.monotonic()
    server = await asterisk(eid=EID.parse("02:00:00:00:0b:0c"))
    assert time.monotonic() - started < 5
    assert "Entity ID:                   02:00:00:00:0b:0c" in await server.cli("core show settings")
    assert server.rss > 20 * 1024 * 1024


async def test_a_server_listens_on_its_own_loopback_address_only(asterisk: AsteriskFactory) -> None:
    server = await asterisk()
    await server.call_phone("1001")  # fails, but lets the media engine have a go at its sockets
    sockets = await asyncio.to_thread(subprocess.check_output, ["ss", "-Hlntup"], text=True)
    local = [line.split()[4].rpartition(":") for line in sockets.splitlines() if f"pid={server.pid}," in line]
    # Its resolver has two sockets on ephemeral ports, from which it only asks.
    services = {(host, int(port)) for host, _, port in local if int(port) < 32768}
    assert {(server.host, 5060), (server.host, 5038)} <= services
    assert {host for host, _ in services} == {server.host}


async def test_a_voicemail_left_heard_and_deleted_shows_in_ami_and_on_the_lamp(asterisk: AsteriskFactory) -> None:
    server = await asterisk()
    async with server.phone("1001") as phone:
        lamp = await phone.subscribe("message-summary", "1001")
        assert not (await lamp.wait_for(lambda seen: True)).messages_waiting
        with server.ami.events("MessageWaiting") as events:
            await server.leave_voicemail(LAMP)
            _, left = events.drain()[-1]
            assert (left["Mailbox"], left["New"], left["Old"]) == (LAMP, "1", "0")
            assert (await lamp.wait_for(lambda seen: seen.messages_waiting)).counts == (1, 0)

            await server.hear_voicemail(LAMP)
            _, heard = events.drain()[-1]
            assert (heard["New"], heard["Old"]) == ("0", "1")
            await lamp.wait_for(lambda seen: not seen.messages_waiting, after=2)

            await server.delete_voicemail(LAMP)
            _, deleted = await events.next()
            assert (deleted["New"], deleted["Old"]) == ("0", "0")
        await lamp.wait_for(lambda seen: seen.counts == (0, 0), after=3)


async def test_messages_may_come_and_go_by_the_spool(asterisk: AsteriskFactory) -> None:
    server = await asterisk()
    await server.leave_voicemail(LAMP, 3, by="spool")
    assert await server.mailbox_counts(LAMP) == MailboxCounts(3, 0)
    await server.hear_voicemail(LAMP, by="spool")
    assert await server.wait_mailbox(LAMP, MailboxCounts(0, 3)) <= time.monotonic()


async def test_servers_with_one_spool_share_their_messages(asterisk: AsteriskFactory) -> None:
    first = await asterisk("a")
    second = await asterisk("b", spool=first.spool.folder)
    await first.leave_voicemail(LAMP, by="spool")
    await second.refresh_voicemail(LAMP)
    await second.wait_mailbox(LAMP, MailboxCounts(1, 0))


async def test_a_call_takes_a_phone_through_ringing_in_use_and_hold(asterisk: AsteriskFactory) -> None:
    server = await asterisk()
    device = "PJSIP/1001"
    async with server.phone("1001") as phone, server.phone("1002") as watcher:
        lamp = await watcher.subscribe("dialog", "1001")
        await lamp.wait_for(lambda seen: seen.dialog_state == "terminated")
        assert await server.device_state(device) == DeviceState.UNAVAILABLE
        await phone.register()
        await watcher.register()
        await server.wait_device(device, DeviceState.NOT_INUSE)
        await server.call_phone("1001", "1002")
        call = await phone.next_call()
        await server.wait_device(device, DeviceState.RINGING)
        await lamp.wait_for(lambda seen: seen.dialog_state == "early")
        await call.answer()
        await server.wait_device(device, DeviceState.INUSE)
        assert await server.hint("1001") == "InUse"
        await lamp.wait_for(lambda seen: seen.dialog_state == "confirmed")
        other = await watcher.next_call()
        with server.ami.events("BridgeEnter") as entered:
            await other.answer()
            await entered.next()
            await entered.next()
        await other.hold()
        await server.wait_device(device, DeviceState.ONHOLD)
        assert await server.hint("1001") == "Hold"
        await lamp.wait_for(lambda seen: seen.held)
        await other.unhold()
        await server.wait_device(device, DeviceState.INUSE)
        await call.hang_up()
        await server.wait_device(device, DeviceState.NOT_INUSE)
        async with asyncio.timeout(5):
            await other.ended.wait()
        await phone.register(0)
        await server.wait_device(device, DeviceState.UNAVAILABLE)


async def test_the_caller_may_hang_up(asterisk: AsteriskFactory) -> None:
    server = await asterisk()
    async with server.phone("1001") as phone:
        await phone.register()
        await server.call_phone("1001")
        call = await phone.next_call()
        await call.answer()
        await server.ami.action("Hangup", Channel="/^PJSIP/1001-.*$/")
        async with asyncio.timeout(5):
            await call.ended.wait()


async def test_a_phone_in_use_is_in_use_for_the_block(asterisk: AsteriskFactory) -> None:
    server = await asterisk()
    async with server.phone_in_use("1001"):
        assert await server.device_state("PJSIP/1001") == DeviceState.INUSE
    await server.wait_device("PJSIP/1001", DeviceState.UNAVAILABLE)


async def test_a_queue_knows_its_members_states_and_calls_the_free_ones(asterisk: AsteriskFactory) -> None:
    server = await asterisk()
    members = dict(await server.queue_members("support"))
    assert members == {
        "PJSIP/1001": DeviceState.UNAVAILABLE,
        "Custom:lamp1": DeviceState.UNKNOWN,
        "PJSIP/remoteonly": DeviceState.INVALID,
    }
    assert await server.call_queue("support") == ["Custom:lamp1"]
    await server.set_device("Custom:lamp1", DeviceState.INUSE)
    assert dict(await server.queue_members("support"))["Custom:lamp1"] == DeviceState.INUSE
    assert await server.call_queue("support") == []


async def test_the_loop_leaves_every_device_in_the_state_it_promised(asterisk: AsteriskFactory) -> None:
    server = await asterisk()
    expected = await server.run_changes(2_345, 100)
    assert len(expected) == 100
    assert set(expected.values()) == {DeviceState.INUSE, DeviceState.NOT_INUSE}
    assert {device: await server.device_state(device) for device in expected} == expected


async def test_many_variables_are_set_in_order_and_a_refusal_is_told(asterisk: AsteriskFactory) -> None:
    server = await asterisk()
    pairs = [(f"DEVICE_STATE(Custom:d{n % 10})", "BUSY" if n >= 990 else "INUSE") for n in range(1_000)]
    await server.ami.set_variables(pairs)
    states = await server.ami.device_states()
    assert {states[f"Custom:d{n}"] for n in range(10)} == {"BUSY"}
    with pytest.raises(AmiError, match="refused Setvar"):
        await server.ami.set_variable("DEVICE_STATE(PJSIP/1001)", "BUSY")


async def test_subscriptions_and_device_states_outlive_a_restart(asterisk: AsteriskFactory) -> None:
    server = await asterisk()
    await server.set_device("Custom:lamp1", DeviceState.RINGING)
    await server.leave_voicemail(LAMP, by="spool")
    async with server.phone("1001") as phone:
        lamp = await phone.subscribe("message-summary", "1001")
        await lamp.wait_for(lambda seen: seen.counts == (1, 0))
        before = len(lamp.notifications)
        await server.restart()
        await lamp.wait_for(lambda seen: seen.counts == (1, 0), after=before)
    assert await server.device_state("Custom:lamp1") == DeviceState.RINGING
    await server.stop_gracefully()
    assert not server.running
    with pytest.raises(LabError, match="does not run"):
        server.hang()


async def test_a_hung_server_answers_when_it_is_resumed(asterisk: AsteriskFactory) -> None:
    server = await asterisk()
    server.hang()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await server.cli("core show version")
    server.resume()
    assert "Asterisk" in await server.cli("core show version")


async def test_kill_and_close_leave_no_process_and_no_file(
    asterisk: AsteriskFactory, processes_of: Callable[[Path], list[int]]
) -> None:
    server = await asterisk()
    assert processes_of(server.folder) == [server.pid]
    server.kill()
    assert processes_of(server.folder) == []
    with pytest.raises(LabError, match="no AMI connection"):
        await server.cli("core show version")
    await server.start()
    server.hang()  # SIGKILL ends a stopped process as well
    await server.close()
    assert processes_of(server.folder) == []
    assert not server.folder.exists()
    # The fixture closes it once more, which must be harmless.


async def test_a_server_does_not_outlive_a_killed_parent(
    asterisk_root: AsteriskRoot, processes_of: Callable[[Path], list[int]]
) -> None:
    program = """
import asyncio, sys
from eventfed_lab import AsteriskServer, NatsServer, obtain_asterisk
async def main():
    async with AsteriskServer(obtain_asterisk(), "orphan") as server, NatsServer() as nats:
        print(server.folder, nats.pid, flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    folder, nats = (await parent.stdout.readline()).decode().split()
    alive = processes_of(Path(folder))
    assert len(alive) == 1
    parent.kill()
    await parent.wait()
    await _gone([*alive, int(nats)])


async def _gone(processes: list[int]) -> None:
    async with asyncio.timeout(5):
        while any(os.path.exists(f"/proc/{pid}") for pid in processes):  # noqa: ASYNC110, ASYNC240
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("host", [None, "::1"], ids=["IPv4", "IPv6"])
async def test_the_snippet_makes_a_real_server_talk_with_a_simulated_one(
    asterisk: AsteriskFactory, host: str | None
) -> None:
    """The two as each other's agent: the snippet is right, and so is the simulation's protocol."""
    with allot(host) as real_address, allot(host) as peer_address:
        snippet = pjsip_snippet(
            agent_host=peer_address.host,
            agent_port=peer_address.sip_port,
            token="another-token",
            previous_token=TOKEN,
        )
        async with SimulatedServer(
            "peer",
            agent=(real_address.host, real_address.sip_port),
            address=peer_address,
            token_sent=TOKEN,
        ) as peer:
            real = await asterisk(address=real_address, configuration=AsteriskConfiguration(pjsip_snippet=snippet))
            await real.set_device("Custom:lamp1", DeviceState.ONHOLD)
            await peer.wait_device("Custom:lamp1", DeviceState.ONHOLD)
            await real.leave_voicemail(LAMP, 2, by="spool")
            await peer.wait_mailbox(LAMP, MailboxCounts(2, 0))
            for device in ("Custom:lamp2", "PJSIP/1001", "PJSIP/remoteonly"):
                for state in (DeviceState.RINGING, DeviceState.BUSY, DeviceState.INUSE):
                    await peer.set_device(device, state)
                    await real.wait_device(device, state)
            assert await real.hint("2001") == "InUse"
            assert dict(await real.queue_members("support"))["PJSIP/remoteonly"] == DeviceState.INUSE
            await peer.leave_voicemail("1003@default", 3)
            await real.wait_mailbox("1003@default", MailboxCounts(3, 0))
            await real.stop_gracefully()
            assert peer.departures == {"asterisk-devicestate": 1, "asterisk-mwi": 1}


async def test_a_peer_without_the_token_injects_nothing(asterisk: AsteriskFactory) -> None:
    with allot() as address:
        snippet = pjsip_snippet(agent_host=address.host, agent_port=address.sip_port, token=TOKEN)
        real = await asterisk(configuration=AsteriskConfiguration(pjsip_snippet=snippet))
        async with SimulatedServer("peer", agent=(real.host, real.sip_port), address=address) as peer:
            await peer.set_device("PJSIP/remoteonly", DeviceState.BUSY)
            async with asyncio.timeout(10):
                while not peer.wedged:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        assert await real.device_state("PJSIP/remoteonly") == DeviceState.INVALID
