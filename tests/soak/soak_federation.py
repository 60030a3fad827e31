"""The federation that is soaked: its servers, what is changed in them, and what they must show."""

import asyncio
import contextlib
import random
import time
from collections.abc import Mapping, Sequence

from eventfed import DeviceState
from eventfed_lab import AsteriskConfiguration, AsteriskRoot, AsteriskServer, MailboxCounts, Pbx

__all__ = ["LAMP", "NAMES", "Load", "make_federation"]

NAMES = ("a", "b", "c")
LAMP = "everything"
MAILBOX_SHARE = 0.02
"""Of all changes, those of mailboxes."""
_MOST_NEW, _SPREAD = 2, 4
_STATES = (
    DeviceState.NOT_INUSE,
    DeviceState.INUSE,
    DeviceState.BUSY,
    DeviceState.RINGING,
    DeviceState.ONHOLD,
    DeviceState.UNAVAILABLE,
)


def make_federation(root: AsteriskRoot, *, devices: int, mailboxes: int, expiration: int, shared: bool) -> Pbx:
    """Three servers with the times of production; each has all mailboxes, and a hint on every device.

    The resource `LAMP` is a lamp for all mailboxes.
    """
    boxes = tuple(f"{3000 + number}@default" for number in range(mailboxes))
    lamp = f"[{LAMP}]\ntype = aor\nmailboxes = {','.join(boxes)}\n"
    hints = {str(7000 + number): device for number, device in enumerate(device_names(devices))}
    return Pbx(
        root,
        NAMES,
        configuration=AsteriskConfiguration(
            mailboxes=boxes, watched_mailboxes=(), hints=hints, queues={}, pjsip_extra=lamp
        ),
        events=(
            {"type": "mwi", "voicemail_storage": "Shared" if shared else "Separate"},
            {"type": "device_state"},
        ),
        # Empty sections take the place of the lab's short times.
        sections={"departure": {}, "timing": {}},
        shared_spool=shared,
        expiration=expiration,
    )


def device_names(count: int) -> list[str]:
    """The devices of all servers, in turn of the first, second and third one."""
    return [f"Custom:soak-{NAMES[number % len(NAMES)]}-{number // len(NAMES)}" for number in range(count)]


class Load:
    """Changes states of the servers, and knows what all must show.

    Every change is one that Asterisk announces: a device gets another state than it has, and a server's counts of a
    mailbox differ from what they were and from any sum with the others' (VoicemailRefresh is silent where the counts
    are those that stand in the mailbox, no matter who put them there: ``app_voicemail.c``). So each server keeps old
    messages, one, two and four, which the others' new ones never make up for.

    Args:
        pbx: made by `make_federation`, started.
        shared: the servers have one spool.
    """

    def __init__(self, pbx: Pbx, *, devices: int, mailboxes: Sequence[str], shared: bool) -> None:
        self.servers: list[AsteriskServer] = [pbx.asterisk(name) for name in NAMES]
        self.device_changes = 0
        self.mailbox_changes = 0
        self.changes_mailboxes = False
        """Known once `fill` has tried it."""
        self._shared = shared
        self._mailboxes = list(mailboxes)
        self._devices = device_names(devices)
        self._states: dict[str, DeviceState] = {}

    @property
    def changes(self) -> int:
        return self.device_changes + self.mailbox_changes

    @property
    def states(self) -> Mapping[str, DeviceState]:
        """Device → what its owner was told last."""
        return self._states

    async def fill(self) -> None:
        """Give each device a state, and each mailbox its least old messages.

        Asterisk 16 with ``pollmailboxes = no`` does not count a mailbox again when it is told to (VoicemailRefresh does
        nothing, tried). The mailboxes of such a server stay empty, and are not changed under load.
        """
        for number in range(len(self._devices)):
            await self._change_device(number)
        self.changes_mailboxes = bool(self._mailboxes) and await self._counts_again(self._mailboxes[0])
        for mailbox in self._mailboxes if self.changes_mailboxes else ():
            for server in self.servers[:1] if self._shared else self.servers:
                self._empty(server, mailbox)
                await server.refresh_voicemail(mailbox)
        self.device_changes = self.mailbox_changes = 0

    async def run(self, a_second: float, seconds: float) -> None:
        """Make `a_second` changes for `seconds`."""
        began = time.monotonic()
        for number in range(1, int(a_second * seconds) + 1):
            if self.changes_mailboxes and random.random() < MAILBOX_SHARE:
                await self._change_mailbox(random.choice(self._mailboxes))
            else:
                await self._change_device(random.randrange(len(self._devices)))
            await asyncio.sleep(max(0.0, began + number / a_second - time.monotonic()))

    async def _change_device(self, number: int) -> None:
        device = self._devices[number]
        state = random.choice([state for state in _STATES if state is not self._states.get(device)])
        self.device_changes += 1
        self._states[device] = state
        await self.servers[number % len(self.servers)].set_device(device, state)

    async def _change_mailbox(self, mailbox: str) -> None:
        server = random.choice(self.servers)
        counts = server.spool.counts(mailbox)
        if counts.new < _MOST_NEW and random.random() < 0.5:
            server.spool.add(mailbox)
        elif counts.new:
            server.spool.hear(mailbox)
        elif counts.old < self._least(server) + _SPREAD:
            server.spool.add(mailbox)
        else:
            self._empty(server, mailbox)
        self.mailbox_changes += 1
        await server.refresh_voicemail(mailbox)

    async def _counts_again(self, mailbox: str) -> bool:
        server = self.servers[0]
        with server.ami.events("MessageWaiting") as events:
            server.spool.add(mailbox)
            await server.refresh_voicemail(mailbox)
            with contextlib.suppress(TimeoutError):
                await events.wait_for(lambda event: event["Mailbox"] == mailbox, 3.0)
                return True
        server.spool.clear(mailbox)
        return False

    def _least(self, server: AsteriskServer) -> int:
        return int(2 ** self.servers.index(server)) if not self._shared else 1

    def _empty(self, server: AsteriskServer, mailbox: str) -> None:
        server.spool.clear(mailbox)
        server.spool.add(mailbox, self._least(server))
        server.spool.hear(mailbox)

    async def wrong(self) -> list[str]:
        """What servers show that is not true, in words."""
        wrong = []
        for server in self.servers:
            shown = await asyncio.gather(*(server.device_state(device) for device in self._states))
            for (device, state), seen in zip(self._states.items(), shown, strict=True):
                if seen is not state:
                    wrong.append(f"server {server.name} shows {device} as {seen.name}, not {state.name}")
            for mailbox in self._mailboxes:
                counts, lamp = self._counts(mailbox), await server.mailbox_counts(mailbox)
                if lamp != counts:
                    wrong.append(
                        f"server {server.name} shows {mailbox} as {lamp.new}/{lamp.old}, not {counts.new}/{counts.old}"
                    )
        return wrong

    async def wrong_after(self, within: float) -> list[str]:
        """What is still wrong `within` seconds from now; empty as soon as nothing is."""
        deadline = time.monotonic() + within
        while (wrong := await self.wrong()) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.5)
        return wrong

    def _counts(self, mailbox: str) -> MailboxCounts:
        spools = [server.spool.counts(mailbox) for server in (self.servers[:1] if self._shared else self.servers)]
        return MailboxCounts(sum(one.new for one in spools), sum(one.old for one in spools))
