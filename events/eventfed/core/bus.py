"""What a federation client demands of a bus, and what a bus finds on the client's side. No I/O.

A bus is a way to distribute states. `jetstream.bus.JetStreamBus` is the one that eventfed brings.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from .messages import Message, Stored
from .outbox import Outbox
from .troubles import Trouble

__all__ = ["Bus", "BusAdministration", "BusListener", "Interest", "StreamInfo"]


class Interest(NamedTuple):
    """What a client wants to hear. Every client reads leases and rosters besides.

    Args:
        states: states, events without a last value, and what clients ask of owners (`Subjects.heard`).
        reports: what agents report of their members.
    """

    states: bool
    reports: bool


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """Where the bus keeps the last values of one federation.

    Args:
        created: its incarnation.
        configuration: as the bus gives it; of JetStream, that of ``STREAM.INFO``.
        messages: how many it holds.
        bytes: how large they are.
    """

    created: str
    configuration: Mapping[str, Any]
    messages: int
    bytes: int


class BusListener(Protocol):
    """The client's side of the bus. All is called from the event loop in which `Bus.run` runs; nothing of it blocks."""

    @property
    def outbox(self) -> Outbox:
        """What is to be stored. The bus takes from it, and answers each message that it took; see `answered`."""

    @property
    def interest(self) -> Interest:
        """What to read and to hear; it does not change."""

    def answered(self) -> None:
        """The bus has given an answer to `outbox`. Call it after each `Outbox.answer`."""

    # The connection

    def session_began(self) -> None:
        """There is a connection. What was taken from the outbox before and got no answer may or may not be stored."""

    def session_ended(self) -> None:
        """That connection is gone: all that is in flight is taken again."""

    def connect_failed(self) -> None:
        """No connection could be made. The bus tries again by itself."""

    def trouble(self, kind: Trouble, reason: str) -> None:
        """Something is wrong, for people; what works again ends it."""

    # What is stored

    def replay_began(self, incarnation: str) -> None:
        """The last values follow.

        Args:
            incarnation: tells the store of these values from one that had its name before, and has lost its values.
        """

    def stored(self, message: Stored) -> None:
        """A last value, or what has replaced one."""

    def replay_ended(self) -> None:
        """All was told that was stored when the replay began; from here on each change follows."""

    def replay_broke(self, reason: str) -> None:
        """Something may have been missed: another replay comes."""

    def stream_problem(self, reason: str) -> None:
        """Nothing can be read at present."""

    def stream_seen(self, faults: Sequence[str]) -> None:
        """Where the store is not as it must be, for people; empty if it is."""

    # What is not stored

    def heard(self, subject: str, body: bytes) -> None:
        """A message that somebody sent with `Bus.send`."""


class BusAdministration(Protocol):
    """What only an operator asks of a bus. Nothing is repeated: callers look at what there is, and ask again.

    Every method raises an `EventfedError` where the bus is away or refuses.
    """

    async def stream(self) -> StreamInfo | None:
        """Where the last values are kept; None if there is no such place."""

    async def make_stream(self, configuration: Mapping[str, Any]) -> None:
        """Make that place. One that is there with another configuration is left as it is."""

    async def update_stream(self, configuration: Mapping[str, Any]) -> None:
        """Give it another configuration."""

    async def delete_stream(self) -> None:
        """Delete it with all that it holds. One that is missing is as good."""

    async def store(self, subject: str, message: Message) -> int:
        """Store one message. Returns its sequence."""


class Bus(Protocol):
    """A way to distribute the states of one federation, as one client uses it. It demands:

    * **The last value per key.** Under each subject stands the message that was stored there last, until another one
      replaces it. Each has a sequence: a number of 1 or more that grows with each message under any subject.
    * **Writing on condition.** A message with `Message.expected` is stored only while the last one under its subject
      has that sequence (0: while there is none). The refusal says which sequence stands there. Leases rest on this.
    * **A TTL per value.** A message with `Message.ttl` is gone when that time has passed, and all who read are told
      (`Stored.gone`). A tombstone goes without another word.
    * **Replay, then follow.** A client that comes reads all last values, tombstones included, then each change in the
      order of sequences, and none is left out: a bus that may have missed one begins another replay.
    * **Plain messages.** `send` reaches who is there now. Nobody stores or confirms them.
    * **A place for administration**, for who has the rights.

    What it need not do: keep old values, keep order between what different clients write, or store everything once.
    A bus acknowledges a message only when it is stored. Without an acknowledgement the client stores its latest value
    again, and readers drop what is older.
    """

    @property
    def administration(self) -> BusAdministration: ...

    async def run(self, listener: BusListener) -> None:
        """Serve one client until cancelled: connect, and connect again whatever ends a connection."""

    def send(self, subject: str, body: bytes) -> bool:
        """Send a plain message. Returns False where it is dropped: the bus is away, or too many wait."""

    def replay_again(self) -> None:
        """Begin another replay: the client stood still, and what was read before cannot be trusted."""
