"""A simulated Asterisk server: the same publications, device states and mailboxes, without Asterisk."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Literal

from sipmessage import Request, Response

from eventfed import EID, DeviceState, MalformedEvent, aggregate_device_state
from eventfed.model.device_kinds import DEFAULT_DEVICES
from eventfed.model.patterns import compile_pattern

from ._addresses import Allotment, allot
from ._configuration import AsteriskConfiguration, last_state
from ._errors import LabError
from ._lifetime import Lifetime
from ._publications import EVENTS, InboundPublications, OutboundPublication
from ._server import MailboxCounts, QueueMember, VoicemailMethod, hint_text
from ._sip import Address, SipSocket

__all__ = ["SimulatedServer"]

_NONE = MailboxCounts(0, 0)
_DEVICES, _MAILBOXES = EVENTS


class SimulatedServer(Lifetime):
    """Speaks Asterisk's PUBLISH protocol over UDP with the agent at `agent`, both ways.

    `tokens` are the accepted values of X-Eventfed-Token; without any, everybody is let in. Of `configuration`
    it reads all but what is about ``pjsip.conf``. Each trait that an agent can notice follows what
    Asterisk 22 was seen to do: a dump goes entry by entry and races live changes, a mailbox has one slot, a state
    under the server's own EID counts as its own and is published, and so on.
    """

    kind: Literal["simulated"] = "simulated"

    def __init__(
        self,
        name: str,
        *,
        agent: Address,
        tokens: tuple[str, ...] = (),
        configuration: AsteriskConfiguration | None = None,
        eid: EID | None = None,
        address: Allotment | None = None,
        expiration: int = 60,
        device_filter: str = DEFAULT_DEVICES,
        token_sent: str | None = None,
    ) -> None:
        self.name = name
        self.agent = agent
        self.tokens = tokens
        self.configuration = configuration or AsteriskConfiguration()
        self._own_address = address is None
        self.address = address or allot()
        self.host = self.address.host
        self.sip_port = self.address.sip_port
        self.eid = eid or EID.derive(f"{self.host} {self.sip_port}")
        self.expiration = expiration
        self.departures: Counter[str] = Counter()
        """Publications ended by ``Expires: 0``, by event package; of a peer."""
        self._token_sent = token_sent
        self._filter = compile_pattern(device_filter)
        self._socket: SipSocket | None = None
        self._inbound: InboundPublications | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._outbound: dict[str, OutboundPublication] = {}
        self._custom: dict[str, DeviceState] = {}
        self._spool: dict[str, MailboxCounts] = {}
        self._states: dict[str, dict[str, DeviceState]] = {}
        self._slots: dict[str, tuple[MailboxCounts, str]] = {}
        self._changed = asyncio.Event()
        self._dumping = 0
        self._behind: list[Callable[[], None]] = []

    # --- its life ---

    @property
    def running(self) -> bool:
        return self._socket is not None

    @property
    def wedged(self) -> bool:
        """A 401 has stopped a publication until the next start, as it does in Asterisk without outbound_auth."""
        return any(publication.wedged for publication in self._outbound.values())

    async def start(self) -> None:
        if self.running:
            return
        await self._reap()
        self._states.clear()
        self._slots.clear()
        self._dumping = 0
        self._behind.clear()
        inbound = self._inbound = InboundPublications(self._receive, self.tokens, self.departures)

        def handle(request: Request, source: Address) -> Response | None:
            return None if request.method == "ACK" else inbound.handle(request)

        self._socket = await SipSocket.open(self.host, self.sip_port, handle)
        for event in EVENTS:
            publication = OutboundPublication(self._socket, event, self.agent, self.expiration, self._token_sent)
            publication.put(self._body(type="refresh"))
            self._outbound[event] = publication
            self._spawn(publication.run(), event)
        if self.configuration.poll_mailboxes:
            self._spawn(self._poll(), "pollmailboxes")
        for phone in self.configuration.phones:
            self._set(f"PJSIP/{phone}", str(self.eid), DeviceState.UNAVAILABLE)
        for device, state in self._custom.items():
            self._set(device, str(self.eid), state)
        for mailbox in self.configuration.mailboxes:
            self._announce(mailbox)

    def accept_tokens(self, *tokens: str) -> None:
        """Other secrets, as after ``module reload res_pjsip_endpoint_identifier_ip.so``."""
        self.tokens = tokens
        if self._inbound is not None:
            self._inbound.tokens = tokens

    async def stop_gracefully(self) -> None:
        socket = self._running_socket()
        self._cancel()
        await asyncio.gather(*(publication.leave() for publication in self._outbound.values()))
        self._socket = None
        await socket.close()
        await self._reap()

    async def stop_now(self) -> None:
        socket = self._running_socket()
        self.kill()
        await socket.close()
        await self._reap()

    def kill(self) -> None:
        self._cancel()
        if self._socket is not None:
            self._socket.abort()
            self._socket = None

    def hang(self) -> None:
        self._running_socket().hang()

    def resume(self) -> None:
        self._running_socket().resume()

    def point(self, agent: Address) -> None:
        """Send to another agent from now on, as where a Service leads to another pod."""
        self.agent = agent
        for publication in self._outbound.values():
            publication.agent = agent

    async def restart(self) -> None:
        if self.running:
            await self.stop_now()
        await self.start()

    async def close(self) -> None:
        self.kill()
        await self._reap()
        if self._own_address:
            self.address.release()

    # --- its states ---

    async def set_device(self, device: str, state: DeviceState) -> None:
        """Any device, not only ``Custom:``."""
        self._running_socket()
        if device.startswith("Custom:"):
            self._custom[device] = state
        self._set(device, str(self.eid), state)

    async def run_changes(self, count: int, devices: int, prefix: str = "Custom:load") -> dict[str, DeviceState]:
        for step in range(count):
            number = step % devices
            state = DeviceState.INUSE if (step // devices + number) % 2 == 0 else DeviceState.NOT_INUSE
            await self.set_device(f"{prefix}{number}", state)
            await asyncio.sleep(0)
        return {f"{prefix}{number}": last_state(count, devices, number) for number in range(min(count, devices))}

    @asynccontextmanager
    async def phone_in_use(self, phone: str) -> AsyncIterator[None]:
        for state in (DeviceState.NOT_INUSE, DeviceState.RINGING, DeviceState.INUSE):
            await self.set_device(f"PJSIP/{phone}", state)
        try:
            yield
        finally:
            if self.running:
                await self.set_device(f"PJSIP/{phone}", DeviceState.NOT_INUSE)
                await self.set_device(f"PJSIP/{phone}", DeviceState.UNAVAILABLE)

    async def device_state(self, device: str) -> DeviceState:
        return self._aggregate(device)

    async def wait_device(self, device: str, state: DeviceState, within: float = 10.0) -> float:
        return await self._wait(lambda: self._aggregate(device) == state, within)

    async def hint(self, extension: str) -> str:
        return hint_text(self._aggregate(self.configuration.hints[extension]))

    async def queue_members(self, queue: str) -> list[QueueMember]:
        return [QueueMember(device, self._aggregate(device)) for device in self.configuration.queues[queue]]

    # --- its voicemail ---

    async def mailbox_counts(self, mailbox: str) -> MailboxCounts:
        return self._slots.get(mailbox, (_NONE, ""))[0]

    async def wait_mailbox(self, mailbox: str, counts: MailboxCounts, within: float = 10.0) -> float:
        return await self._wait(lambda: self._slots.get(mailbox, (_NONE, ""))[0] == counts, within)

    async def leave_voicemail(self, mailbox: str, count: int = 1, *, by: VoicemailMethod = "call") -> None:
        before = self._spool.get(mailbox, _NONE)
        self._store(mailbox, MailboxCounts(before.new + count, before.old))

    async def hear_voicemail(self, mailbox: str, *, by: VoicemailMethod = "call") -> None:
        before = self._spool.get(mailbox, _NONE)
        self._store(mailbox, MailboxCounts(0, before.new + before.old))

    async def delete_voicemail(self, mailbox: str) -> None:
        self._store(mailbox, _NONE)

    # --- inside ---

    def _running_socket(self) -> SipSocket:
        if self._socket is None:
            raise LabError(f"{self.name} does not run")
        return self._socket

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=f"{self.name} {name}")
        self._tasks.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        # A failed one stays for `_reap`, which raises what it died of.
        if task.cancelled() or task.exception() is None:
            self._tasks.discard(task)

    def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _reap(self) -> None:
        tasks, self._tasks = self._tasks, set()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome

    async def _wait(self, reached: Callable[[], bool], within: float) -> float:
        async with asyncio.timeout(within):
            while not reached():
                self._changed.clear()
                await self._changed.wait()
        return time.monotonic()

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(self.configuration.poll_frequency)
            for mailbox, (counts, _) in list(self._slots.items()):
                if counts != self._spool.get(mailbox, _NONE):
                    self._announce(mailbox)

    def _aggregate(self, device: str) -> DeviceState:
        states = self._states.get(device)
        state = aggregate_device_state(states.values()) if states else DeviceState.UNKNOWN
        if state is not DeviceState.UNKNOWN:
            return state
        # With nothing better in the cache, Asterisk asks the device's driver (main/devicestate.c).
        if device.removeprefix("PJSIP/") in self.configuration.phones:
            return DeviceState.UNAVAILABLE
        return DeviceState.INVALID if "/" in device else DeviceState.UNKNOWN

    def _set(self, device: str, eid: str, state: DeviceState, cachable: bool = True) -> None:
        if cachable:
            states = self._states.setdefault(device, {})
            if states.get(eid) == state:
                return
            states[eid] = state
            self._changed.set()
        if eid == str(self.eid) and self._filter.search(device):
            self._outbound[_DEVICES].put(self._device_body(device, state, cachable))

    def _store(self, mailbox: str, counts: MailboxCounts) -> None:
        self._running_socket()
        self._spool[mailbox] = counts
        self._announce(mailbox)

    def _announce(self, mailbox: str) -> None:
        self._set_slot(mailbox, self._spool.get(mailbox, _NONE), str(self.eid))

    def _set_slot(self, mailbox: str, counts: MailboxCounts, eid: str) -> None:
        self._slots[mailbox] = (counts, eid)
        self._changed.set()
        if eid == str(self.eid):
            self._outbound[_MAILBOXES].put(self._mailbox_body(mailbox, counts))

    def _receive(self, event: str, body: bytes) -> None:
        """Take a body as ``res_pjsip_publish_asterisk.c`` does."""
        try:
            content: dict[str, Any] = json.loads(body)
            kind, eid = content["type"], str(content["eid"]).lower()
            if kind == "refresh":
                self._dumping += 1
                self._spawn(self._dump(event), "dump")
            elif kind == "devicestate" and event == _DEVICES:
                cachable = content.get("cachable")
                whole = isinstance(cachable, int) and not isinstance(cachable, bool) and cachable == 1
                self._after_dump(partial(self._set, content["device"], eid, _device_state(content["state"]), whole))
            elif kind == "mailboxstate" and event == _MAILBOXES:
                counts = MailboxCounts(int(content["new"]), int(content["old"]))
                self._after_dump(partial(self._set_slot, content["uniqueid"], counts, eid))
            else:
                raise LabError(f"unknown type {kind!r}")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise LabError(f"a body that Asterisk refuses: {error!r}") from error

    def _after_dump(self, change: Callable[[], None]) -> None:
        """Asterisk handles requests one after the other, so a state that follows a ``refresh`` follows its dump."""
        if self._dumping:
            self._behind.append(change)
        else:
            change()

    async def _dump(self, event: str) -> None:
        await self._queue_all(event)
        self._dumping -= 1
        if not self._dumping:
            behind, self._behind = self._behind, []
            for change in behind:
                change()

    async def _queue_all(self, event: str) -> None:
        """The answer to ``refresh``: a snapshot, queued entry by entry while live changes go on."""
        publication, own = self._outbound[event], str(self.eid)
        if event == _DEVICES:
            snapshot = [(device, states[own]) for device, states in self._states.items() if own in states]
            for device, state in snapshot:
                if self._filter.search(device):
                    publication.put(self._device_body(device, state, True))
                await asyncio.sleep(0)
        else:
            # A slot that another server's counts overwrote is not the server's own any more.
            mailboxes = [(mailbox, counts) for mailbox, (counts, eid) in self._slots.items() if eid == own]
            for mailbox, counts in mailboxes:
                publication.put(self._mailbox_body(mailbox, counts))
                await asyncio.sleep(0)

    def _device_body(self, device: str, state: DeviceState, cachable: bool) -> bytes:
        return self._body(type="devicestate", device=device, state=state.name, cachable=int(cachable))

    def _mailbox_body(self, mailbox: str, counts: MailboxCounts) -> bytes:
        return self._body(type="mailboxstate", uniqueid=mailbox, old=counts.old, new=counts.new)

    def _body(self, **content: str | int) -> bytes:
        return json.dumps({**content, "eid": str(self.eid)}, separators=(",", ":")).encode()


def _device_state(text: object) -> DeviceState:
    try:
        return DeviceState.parse(text)
    except MalformedEvent:
        return DeviceState.UNKNOWN
