"""A real Asterisk server on loopback."""

import asyncio
import contextlib
import itertools
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal, Self

from eventfed import EID, DeviceState

from ._addresses import Allotment, allot
from ._ami import AmiClient, AmiMessage
from ._configuration import AMI_SECRET, AMI_USER, AsteriskConfiguration, configuration_files, last_state, watch_aor
from ._errors import AmiConnectionLost, AmiError, LabError
from ._folders import claim_folder, release_folder
from ._phone import Phone
from ._process import ChildProcess
from ._rootfs import AsteriskRoot
from ._server import MailboxCounts, QueueMember, VoicemailMethod
from ._spool import VoicemailSpool

__all__ = ["AsteriskServer"]


class AsteriskServer:
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
        self._ami: AmiClient | None = None
        self._runs = itertools.count(1)

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

    @property
    def ami(self) -> AmiClient:
        """The AMI connection, made by `wait_booted` and lost with the process.

        Raises:
            LabError: there is none.
        """
        if self._ami is None:
            raise LabError(f"{self.name} has no AMI connection: start it first")
        return self._ami

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

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # --- its states ---

    async def cli(self, command: str) -> str:
        """Run a command of Asterisk's CLI (over the AMI) and return what it prints."""
        return await self.ami.command(command)

    async def set_device(self, device: str, state: DeviceState) -> None:
        """Set a ``Custom:`` device; AmiError for any other, and for UNKNOWN."""
        await self.ami.set_variable(f"DEVICE_STATE({device})", state.name)

    async def run_changes(self, count: int, devices: int, prefix: str = "Custom:load") -> dict[str, DeviceState]:
        """`count` changes over the devices ``<prefix>0``, ``<prefix>1``, … by a loop of the dialplan."""
        run = str(next(self._runs))
        with self.ami.events("UserEvent") as events:
            await self.ami.originate(
                "Local/loop@lab/n",
                Application="Wait",
                Data="3600",
                variables={
                    f"__{name}": value
                    for name, value in (
                        ("COUNT", str(count)), ("DEVICES", str(devices)), ("PREFIX", prefix), ("RUN", run)
                    )
                },
            )  # fmt: skip
            await events.wait_for(
                lambda event: event["UserEvent"] == "LoopDone" and event["Run"] == run, 30 + count / 200
            )
        return {f"{prefix}{number}": last_state(count, devices, number) for number in range(min(count, devices))}

    async def device_state(self, device: str) -> DeviceState:
        return DeviceState.parse(await self.ami.get_variable(f"DEVICE_STATE({device})"))

    async def wait_device(self, device: str, state: DeviceState, within: float = 10.0) -> float:
        with self.ami.events("DeviceStateChange") as events:
            if await self.device_state(device) == state:
                return time.monotonic()
            at, _ = await events.wait_for(
                lambda event: event["Device"].lower() == device.lower() and event["State"] == state.name, within
            )
            return at

    async def hint(self, extension: str) -> str:
        answer = await self.ami.action("ExtensionState", Exten=extension, Context="default")
        return answer["StatusText"]

    async def queue_members(self, queue: str) -> list[QueueMember]:
        members = await self.ami.action_list("QueueStatus", Queue=queue)
        return [
            QueueMember(event["StateInterface"], DeviceState(int(event["Status"])))
            for event in members
            if event.event == "QueueMember"
        ]

    async def call_queue(self, queue: str, seconds: float = 1.0) -> list[str]:
        """Place a call into the queue, let it ring, and return the state interfaces of the members called."""
        devices = self.configuration.queues[queue]
        with self.ami.events("UserEvent") as events:
            await self.ami.originate("Local/talk@lab/n", Application="Queue", Data=f"{queue},n")
            await asyncio.sleep(seconds)
            called = [event["Member"] for _, event in events.drain() if event["UserEvent"] == "MemberCalled"]
        await self.ami.action("Hangup", Channel="/^Local/talk@lab-.*$/")
        return [devices[int(number)] for number in called]

    async def call_phone(self, phone: str, other: str | None = None) -> None:
        """Ring a phone (an endpoint with a contact) and connect it, once it answers, to silence or to another one.

        In chan_pjsip it is the device that the *other* side has put on hold that is ONHOLD; wait until both are
        in the bridge (AMI BridgeEnter) before ``hold()``.
        """
        context, extension = ("lab", "talk") if other is None else ("default", other)
        await self.ami.originate(f"PJSIP/{phone}", Context=context, Exten=extension, Priority="1")

    @asynccontextmanager
    async def phone_in_use(self, phone: str) -> AsyncIterator[None]:
        async with self.phone(phone) as device:
            await device.register()
            await self.call_phone(phone)
            call = await device.next_call()
            await call.answer()
            await self.wait_device(f"PJSIP/{phone}", DeviceState.INUSE)
            try:
                yield
            finally:
                if self.running:
                    await call.hang_up()
                    await device.register(0)

    def phone(self, user: str) -> Phone:
        """A phone for one of the configured endpoints; open it with ``async with``."""
        return Phone(self.host, self.sip_port, user)

    # --- its voicemail ---

    async def mailbox_counts(self, mailbox: str) -> MailboxCounts:
        async with Phone(self.host, self.sip_port, "watcher") as phone:
            subscription = await phone.subscribe("message-summary", watch_aor(mailbox))
            first = await subscription.wait_for(lambda notification: True)
            await subscription.end()
        return first.counts

    async def wait_mailbox(self, mailbox: str, counts: MailboxCounts, within: float = 10.0) -> float:
        with self.ami.events("MessageWaiting") as events:
            if await self.mailbox_counts(mailbox) == counts:
                return time.monotonic()
            at, _ = await events.wait_for(_announces(mailbox, counts), within)
            return at

    async def leave_voicemail(self, mailbox: str, count: int = 1, *, by: VoicemailMethod = "call") -> None:
        """Leave messages, by calls into ``VoiceMail()`` (about 2 s each) or straight into the spool."""
        before = self.spool.counts(mailbox)
        with self.ami.events("MessageWaiting") as events:
            if by == "spool":
                self.spool.add(mailbox, count)
                await self.refresh_voicemail(mailbox)
            for number in range(count if by == "call" else 0):
                await self.ami.originate("Local/speak@lab/n", Application="VoiceMail", Data=f"{mailbox},s")
                await events.wait_for(_announces(mailbox, MailboxCounts(before.new + number + 1, before.old)), 30)

    async def hear_voicemail(self, mailbox: str, *, by: VoicemailMethod = "call") -> None:
        """Hear all new messages in ``VoiceMailMain()`` (about 3 s each), or move them in the spool."""
        before = self.spool.counts(mailbox)
        if by == "spool" or before.new == 0:
            self.spool.hear(mailbox)
            await self.refresh_voicemail(mailbox)
            return
        with self.ami.events("MessageWaiting") as events:
            for number in range(1, before.new + 1):
                await self.ami.originate("Local/listen@lab/n", Application="VoiceMailMain", Data=f"{mailbox},sa(0)")
                heard = MailboxCounts(before.new - number, before.old + number)
                await events.wait_for(_announces(mailbox, heard), 20)

    async def delete_voicemail(self, mailbox: str) -> None:
        """Delete all messages from the spool and have voicemail look again."""
        self.spool.clear(mailbox)
        await self.refresh_voicemail(mailbox)

    async def refresh_voicemail(self, mailbox: str) -> None:
        """Have voicemail count the mailbox's spool again (AMI VoicemailRefresh)."""
        number, _, context = mailbox.partition("@")
        await self.ami.action("VoicemailRefresh", Context=context, Mailbox=number)

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

    async def _takes_commands(self, ami: AmiClient) -> bool:
        try:
            await ami.command("core show settings")
        except AmiConnectionLost:
            raise
        except AmiError:
            return False
        return True

    async def _stop(self, command: str, within: float) -> None:
        process = self._running_process()
        with contextlib.suppress(AmiConnectionLost):  # it may close the connection before it answers
            await self.ami.command(command)
        await process.wait(within)
        await self._drop_ami()

    async def _drop_ami(self) -> None:
        if self._ami is not None:
            ami, self._ami = self._ami, None
            await ami.close()

    def _last_words(self) -> str:
        output = self.folder / "log/output"
        text = output.read_text(errors="replace") if output.exists() else ""
        return (self.log + text)[-3000:]


def _announces(mailbox: str, counts: MailboxCounts) -> Callable[[AmiMessage], bool]:
    # The header Waiting is of no use: it asks the local spool, whoever the counts come from.
    wanted = (mailbox, str(counts.new), str(counts.old))
    return lambda event: (event["Mailbox"], event["New"], event["Old"]) == wanted
