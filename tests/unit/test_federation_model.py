"""The whole client without I/O, against a stream that is a dict: any faults, then peace, and all must agree.

The simulated clock is shared. A server that was stopped, a cut line and a lost store are steps of a generated script.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from eventfed import EID, DeviceState, Event, FederationCounters, FederationSettings, Rosters, StateKey, Subjects, View
from eventfed._burials import DeputyPublication
from eventfed._claims import Claim, ClaimState
from eventfed._departures import Departures, Lapse
from eventfed._intake import Intake
from eventfed._markers import EXPECTED, MARKER, TTL
from eventfed._outbox import Message, Outbox
from eventfed._ownership import Ownership

SUBJECTS = Subjects("pbx")
SETTINGS = FederationSettings(state_ttl=600.0)
EIDS = [EID.derive("a"), EID.derive("b")]
MARKER_TTL = 10


@dataclass
class Stored:
    sequence: int
    body: bytes
    headers: dict[str, str]
    ends: float


@dataclass
class Server:
    """What nats-server does with the stream (nats-lab.md, 1): one message a subject, conditions, TTLs, markers."""

    messages: dict[str, Stored] = field(default_factory=dict)
    sequence: int = 0
    incarnation: int = 1
    listeners: list[Callable[[str, Stored], None]] = field(default_factory=list)
    history: list[tuple[str, Stored]] = field(default_factory=list)

    def store(self, subject: str, message: Message, now: float) -> bytes:
        headers = dict(message.headers or {})
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
        self.ownership = Ownership(
            agent=self.name,
            instance=f"{self.name}/{self.starts}",
            subjects=SUBJECTS,
            view=self.view,
            outbox=self.outbox,
            settings=SETTINGS,
            counters=self.counters,
            clock=lambda: world.now,
            wall_clock=lambda: world.now,
        )
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
        self.departures.start_anew()
        self.ownership.replay_began(self.view.begin_replay(str(server.incarnation)))
        for subject, stored in sorted(server.messages.items(), key=lambda item: item[1].sequence):
            self._receive(subject, stored)
        self.view.end_replay()
        self.departures.start_anew()
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
            self.departures.start_anew()
            if self.ownership.stalled():
                self._exchange(flush_only=True)
                if self.connected:
                    self.inbox.clear()
                    self.replay()
        self.ticked = self.world.now
        self._exchange()
        self.ownership.tick()
        for departure in self.departures.step(self.view):
            if isinstance(departure, Lapse):
                self.view.lapse(departure.key)
            else:
                self.outbox.put(DeputyPublication(departure, SUBJECTS, self.view, SETTINGS, self.counters))
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
                self.outbox.answer(token, answer, None, self.world.now)
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
        self.intake.stored(subject, stored.body, stored.headers, stored.sequence)

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


def test_a_state_reaches_the_other_node_and_goes_with_its_owner():
    world = World(3)
    a, b, c = world.nodes
    a.claim(EIDS[0]).complete()
    a.ownership.publish(device(EIDS[0], 1, 2))
    world.run(1)
    assert a.shown() == b.shown() == c.shown() != {}
    a.stopped = True
    world.run(SETTINGS.lease_ttl + SETTINGS.grace_period - 3)
    assert b.shown() != {}
    world.run(10)
    assert b.shown() == c.shown() == {}
    assert b.counters.tombstones + c.counters.tombstones == 1


def test_an_owner_that_was_hung_while_its_member_moved_never_shows_its_own_value():
    world = World(3)
    a, b, c = world.nodes
    claim = a.claim(EIDS[0])
    a.ownership.publish(device(EIDS[0], 1, 2))
    world.run(1)
    a.ownership.publish(device(EIDS[0], 1, 3))
    a.send()
    a.stopped = True
    b.claim(EIDS[0])
    b.ownership.publish(device(EIDS[0], 1, 5))
    world.run(60)
    assert not claim.held
    a.stopped = False
    revision = c.view.revision
    world.run(5)
    assert claim.state is ClaimState.LOST
    assert c.shown() == {device(EIDS[0], 1, 5).state_key: device(EIDS[0], 1, 5).elements}
    assert c.view.revision == revision
    assert c.counters.received > 0


def test_nothing_is_written_while_nothing_changes_but_leases():
    world = World(2)
    a, b = world.nodes
    a.claim(EIDS[0]).complete()
    for number in range(20):
        a.ownership.publish(device(EIDS[0], number, 2))
    world.run(5)
    before = world.server.sequence
    world.run(10)
    leases = 10 / SETTINGS.lease_renewal
    renewals = 20 * 3 * 10 / SETTINGS.state_ttl
    assert world.server.sequence - before <= leases + renewals + 2
    assert b.shown() == a.shown()


def test_a_clock_behind_anothers_is_no_reason_to_be_ignored():
    world = World(2)
    a, b = world.nodes
    claim = a.claim(EIDS[0])
    a.ownership.publish(device(EIDS[0], 1, 2))
    world.run(1)
    claim.release()
    world.run(1)
    world.server.messages.clear()
    a.ownership.wall_clock = lambda: 1.0
    a.start()
    a.ownership.wall_clock = lambda: 1.0
    again = a.claim(EIDS[0])
    a.ownership.publish(device(EIDS[0], 1, 3))
    world.run(2)
    assert again.held
    assert again.epoch < claim.epoch
    assert b.shown() == {device(EIDS[0], 1, 3).state_key: device(EIDS[0], 1, 3).elements}


def test_a_third_party_that_published_in_the_owners_very_millisecond_gives_way_too():
    world = World(2)
    a, b = world.nodes
    key = device(EIDS[0], 1, 2).state_key
    a.ownership.publish(device(EIDS[0], 1, 2))
    claim = b.claim(EIDS[0])
    b.ownership.publish(device(EIDS[0], 1, 3))
    world.run(2)
    assert claim.held
    assert a.ownership.own_value(key) is None
    assert a.shown() == b.shown() == {key: device(EIDS[0], 1, 3).elements}


few = st.integers(0, 2)
steps = st.one_of(
    st.tuples(st.just("publish"), few, few, few, st.integers(1, 8)),
    st.tuples(st.sampled_from(["claim", "release", "retract"]), few, few, few),
    st.tuples(st.sampled_from(["stop", "resume", "restart", "cut", "heal", "send"]), few),
    st.tuples(st.just("run"), st.sampled_from([1, 1, 2, 7, 40])),
    st.tuples(st.sampled_from(["wipe", "late write", "power cut"]), st.integers(0, 30)),
)


def play(world: World, script: list[tuple[object, ...]]) -> None:
    for step, *arguments in script:
        number, which, name, state, *_ = [int(n) for n in arguments if isinstance(n, int)] + [0, 0, 0, 1]
        node, eid = world.nodes[number % len(world.nodes)], EIDS[which % len(EIDS)]
        claim = node.ownership.claims.get(eid)
        match step:
            case "run":
                world.run(number)
            case "wipe":
                world.server.wipe()
            case "late write":
                world.server.late_write(number)
            case "power cut":
                connected = [node for node in world.nodes if node.connected]
                for node in connected:
                    node.disconnect()
                world.server.roll_back(number % 7)
                for node in connected:
                    if not node.stopped:
                        node.connect()
            case "stop" | "resume":
                node.stopped = step == "stop"
            case "restart" | "cut" | "heal" | "send" if not node.stopped:
                {"restart": node.restart, "cut": node.disconnect, "heal": node.connect, "send": node.send}[step]()
            case "claim" if not node.stopped and (
                claim is None or claim.state in (ClaimState.LOST, ClaimState.RELEASED)
            ):
                node.claim(eid)
            case "publish" if not node.stopped and claim is not None:
                node.ownership.publish(device(eid, name, state))
            case "retract" if not node.stopped and claim is not None:
                node.ownership.retract(device(eid, name, 1).state_key)
            case "release" if not node.stopped and claim is not None:
                claim.release()


@given(st.lists(steps, max_size=40))
@settings(max_examples=settings().max_examples // 4)
def test_after_any_faults_everybody_shows_what_the_owners_say(script: list[tuple[object, ...]]):
    world = World(3)
    play(world, script)
    for node in world.nodes:
        node.stopped = False
        node.connect()
    world.run(5)
    for eid in EIDS:
        holders = [node for node in world.nodes if node.holds(eid)]
        assert len(holders) <= 1, f"{eid} is held by {[node.name for node in holders]}"
        for holder in holders:
            holder.ownership.claims[eid].complete()
    for node in world.nodes:
        for eid, claim in node.ownership.claims.items():
            assert claim.state is not ClaimState.WAITING
            assert claim.held == (claim.state is ClaimState.HELD), eid
    world.run(SETTINGS.lease_ttl + SETTINGS.grace_period + 3 * SETTINGS.deputy_delay + 2 * Departures._LOOK_AGAIN)
    truth = {}
    held = {eid: node for eid in EIDS for node in world.nodes if node.holds(eid)}
    for eid, node in held.items():
        own = [key for key in node.view.of(eid) if node.ownership.own_value(key) is not None]
        truth |= {key: node.ownership.own_value(key).elements for key in own}
    for node in [*world.nodes, Node(world, "late")]:
        # What an owner before left behind, the holder may take back: it is no departed server's.
        assert {key: value for key, value in node.shown().items() if key in truth or key.eid not in held} == truth
        assert node.view.leases.keys() == held.keys()
        assert node.ownership.idle
