"""The reader's core: an ephemeral pull consumer LAST_PER_SUBJECT, its requests, gaps, silence, and end of replay.

No I/O. nats-py's own readers are not used: ``fetch`` hides that the consumer was deleted, and the ordered consumer and
the KV watch stop without a word.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..model.errors import EventfedError

__all__ = ["ConsumerLost", "PullConsumer", "StreamPosition", "consumer_configuration"]

_ACK = "$JS.ACK."
_NANO = 1_000_000_000
_SILENT_TICKS = 3


class ConsumerLost(EventfedError):
    """The consumer is gone, has skipped something or is silent: a new one is needed, and a new replay."""


class StreamPosition(NamedTuple):
    """Where a message from the stream stands in it."""

    stream_sequence: int


def consumer_configuration(name: str, subjects: Sequence[str], *, inactive: float) -> dict[str, Any]:
    """The `config` of ``CONSUMER.CREATE``. NATS deletes it after `inactive` seconds without a request."""
    return {
        "name": name,
        "deliver_policy": "last_per_subject",
        "ack_policy": "none",
        "replay_policy": "instant",
        "mem_storage": True,
        "num_replicas": 1,
        "inactive_threshold": int(inactive * _NANO),
        **({"filter_subjects": list(subjects)} if len(subjects) > 1 else {"filter_subject": subjects[0]}),
    }


class PullConsumer:
    """The client's side of one consumer.

    Args:
        pending: ``num_pending`` of the answer to its creation.
        batch: how many messages to have asked for at any time; asked again when half of them have come.
        expires: how long one request stands, in seconds; at least twice the heartbeat.
        heartbeat: idle heartbeat, in seconds. Call `tick` as often.
    """

    def __init__(self, *, pending: int, batch: int, expires: float, heartbeat: float) -> None:
        self.synced = pending == 0
        """Whether all that was on the stream at the creation has been delivered, or is gone from it."""
        self._pending = pending
        self._batch = batch
        self._expires = expires
        self._heartbeat = heartbeat
        self._asked = 0
        self._sequence = 0
        self._silent_ticks = 0

    def request(self) -> bytes | None:
        """The body of a request for more, if it is time for one."""
        if self._asked > self._batch // 2:
            return None
        batch = self._batch - self._asked
        self._asked = self._batch
        return json.dumps(
            {
                "batch": batch,
                "expires": int(self._expires * _NANO),
                "idle_heartbeat": int(self._heartbeat * _NANO),
            }
        ).encode()

    def receive(self, reply: str, headers: Mapping[str, str] | None) -> StreamPosition | None:
        """One message of the consumer's inbox: its place, or None for a status message.

        Raises:
            ConsumerLost: when it shows that something was missed, or that the consumer is gone.
        """
        self._silent_ticks = 0
        if not reply.startswith(_ACK):
            self._status(headers or {})
            return None
        # v1: $JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>;
        # v2 (nats-server's js_ack_fc_v2) has domain and account before the stream, and may have more after pending.
        tokens = reply.split(".")
        first = 5 if len(tokens) == 9 else 7
        try:
            stream_sequence, sequence, pending = int(tokens[first]), int(tokens[first + 1]), int(tokens[first + 3])
        except (ValueError, IndexError):
            raise ConsumerLost(f"{reply!r:.120} is no place in a stream") from None
        if sequence != self._sequence + 1:
            raise ConsumerLost(f"message {sequence} of the consumer came after {self._sequence}")
        self._sequence = sequence
        self._asked -= 1
        if not self.synced and (sequence >= self._pending or pending == 0):
            self.synced = True
        return StreamPosition(stream_sequence)

    def tick(self) -> None:
        """A heartbeat's time has passed. Ticks are counted, not seconds: a process that stood still is no silence.

        Raises:
            ConsumerLost: after three without any message.
        """
        self._silent_ticks += 1
        if self._silent_ticks > _SILENT_TICKS:
            raise ConsumerLost(f"silent for {_SILENT_TICKS} heartbeats")

    def _status(self, headers: Mapping[str, str]) -> None:
        code, text = headers.get("Status", ""), headers.get("Description", "")
        if code == "100":
            last = headers.get("Nats-Last-Consumer", "")
            if last.isdecimal() and int(last) != self._sequence:
                raise ConsumerLost(f"the consumer is at {last}, we are at {self._sequence}")
            # What is left of the replay was deleted meanwhile: the consumer idles, so there is no more of it.
            self.synced = True
        elif code == "408" or (code == "409" and "Batch Completed" in text):
            unused = headers.get("Nats-Pending-Messages", "")
            self._asked = max(0, self._asked - (int(unused) if unused.isdecimal() else self._batch))
        else:
            raise ConsumerLost(f"status {code or 'none'} {text}".rstrip())
