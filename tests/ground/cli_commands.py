"""``eventfed`` as a process, against a nats-server with the leases of two servers."""

import asyncio
import json
import shlex
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eventfed import EID, ClaimState, Federation, FederationSettings
from eventfed_lab import NatsServer

__all__ = ["OWN", "QUICK", "A", "B", "Command", "Outcome", "agent", "until"]

A, B, OWN = (EID.parse(f"02:00:00:00:00:{last}") for last in ("0a", "0b", "99"))
QUICK = FederationSettings(lease_ttl=3.0, lease_renewal=0.5, grace_period=1.0, deputy_delay=0.3)


@dataclass
class Outcome:
    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


@dataclass
class Command:
    """``eventfed`` in a directory of its own, whose ``agent.toml`` names the nats-server."""

    folder: Path

    @asynccontextmanager
    async def running(self, arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "eventfed_cli", *shlex.split(arguments),
            cwd=self.folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()

    async def __call__(self, arguments: str) -> Outcome:
        async with self.running(arguments) as process, asyncio.timeout(20):
            out, err = await process.communicate()
            assert process.returncode is not None
            return Outcome(process.returncode, out.decode(), err.decode())


@asynccontextmanager
async def agent(
    server: NatsServer, *eids: EID, settings: FederationSettings = QUICK, name: str = "node-1"
) -> AsyncIterator[Federation]:
    """A client that holds the leases of some servers."""
    async with Federation.connect(server.url, federation="pbx", agent=name, settings=settings) as federation:
        claims = [
            federation.claim(eid, uid=f"udp:{eid}", name=f"pbx-{eid.hex[-1]}", address="udp:10.0.0.1:5060")
            for eid in eids
        ]
        await until(lambda: all(claim.state is ClaimState.HELD for claim in claims))
        yield federation
        for claim in claims:
            claim.release()
        await federation.flush(2)


async def until(condition: Callable[[], bool], within: float = 10.0) -> None:
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 - conditions of many kinds
            await asyncio.sleep(0.01)
