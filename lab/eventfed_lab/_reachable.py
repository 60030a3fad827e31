"""What can be asked of an Asterisk server over the network, wherever it runs."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

from eventfed import EID, DeviceState

from ._ami import AmiClient, AmiMessage
from ._configuration import AsteriskConfiguration, last_state, watch_aor
from ._errors import AmiConnectionLost, AmiError, LabError
from ._phone import Phone
from ._server import MailboxCounts, QueueMember, VoicemailMethod
from ._spool import VoicemailSpool

__all__ = ["ReachableAsterisk"]


class ReachableAsterisk:
    """A server with an AMI, the lab's dialplan, and a spool that can be reached as files.

    Anyone who makes one sets its attributes, keeps `_ami` up to date, and says whether it runs.

    Args:
        phone_host: where its phones are; absent: at its own address, as on loopback.
    """

    name: str
    eid: EID
    host: str
    sip_port: int
    configuration: AsteriskConfiguration
    spool: VoicemailSpool

    def __init__(self, phone_host: str | None = None) -> None:
        self._ami: AmiClient | None = None
        self._runs: Iterator[int] = itertools.count(1)
        self._phone_host = phone_host

    @property
    def running(self) -> bool:
        raise NotImplementedError

    @property
    def ami(self) -> AmiClient:
        """The AMI connection, lost with the process.

        Raises:
            LabError: there is none.
        """
        if self._ami is None:
            raise LabError(f"{self.name} has no AMI connection: start it first")
        return self._ami

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
        return Phone(self.host, self.sip_port, user, own_host=self._phone_host)

    # --- its voicemail ---

    async def mailbox_counts(self, mailbox: str) -> MailboxCounts:
        async with self.phone("watcher") as phone:
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

    async def _takes_commands(self, ami: AmiClient) -> bool:
        try:
            await ami.command("core show settings")
        except AmiConnectionLost:
            raise
        except AmiError:
            return False
        return True

    async def _drop_ami(self) -> None:
        if self._ami is not None:
            ami, self._ami = self._ami, None
            await ami.close()


def _announces(mailbox: str, counts: MailboxCounts) -> Callable[[AmiMessage], bool]:
    # The header Waiting does not help: it asks the local spool, no matter where the counts come from.
    wanted = (mailbox, str(counts.new), str(counts.old))
    return lambda event: (event["Mailbox"], event["New"], event["Old"]) == wanted
