"""A real Asterisk server on loopback."""

import asyncio
import contextlib
import os
import shutil
import time
from pathlib import Path
from typing import Literal

from eventfed import EID

from ._addresses import Allotment, allot
from ._ami import AmiClient
from ._configuration import AMI_SECRET, AMI_USER, AsteriskConfiguration, configuration_files
from ._errors import AmiConnectionLost, AmiError, LabError
from ._folders import claim_folder, release_folder
from ._lifetime import Lifetime
from ._process import ChildProcess
from ._reachable import ReachableAsterisk
from ._rootfs import AsteriskRoot
from ._spool import VoicemailSpool

__all__ = ["AsteriskServer"]


class AsteriskServer(ReachableAsterisk, Lifetime):
    """Asterisk in a directory of its own, bound to `host` alone; it ends with us at the latest.

    Several run from one root. A server of a root other than ``/`` runs in a chroot, which needs root. `address`
    is claimed by ``allot()`` (or ``allot("::1")`` for IPv6) where none is given; a server closes only what it
    claimed itself. Servers with one `spool` share their voicemail, as replicas do behind NFS.
    """

    kind: Literal["asterisk"] = "asterisk"

    def __init__(
        self,
        root: AsteriskRoot,
        name: str,
        *,
        configuration: AsteriskConfiguration | None = None,
        eid: EID | None = None,
        address: Allotment | None = None,
        spool: Path | None = None,
    ) -> None:
        super().__init__()
        self.root = root
        self.name = name
        self.configuration = configuration or AsteriskConfiguration()
        self._own_address = address is None
        self.address = address or allot()
        self.host = self.address.host
        self.sip_port = self.address.sip_port
        self.eid = eid or EID.derive(f"{self.host} {self.sip_port}")
        self.folder, self._lock = claim_folder("eventfed-asterisk", inside=root.path)
        self.spool = VoicemailSpool(spool or self.folder / "spool")
        self._process: ChildProcess | None = None

    # --- its life ---

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

    @property
    def log(self) -> str:
        """Notices, warnings and errors since the directory was made."""
        path = self.folder / "log/messages"
        return path.read_text(errors="replace") if path.exists() else ""

    async def start(self) -> None:
        """Write the configuration, start, and return when fully booted.

        Raises:
            LabError: it did not boot; with the end of its log.
        """
        self.launch()
        await self.wait_booted()

    def launch(self) -> None:
        """Write the configuration and start, without waiting for anything."""
        if self.running:
            return
        self.write_configuration()
        command = ["/usr/sbin/asterisk", "-f", "-n", "-C", f"{self._inside(self.folder)}/etc/asterisk.conf"]
        if self.root.path == Path("/"):
            command[0] = shutil.which("asterisk") or command[0]
        environment = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", "TERM": "dumb"}
        self._process = ChildProcess(
            command, root=self.root.path, output=self.folder / "log/output", environment=environment
        )

    async def wait_booted(self, within: float = 30.0) -> None:
        """Connect to the AMI and wait for FullyBooted.

        Raises:
            LabError: not in `within` seconds, or it ended.
        """
        deadline = time.monotonic() + within
        await self._drop_ami()
        while self._ami is None:
            try:
                self._ami = await AmiClient.connect(self.host, self.address.ami_port, AMI_USER, AMI_SECRET)
            except AmiError as error:
                if not self.running or time.monotonic() > deadline:
                    raise LabError(f"{self.name} did not boot: {error}\n{self._last_words()}") from error
                await asyncio.sleep(0.03)
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                await self._ami.wait_booted()
                # Asterisk says FullyBooted a little before its last commands are there (main/asterisk.c).
                while not await self._takes_commands(self._ami):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        except (TimeoutError, AmiError) as error:
            raise LabError(f"{self.name} did not boot: {error!r}\n{self._last_words()}") from error

    async def stop_gracefully(self, within: float = 10.0) -> None:
        """``core stop gracefully``: it ends its publications (Expires: 0) and waits for calls to end.

        Raises:
            TimeoutError: it still runs after `within` seconds.
        """
        await self._stop("core stop gracefully", within)

    async def stop_now(self, within: float = 10.0) -> None:
        """``core stop now``: its calls are cut and the agent hears nothing."""
        await self._stop("core stop now", within)

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
        if self._ami is not None:
            self._ami.abort()
            self._ami = None

    def hang(self) -> None:
        """Stop it where it stands (SIGSTOP): sockets stay open, nothing answers."""
        self._running_process().hang()

    def resume(self) -> None:
        """Let a hung server go on (SIGCONT)."""
        self._running_process().resume()

    async def restart(self) -> None:
        """Stop it now, if it runs, and start it with its present `configuration`; astdb and spool stay."""
        if self.running:
            await self.stop_now()
        await self.start()

    async def close(self) -> None:
        """Kill it and remove its directory."""
        self.kill()
        await asyncio.sleep(0)  # lets the aborted AMI connection close
        release_folder(self.folder, self._lock)
        if self._own_address:
            self.address.release()

    # --- inside ---

    def _running_process(self) -> ChildProcess:
        if self._process is None or not self._process.running:
            raise LabError(f"{self.name} does not run")
        return self._process

    def _inside(self, path: Path) -> str:
        """A path as the chroot sees it."""
        return "/" + str(path.relative_to(self.root.path))

    def write_configuration(self) -> None:
        """Write all its files as `configuration` says; a running server reads them when it is told to reload."""
        for part in ("etc", "cache", "varlib", "run", "log"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        self.spool.folder.mkdir(parents=True, exist_ok=True)
        places = ("usr/share/asterisk", "var/lib/asterisk")
        data = next((path for path in places if (self.root.path / path / "sounds").exists()), places[0])
        files = configuration_files(
            self.configuration,
            name=self.name,
            eid=self.eid,
            address=self.address,
            root=self.root,
            folder=self._inside(self.folder),
            spool=self._inside(self.spool.folder),
            data=f"/{data}",
        )
        for name, text in files.items():
            (self.folder / "etc" / name).write_text(text)

    async def _stop(self, command: str, within: float) -> None:
        process = self._running_process()
        with contextlib.suppress(AmiConnectionLost):  # it may close the connection before it answers
            await self.ami.command(command)
        await process.wait(within)
        await self._drop_ami()

    def _last_words(self) -> str:
        output = self.folder / "log/output"
        text = output.read_text(errors="replace") if output.exists() else ""
        return (self.log + text)[-3000:]
