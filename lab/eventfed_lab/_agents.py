"""Agents as processes of their own, as they run in earnest."""

import asyncio
import json
import os
import secrets
import shutil
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from eventfed.asterisk_config import pjsip_snippet
from eventfed.spec import EventSpec, device_filter

from ._addresses import Allotment, allot
from ._errors import LabError
from ._lifetime import Lifetime
from ._process import ChildProcess
from ._server import Server

__all__ = ["SHORT_TIMES", "AgentProcess"]

SHORT_TIMES: Mapping[str, Mapping[str, object]] = {
    "departure": {"grace_period": 3.0, "mailbox_grace_period": 3.0},
    "timing": {"keep_alive": 0.5, "lease_ttl": 4.0, "lease_renewal": 0.5, "unknown_source_silence": 1.0},
}
"""Sections of an agent's file for people who cannot wait: seconds where production has half a minute."""

MWI_AND_DEVICES: tuple[Mapping[str, object], ...] = (
    {"type": "mwi", "voicemail_storage": "Separate"},
    {"type": "device_state"},
)


class AgentProcess(Lifetime):
    """``eventfed agent`` with a configuration file of its own, on an address of its own.

    `sections` are merged over `SHORT_TIMES`; `devices` replaces the snippet's ``@device_state_filter``. The address
    and the header secret stay the same over restarts. `expiration` is what its members' snippet asks for, in seconds.
    `program` is another command, which takes ``--config FILE`` as the agent does.
    """

    def __init__(
        self,
        name: str,
        nats: str | Sequence[str],
        *,
        federation: str = "lab",
        members: Iterable[Server | Mapping[str, object]] = (),
        events: Sequence[Mapping[str, object]] = MWI_AND_DEVICES,
        sections: Mapping[str, Mapping[str, object]] | None = None,
        host: str | None = None,
        token: str | None = None,
        devices: str | None = None,
        expiration: int = 60,
        program: Sequence[str] = (sys.executable, "-m", "eventfed_cli", "agent"),
    ) -> None:
        self.name = name
        self.nats = [nats] if isinstance(nats, str) else list(nats)
        self.federation = federation
        self.members = list(members)
        self.events = list(events)
        self.sections = {**SHORT_TIMES, **(sections or {})}
        self.device_filter = devices or device_filter(map(EventSpec.model_validate, self.events))
        self.expiration = expiration
        self.program = list(program)
        self.token = token or secrets.token_hex(16)
        self._allotment: Allotment = allot(host)
        self._folder = Path(tempfile.mkdtemp(prefix="eventfed-agent-"))
        self.file = self._folder / "agent.toml"
        self._process: ChildProcess | None = None

    @property
    def host(self) -> str:
        return self._allotment.host

    @property
    def sip_port(self) -> int:
        return self._allotment.sip_port

    @property
    def url(self) -> str:
        """Where its HTTP endpoints are."""
        return f"http://{self._allotment.netloc}:{self._allotment.ports[3]}"

    @property
    def snippet(self) -> str:
        """The lines for the members' ``pjsip.conf``."""
        return pjsip_snippet(
            agent_host=self.host,
            agent_port=self.sip_port,
            token=self.token,
            device_filter=self.device_filter,
            expiration=self.expiration,
        )

    @property
    def process(self) -> ChildProcess:
        """Raises LabError before the first start."""
        if self._process is None:
            raise LabError(f"agent {self.name} was never started")
        return self._process

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.running

    @property
    def log(self) -> str:
        """All that it has written so far."""
        path = self._folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    # --- its life ---

    async def start(self, within: float = 15.0) -> None:
        """Write the file, start, and return when it is ready.

        Raises:
            LabError: it ended or was not ready in time; with the end of its log.
        """
        self.launch()
        deadline = time.monotonic() + within
        while not await self._is_ready():
            if not self.running or time.monotonic() > deadline:
                self.kill()
                raise LabError(f"agent {self.name} did not start:\n{self.log[-3000:]}")
            await asyncio.sleep(0.05)

    def launch(self) -> None:
        """Write the file and start, without waiting for anything."""
        self.write()
        command = [*self.program, "--config", str(self.file)]
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        self._process = ChildProcess(command, output=self._folder / "log", environment=environment)

    async def stop(self, within: float = 15.0) -> None:
        """SIGTERM, and SIGKILL after `within` seconds."""
        if self._process is not None:
            await self._process.terminate(within)

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()

    def hang(self) -> None:
        """SIGSTOP."""
        self.process.hang()

    def resume(self) -> None:
        """SIGCONT."""
        self.process.resume()

    async def close(self) -> None:
        """End it, remove its files and give its address back."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._allotment.release()

    # --- what it is told and what it tells ---

    def write(self) -> None:
        """Write the configuration file; a running agent notices within a second or so."""
        token_file = self._folder / "token"
        token_file.write_text(self.token + "\n")
        token_file.chmod(0o600)
        agent = {
            "name": self.name,
            "listen": [f"{self._allotment.netloc}:{self.sip_port}"],
            "http": f"{self._allotment.netloc}:{self._allotment.ports[3]}",
            "token_file": str(token_file),
            **self.sections.get("agent", {}),
        }
        sections: dict[str, Mapping[str, object]] = {
            "federation": {"name": self.federation, **self.sections.get("federation", {})},
            "nats": {"servers": self.nats, **self.sections.get("nats", {})},
            "agent": agent,
        }
        sections |= {name: section for name, section in self.sections.items() if name not in sections}
        lines = [line for name, section in sections.items() for line in _table(f"[{name}]", section)]
        for member in self.members:
            if not isinstance(member, Mapping):
                member = {"name": member.name, "host": member.host, "port": member.sip_port}
            lines += _table("[[members]]", member)
        for event in self.events:
            lines += _table("[[events]]", event)
        temporary = self.file.with_suffix(".new")
        temporary.write_text("\n".join([*lines, ""]))
        temporary.replace(self.file)

    async def get(self, path: str) -> str:
        """The body of one of its HTTP endpoints.

        Raises:
            OSError: no answer, or another status than 200.
        """
        return await asyncio.to_thread(self._get, path)

    def _get(self, path: str) -> str:
        with urllib.request.urlopen(self.url + path, timeout=5) as response:
            return str(response.read().decode())

    async def member_states(self) -> dict[str, str]:
        """Member name → state, as ``/members`` tells it."""
        return {member["name"]: member["state"] for member in await self.member_list()}

    async def member_list(self) -> list[dict[str, Any]]:
        """What ``/members`` tells."""
        members: list[dict[str, Any]] = json.loads(await self.get("/members"))
        return members

    async def metric(self, name: str, /, **labels: str) -> float:
        """The sum of all samples of a metric that carry these labels."""
        total = 0.0
        for line in (await self.get("/metrics")).splitlines():
            sample, _, value = line.rpartition(" ")
            if sample.partition("{")[0] == name and all(f'{key}="{text}"' in sample for key, text in labels.items()):
                total += float(value)
        return total

    async def wait_members(self, state: str = "synced", *names: str, within: float = 20.0) -> float:
        """Wait until the named members (without names: all) are in a state; returns the ``time.monotonic()``.

        Raises:
            TimeoutError: with what they are in instead.
        """
        deadline, states = time.monotonic() + within, {}
        while time.monotonic() < deadline:
            try:
                states = await self.member_states()
            except OSError:
                states = {}
            if states and all(states.get(name) == state for name in names or states):
                return time.monotonic()
            await asyncio.sleep(0.05)
        raise TimeoutError(
            f"agent {self.name}: members are {states}, not {state}, after {within:g} s\n{self.log[-3000:]}"
        )

    async def _is_ready(self) -> bool:
        try:
            return "ready" in await self.get("/readyz")
        except OSError:
            return False


def _table(head: str, values: Mapping[str, object]) -> list[str]:
    # TOML's strings, numbers, booleans and arrays of them are written as in JSON.
    return [head, *(f"{name} = {json.dumps(value)}" for name, value in values.items() if value is not None), ""]
