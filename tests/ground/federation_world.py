"""A federation of simulated clients and a simulated NATS, on one clock."""

from collections.abc import Callable
from dataclasses import dataclass, field

from eventfed import EID, DeviceState, Event, FederationCounters, FederationSettings, Rosters, StateKey, Subjects, View
from eventfed.core.claims import Claim, ClaimState
from eventfed.core.context import ClientContext
from eventfed.core.departures import Departures, Expire
from eventfed.core.intake import Intake
from eventfed.core.messages import Message
from eventfed.core.messages import Stored as Read
from eventfed.core.outbox import Outbox
from eventfed.core.ownership import Ownership
from eventfed.core.tombstones import DeputyEntry
from eventfed.jetstream.acknowledgements import read_acknowledgement
from eventfed.jetstream.headers import headers_of, is_marker

__all__ = ["EIDS", "SETTINGS", "Node", "World", "device"]

SUBJECTS = Subjects("pbx")
SETTINGS = FederationSettings(state_ttl=600.0)
EIDS = [EID.derive("a"), EID.derive("b")]
MARKER_TTL = 10
TTL, MARKER, EXPECTED = "Nats-TTL", "Nats-Marker-Reason", "Nats-Expected-Last-Subject-Sequence"


@dataclass
class Stored:
    sequence: int
    body: bytes
    headers: dict[str, str]
    ends: float


@dataclass
class Server:
    """What nats-server does with the stream (tried with 2.15.1): one message a subject, conditions, TTLs, markers."""

    messages: dict[str, Stored] = field(default_factory=dict)
    sequence: int = 0
    incarnation: int = 1
    listeners: list[Callable[[str, Stored], None]] = field(default_factory=list)
    history: list[tuple[str, Stored]] = field(default_factory=list)

    def store(self, subject: str, message: Message, now: float) -> bytes:
        headers = dict(headers_of(message) or {})
        last = self.messages.get(subject)
        expected = headers.pop(EXPECTED, None)
        actual = last.sequence if last is not None else 0
        if expected is not None and int(expected) != actual:
            error = '{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: %d"}}'
            return (error % actual).encode()
        ends = now + int(headers[TTL][:-1]) if TTL in headers else float("inf")
        self._put(subject, message.body, headers, ends)
        return b'{"stream":"S","seq":%d}' % self.sequence

    def lapse(self, now: float) -> None:
        for subject, stored in list(self.messages.items()):
            if stored.ends <= now:
                del self.messages[subject]
                if MARKER not in stored.headers:
                    self._put(subject, b"", {MARKER: "MaxAge"}, now + MARKER_TTL)

    def late_write(self, number: int) -> None:
        """A value that was stored before comes again, from a socket that hung."""
        values = [(subject, stored) for subject, stored in self.history if ".state." in subject and stored.body]
        if values:
            subject, stored = values[number % len(values)]
            self._put(subject, stored.body, stored.headers, stored.ends)

    def roll_back(self, number: int) -> None:
        """The last messages were not on the disk yet when the machine lost its power."""
        del self.history[max(0, len(self.history) - number) :]
        self.messages = dict(self.history)
        self.sequence = max((stored.sequence for stored in self.messages.values()), default=0)

    def wipe(self) -> None:
        self.history.clear()
        self.messages.clear()
        self.sequence = 0
        self.incarnation += 1

    def _put(self, subject: str, body: bytes, headers: dict[str, str], ends: float) -> None:
        self.sequence += 1
        stored = self.messages[subject] = Stored(self.sequence, body, headers, ends)
        self.history.append((subject, stored))
        for listener in self.listeners:
            listener(subject, stored)


class World:
    def __init__(self, nodes: int) -> None:
        self.now = 1000.0
        self.server = Server()
        self.nodes = [Node(self, f"n{number}") for number in range(nodes)]

    def run(self, seconds: float) -> None:
        for _ in range(int(seconds)):
            self.now += 1
            self.server.lapse(self.now)
            for node in self.nodes:
                node.run()


class Node:
    """One client: all its cores, and the shell's part of wiring them."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.connected = self.stopped = False
        self.starts = 0
        self.start()

    def start(self) -> None:
        """A new process: it remembers nothing."""
        world = self.world
        self.starts += 1
        self.counters = FederationCounters()
        self.view = View(clock=lambda: world.now)
        self.outbox = Outbox(window=50, deadline=3.0, pause=0.2, counters=self.counters)
        context = ClientContext(
            self.name,
            f"{self.name}/{self.starts}",
            SUBJECTS,
            SETTINGS,
            self.counters,
            clock=lambda: world.now,
            wall_clock=lambda: world.now,
        )
        self.ownership = Ownership(context, self.view, self.outbox)
        self.departures = Departures(SETTINGS, self.name, clock=lambda: world.now)
        self.intake = Intake(SUBJECTS, self.view, Rosters(), self.ownership, self.counters)
        self.inbox: list[tuple[str, Stored]] = []
        self.in_socket: list[tuple[str, str, Message]] = []
        self.connected = False
        self.ticked = world.now
        self.incarnation = 0
        self.connect()

    def restart(self) -> None:
        self._unlisten()
        self.start()

    def connect(self) -> None:
        if not self.connected:
            self.connected = True
            self.ownership.session_began()
            self.replay()

    def disconnect(self) -> None:
        """The line is cut; half of what was in the socket arrives all the same."""
        if self.connected:
            self.connected = False
            half = self.in_socket[: len(self.in_socket) // 2]
            for _, subject, message in half:
                self.world.server.store(subject, message, self.world.now)
            self.in_socket.clear()
            self._unlisten()
            self.ownership.session_ended()
            self.view.interrupt()

    def replay(self) -> None:
        server = self.world.server
        self._unlisten()
        self.incarnation = server.incarnation
        self.departures.start_again()
        self.ownership.replay_began(self.view.begin_replay(str(server.incarnation)))
        for subject, stored in sorted(server.messages.items(), key=lambda item: item[1].sequence):
            self._receive(subject, stored)
        self.view.end_replay()
        self.departures.start_again()
        self.ownership.replay_ended()
        server.listeners.append(self._listen)

    def run(self) -> None:
        """One second of it, unless it is stopped."""
        if self.stopped:
            return
        if self.connected and self.incarnation != self.world.server.incarnation:
            self.disconnect()
            self.connect()
        if self.world.now - self.ticked > SETTINGS.stall:
            self.departures.start_again()
            if self.ownership.stalled():
                self._exchange(flush_only=True)
                if self.connected:
                    self.inbox.clear()
                    self.replay()
        self.ticked = self.world.now
        self._exchange()
        self.ownership.tick()
        for departure in self.departures.step(self.view):
            if isinstance(departure, Expire):
                self.view.expire(departure.key)
            else:
                self.outbox.put(DeputyEntry(departure, SUBJECTS, self.view, SETTINGS, self.counters))
        self._exchange()

    def send(self) -> None:
        """What may be sent goes into the socket, where it stays if the process is stopped now."""
        if self.connected:
            self.in_socket += self.outbox.take(self.world.now)

    def _exchange(self, *, flush_only: bool = False) -> None:
        for _ in range(20):
            if not self.connected:
                return
            sent, self.in_socket = self.in_socket, []
            for token, subject, message in sent:
                answer = self.world.server.store(subject, message, self.world.now)
                self.outbox.answer(token, read_acknowledgement(answer, None), self.world.now)
            if flush_only:
                return
            received, self.inbox = self.inbox, []
            for subject, stored in received:
                self._receive(subject, stored)
            self.outbox.expire(self.world.now)
            self.send()
            if not (self.in_socket or self.inbox):
                return

    def _receive(self, subject: str, stored: Stored) -> None:
        self.intake.stored(Read(subject, stored.body, is_marker(stored.body, stored.headers), stored.sequence))

    def _listen(self, subject: str, stored: Stored) -> None:
        self.inbox.append((subject, stored))

    def _unlisten(self) -> None:
        if self._listen in self.world.server.listeners:
            self.world.server.listeners.remove(self._listen)
        self.inbox.clear()

    def shown(self) -> dict[StateKey, object]:
        return {key: event.elements for key in self.view.states if (event := self.view.get(key)) is not None}

    def claim(self, eid: EID, uid: str = "pod") -> Claim:
        return self.ownership.claim(eid, uid=uid, name=str(eid), address="", on_change=None)

    def holds(self, eid: EID) -> bool:
        claim = self.ownership.claims.get(eid)
        return claim is not None and claim.state is ClaimState.HELD


def device(eid: EID, number: int, state: int) -> Event:
    return Event.device(f"PJSIP/{number}", DeviceState(state), eid)
