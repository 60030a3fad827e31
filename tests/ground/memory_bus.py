"""A bus in memory: what `Bus` demands, and nothing else. For clients of one event loop."""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from eventfed import BusListener, Message, Refusal, Stored, StreamInfo, StreamUnavailable, Subjects
from eventfed.wire.subjects import ReportSubject, StateSubject

__all__ = ["MemoryBus", "MemoryStore"]

_MARK = Message(b"", ttl=10.0, tombstone=True)
_WRONG_SEQUENCE = 10071


class Kept(NamedTuple):
    sequence: int
    message: Message


class MemoryStore:
    """What all clients share: the last message per subject, and who is there."""

    def __init__(self) -> None:
        self.kept: dict[str, Kept] = {}
        self.buses: list[MemoryBus] = []
        self.sequence = 0
        self.incarnation = 1

    def put(self, subject: str, message: Message) -> int | Refusal:
        last = self.kept[subject].sequence if subject in self.kept else 0
        if message.expected not in (None, last):
            return Refusal(400, f"wrong last sequence: {last}", last)
        self.sequence += 1
        kept = self.kept[subject] = Kept(self.sequence, message)
        if message.ttl is not None:
            asyncio.get_running_loop().call_later(message.ttl, self._lapse, subject, kept)
        for bus in self.buses:
            bus.tell_stored(subject, kept)
        return kept.sequence

    def _lapse(self, subject: str, kept: Kept) -> None:
        if self.kept.get(subject) is kept:
            del self.kept[subject]
            if not kept.message.tombstone:
                self.put(subject, _MARK)


class MemoryBus:
    """The bus of one client. It is its own administration: there is nothing to make."""

    def __init__(self, store: MemoryStore, subjects: Subjects) -> None:
        self._store = store
        self._subjects = subjects
        self._listener: BusListener | None = None
        self._connected = asyncio.Event()
        self._connected.set()

    @property
    def administration(self) -> "MemoryBus":
        return self

    async def run(self, listener: BusListener) -> None:
        outbox, clock, wake = listener.outbox, asyncio.get_running_loop().time, asyncio.Event()
        self._listener, outbox.on_put = listener, wake.set
        listener.session_began()
        self._store.buses.append(self)
        self.replay_again()
        try:
            while True:
                await self._connected.wait()
                wake.clear()
                while self._connected.is_set() and (taken := outbox.take(clock())):
                    for token, subject, message in taken:
                        outbox.answer(token, self._store.put(subject, message), clock())
                        listener.answered()
                await wake.wait()
        finally:
            self._leave()

    def cut(self) -> None:
        """It loses its connection."""
        if self._connected.is_set():
            self._connected.clear()
            self._leave()
            self._tell(lambda listener: listener.session_ended())

    def heal(self) -> None:
        """It has another one."""
        if not self._connected.is_set():
            self._connected.set()
            self._store.buses.append(self)
            self._tell(lambda listener: listener.session_began())
            self.replay_again()

    def _leave(self) -> None:
        if self in self._store.buses:
            self._store.buses.remove(self)

    def replay_again(self) -> None:
        self._tell(lambda listener: listener.replay_began(str(self._store.incarnation)))
        for subject, kept in sorted(self._store.kept.items(), key=lambda one: one[1].sequence):
            self.tell_stored(subject, kept)
        self._tell(lambda listener: listener.replay_ended())

    def send(self, subject: str, body: bytes) -> bool:
        for bus in self._store.buses if self in self._store.buses else ():
            bus.tell_heard(subject, body)
        return self in self._store.buses

    def tell_stored(self, subject: str, kept: Kept) -> None:
        stored = Stored(subject, kept.message.body, kept.message.tombstone, kept.sequence)
        states = isinstance(self._subjects.parse(subject), StateSubject)
        self._tell(lambda listener: listener.stored(stored) if listener.interest.states or not states else None)

    def tell_heard(self, subject: str, body: bytes) -> None:
        reports = isinstance(self._subjects.parse(subject), ReportSubject)

        def tell(listener: BusListener) -> None:
            if listener.interest.reports if reports else listener.interest.states:
                listener.heard(subject, body)

        self._tell(tell)

    def _tell(self, call: Callable[[BusListener], None]) -> None:
        if self._listener is not None:
            asyncio.get_running_loop().call_soon(partial(call, self._listener))

    async def stream(self) -> StreamInfo:
        return StreamInfo(str(self._store.incarnation), {}, len(self._store.kept), 0)

    async def make_stream(self, configuration: Mapping[str, Any]) -> None: ...

    update_stream = make_stream

    async def delete_stream(self) -> None: ...

    async def store(self, subject: str, message: Message) -> int:
        answer = self._store.put(subject, message)
        if isinstance(answer, Refusal):
            raise StreamUnavailable(subject, _WRONG_SEQUENCE, answer.text)
        return answer
