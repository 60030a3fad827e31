"""Counts what travels on the bus, by kind, as a plain NATS client sees it."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import nats

from eventfed import Event, EventfedError, EventType, Federation, StateKey, Subjects, decode_envelope
from eventfed_lab import LabError

__all__ = ["ASKED_FOR", "KINDS", "BusCount", "count_bus"]

KINDS = (
    "device states",
    "mailbox states",
    "renewals",
    "tombstones",
    "leases",
    "rosters",
    "reports",
    "events",
    "refreshes",
    "malformed",
    "requests to NATS",
    "deliveries and answers",
    "advisories",
    "other",
)
"""A renewal is a state that is published again with the value that it has."""

ASKED_FOR = ("device states", "mailbox states", "tombstones", "rosters", "events", "refreshes", "malformed", "other")
"""Kinds that travel only because something changed, or was asked for."""

_DELIVERY = "$JS.ACK."
"""How the reply subject begins of what a stream gives its readers: it comes under the subject that it was stored as."""
_PLUMBING = {"$JS.API.": "requests to NATS", "$JS.EVENT.": "advisories", "_INBOX.": "deliveries and answers"}


class BusCount:
    """How many messages there were of each of the `KINDS` since it was made."""

    def __init__(self, subjects: Subjects) -> None:
        self.kinds: Counter[str] = Counter()
        self.last: dict[str, str] = {}
        """Kind → the subject of its last message."""
        self._subjects = subjects
        self._values: dict[StateKey, Event] = {}

    def know(self, event: Event) -> None:
        """The bus has this value already; one that was noted before is later."""
        self._values.setdefault(event.state_key, event)

    def note(self, subject: str, body: bytes, reply: str = "") -> None:
        """Count one message."""
        kind = "deliveries and answers" if reply.startswith(_DELIVERY) else self._kind(subject, body)
        self.kinds[kind] += 1
        self.last[kind] = subject

    def _kind(self, subject: str, body: bytes) -> str:
        for prefix, kind in _PLUMBING.items():
            if subject.startswith(prefix):
                return kind
        if not subject.startswith(f"{self._subjects.prefix}.{self._subjects.federation}."):
            return "other"
        match subject.split(".")[3:4]:
            case ["state"]:
                return self._state(subject, body)
            case ["member"]:
                return "leases"
            case ["roster"]:
                return "rosters"
            case ["report"]:
                return "reports"
            case ["event"]:
                return "events"
            case ["refresh"]:
                return "refreshes"
        return "other"

    def _state(self, subject: str, body: bytes) -> str:
        try:
            key = self._subjects.state_key(subject)
            assert key is not None
            if not body:
                self._values.pop(key, None)
                return "tombstones"
            event = decode_envelope(body)
        except EventfedError:
            return "malformed"
        before, self._values[key] = self._values.get(key), event
        if before is not None and before.same_value(event):
            return "renewals"
        return "mailbox states" if key.type is EventType.MWI else "device states"


@asynccontextmanager
async def count_bus(url: str, subjects: Subjects) -> AsyncIterator[BusCount]:
    """Count everything that the server at `url` passes on while the context is open.

    Raises:
        LabError: the states that are on the bus already cannot be read.
    """
    count = BusCount(subjects)

    async def note(message: Any) -> None:
        count.note(message.subject, message.data, message.reply)

    client: Any = await nats.connect(url)
    try:
        await client.subscribe(">", cb=note, pending_msgs_limit=-1, pending_bytes_limit=-1)
        await client.flush()
        # Without these, the first renewal of what was there before would be taken for a change.
        async with Federation.connect(url, federation=subjects.federation, agent="soak") as federation:
            if not await federation.wait_synced(30.0):
                raise LabError(f"the states on {url} cannot be read: {federation.problem}")
            for state in federation.view.states.values():
                if state.event is not None and not state.tombstone:
                    count.know(state.event)
        yield count
    finally:
        await client.close()
