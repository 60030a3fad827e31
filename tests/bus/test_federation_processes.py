"""Clients in processes of their own: the example, and one that is stopped where it stands."""

import asyncio
import signal
import sys
import time
from pathlib import Path

import pytest

from eventfed import EID, Event, Mailbox
from eventfed_lab import NatsServer
from tests.ground.fixture_types import Clients, Until
from tests.ground.narrowing import present

ROOT = Path(__file__).parents[2]
A = EID.derive("a")
BOX = Event.mailbox("1001@default", 1, 0, A)

OWNER = """
import asyncio, sys, time
from eventfed import EID, Event, Federation, FederationSettings

async def main():
    settings = FederationSettings(lease_ttl=2, lease_renewal=0.4, grace_period=1, heartbeat=0.3, ack_deadline=1)
    async with Federation.connect(sys.argv[1], federation="pbx", agent="a", settings=settings) as a:
        claim = a.claim(EID.derive("a"), uid="u", name="a")
        count = 1
        while True:
            count = count + 1 if claim.held else count
            a.publish(Event.mailbox("1001@default", count, 0, EID.derive("a")))
            print(time.time(), claim.state, claim.held, flush=True)
            await asyncio.sleep(0.02)

asyncio.run(main())
"""


async def test_the_example_shows_what_there_is(clients: Clients, nats_server: NatsServer) -> None:
    async with clients("a") as (a,):
        a.claim(A, uid="u", name="asterisk-0")
        a.publish(BOX)
        assert await a.flush(5)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            ROOT / "examples" / "watch_states.py",
            nats_server.url,
            "pbx",
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        async with asyncio.timeout(10):
            shown = [await process.stdout.readline() for _ in range(3)]
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0
        assert [line.decode().rstrip() for line in shown] == [
            f"{A} is asterisk-0, served by a",
            f"{A} 1001@default: 1 new, 0 old",
            "that is all there is; now live",
        ]


@pytest.mark.parametrize("seconds", [1.0, 5.0])
async def test_an_agent_that_was_stopped_while_its_member_moved_does_not_win(
    clients: Clients, nats_server: NatsServer, until: Until, seconds: float
) -> None:
    async with clients("b", "c") as (b, c):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", OWNER, nats_server.url, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        try:
            await until(lambda: (event := c.get(BOX.state_key)) and event.counts.new > 5)
            process.send_signal(signal.SIGSTOP)
            claim = b.claim(A, uid="u", name="a")
            await until(lambda: claim.held)
            b.publish(Event.mailbox("1001@default", 0, 3, A))
            assert await b.flush(5)
            await until(lambda: present(c.get(BOX.state_key)).counts == Mailbox(0, 3))
            await asyncio.sleep(seconds)
            revision = c.view.revision
            resumed = time.time()
            process.send_signal(signal.SIGCONT)
            async with asyncio.timeout(10):
                told = await read_until(process.stdout, "lost")
            await asyncio.sleep(0.5)
            assert present(c.get(BOX.state_key)).counts == Mailbox(0, 3)
            assert c.view.revision == revision
            assert claim.held
            # The line that was being written when it was stopped may still say what was true then.
            assert sum(held == "True" for when, _, held in told if float(when) > resumed) <= 1
        finally:
            process.kill()
            await process.wait()


async def read_until(stream: asyncio.StreamReader, state: str) -> list[list[str]]:
    """Time, state and `held` of each line, to the first in this state."""
    lines: list[list[str]] = []
    while not lines or lines[-1][1] != state:
        lines.append((await stream.readline()).decode().split())
    return lines
