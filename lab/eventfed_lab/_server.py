"""What tests and the demo ask of a server, real or simulated."""

from contextlib import AbstractAsyncContextManager
from typing import Literal, NamedTuple, Protocol

from eventfed import EID, DeviceState

__all__ = ["FederatedServer", "MailboxCounts", "QueueMember", "Server", "VoicemailMethod", "hint_text"]

VoicemailMethod = Literal["call", "spool"]
"""How a message comes, is heard or goes: by a call with sound and keys, or by files in the spool."""


class MailboxCounts(NamedTuple):
    """New (unheard) and old messages."""

    new: int
    old: int


class QueueMember(NamedTuple):
    """A queue member's state interface and its state, as ``Queue()`` sees it."""

    device: str
    state: DeviceState


class FederatedServer(Protocol):
    """One Asterisk server, at `host` and `sip_port`: what can be done to its states, and seen of them.

    Mailboxes are written ``1001@default``. `within` is in seconds; what is not there in time raises
    TimeoutError. Methods which wait for something return the ``time.monotonic()`` at which it was there.
    """

    name: str
    eid: EID
    host: str
    sip_port: int

    @property
    def kind(self) -> Literal["asterisk", "simulated"]: ...
    @property
    def running(self) -> bool: ...

    def kill(self) -> None:
        """End as by SIGKILL; of a pod, forget the connection to what has ended."""

    async def set_device(self, device: str, state: DeviceState) -> None:
        """Give a ``Custom:`` device a state of this server's own (UNKNOWN cannot be set)."""

    async def run_changes(self, count: int, devices: int, prefix: str = "Custom:load") -> dict[str, DeviceState]:
        """Make `count` changes over `devices` devices as fast as it can; returns each one's last state."""

    def phone_in_use(self, phone: str) -> AbstractAsyncContextManager[None]:
        """Inside the ``with`` block the phone is in a call: ``PJSIP/<phone>`` is INUSE on entry."""

    async def device_state(self, device: str) -> DeviceState:
        """The aggregate over all servers, as ``DEVICE_STATE()`` gives it here."""

    async def wait_device(self, device: str, state: DeviceState, within: float = 10.0) -> float:
        """Wait until the aggregate is `state`."""

    async def hint(self, extension: str) -> str:
        """State of an extension's hint: ``Idle``, ``InUse``, ``Ringing``, ``Hold``, ``Unavailable``, …"""

    async def mailbox_counts(self, mailbox: str) -> MailboxCounts:
        """What a phone that subscribes to the mailbox here is told."""

    async def wait_mailbox(self, mailbox: str, counts: MailboxCounts, within: float = 10.0) -> float:
        """Wait until phones here are told `counts`."""

    async def leave_voicemail(self, mailbox: str, count: int = 1, *, by: VoicemailMethod = "call") -> None:
        """Leave messages; returns when voicemail has announced them."""

    async def hear_voicemail(self, mailbox: str, *, by: VoicemailMethod = "call") -> None:
        """Hear all new messages, so that they are old; returns when voicemail has announced it."""

    async def delete_voicemail(self, mailbox: str) -> None:
        """Delete all messages from the spool and have voicemail announce it."""

    async def queue_members(self, queue: str) -> list[QueueMember]:
        """The members of a queue."""


class Server(FederatedServer, Protocol):
    """One Asterisk server on loopback, which can be started and ended."""

    async def start(self) -> None:
        """Start and return when fully booted."""

    async def stop_gracefully(self) -> None:
        """Leave its publications and end."""

    async def stop_now(self) -> None:
        """End without a word to the agent."""

    def hang(self) -> None:
        """Stop where it stands, sockets open."""

    def resume(self) -> None:
        """Go on after `hang`."""

    async def restart(self) -> None:
        """End without a word, if it runs, and start again; device states, spool and subscriptions are kept."""

    async def close(self) -> None:
        """End and remove all traces."""


def hint_text(state: DeviceState) -> str:
    """The text of a hint on one device (``ast_devstate_to_extenstate`` and ``ast_extension_state2str``)."""
    return _HINT_TEXTS[state]


_HINT_TEXTS = {
    DeviceState.UNKNOWN: "Idle",
    DeviceState.NOT_INUSE: "Idle",
    DeviceState.INUSE: "InUse",
    DeviceState.BUSY: "Busy",
    DeviceState.INVALID: "Unavailable",
    DeviceState.UNAVAILABLE: "Unavailable",
    DeviceState.RINGING: "Ringing",
    DeviceState.RINGINUSE: "InUse&Ringing",
    DeviceState.ONHOLD: "Hold",
}
