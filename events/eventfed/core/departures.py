"""Departures: what becomes of the states of servers that have no lease. No I/O."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from ..model.eid import EID
from ..model.event import Event, StateKey
from ..model.kinds import kind_of
from .settings import FederationSettings, MailboxDeparture
from .view import View

__all__ = ["Departure", "Departures", "Expire", "Republish", "WriteTombstone", "rank"]


@dataclass(frozen=True, slots=True)
class WriteTombstone:
    """Replace the value at this sequence by a tombstone."""

    key: StateKey
    sequence: int


@dataclass(frozen=True, slots=True)
class Republish:
    """Publish a kept mailbox's last value again: the store that held it was lost."""

    key: StateKey
    event: Event


@dataclass(frozen=True, slots=True)
class Expire:
    """Drop a value that is not on the stream, here."""

    key: StateKey


Departure: TypeAlias = WriteTombstone | Republish | Expire


def rank(agent: str, agents: Iterable[str], eid: EID) -> int:
    """The place of `agent` among `agents` as deputy for a server, 0 first: rendezvous hashing, so that each agent
    works it out alone and an agent more or less moves only its own share."""
    own = _weight(agent, eid)
    return sum(1 for other in set(agents) if other != agent and (_weight(other, eid), other) > (own, agent))


def _weight(agent: str, eid: EID) -> bytes:
    return hashlib.blake2b(agent.encode("utf-8", "replace"), key=eid.octets, digest_size=8).digest()


@dataclass(slots=True)
class _Absence:
    since: float
    looked_at: float = float("-inf")
    done_at: int = -1


class Departures:
    """Watches which servers have states but no lease, and says what is to be done once their grace has ended.

    Args:
        agent: who we are, in the ranking of deputies.
        clock: seconds, monotonic.
    """

    _LOOK_AGAIN = 3.0
    """In seconds: how long to wait for what was said to happen before it is said again."""

    def __init__(self, settings: FederationSettings, agent: str, *, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._agent = agent
        self._clock = clock
        self._absences: dict[EID, _Absence] = {}

    def configure(self, settings: FederationSettings) -> None:
        """Other times: graces that run go on, and what was found in order is looked at again."""
        self._settings = settings
        for absence in self._absences.values():
            absence.done_at = -1

    def start_again(self) -> None:
        """The session was broken: leases may have been renewed unheard, so every grace starts again."""
        self._absences.clear()

    def step(self, view: View) -> list[Departure]:
        """What is to be done now. Call it about once a second; nothing is said unless the view is synced."""
        if not view.synced:
            self._absences.clear()
            return []
        now = self._clock()
        departures: list[Departure] = []
        absent = {eid for eid in view.owners() if eid not in view.leases}
        for eid in [eid for eid in self._absences if eid not in absent]:
            del self._absences[eid]
        for eid in absent:
            absence = self._absences.setdefault(eid, _Absence(now))
            if now - absence.looked_at < self._LOOK_AGAIN or absence.done_at == view.changes_of(eid):
                continue
            found, open_ends = self._depart(view, eid, now - absence.since)
            if found:
                absence.looked_at = now
            elif not open_ends:
                absence.done_at = view.changes_of(eid)
            departures += found
        return departures

    def _depart(self, view: View, eid: EID, absent_for: float) -> tuple[list[Departure], bool]:
        """What is to be done now, and whether there is more to do later."""
        settings = self._settings
        found: list[Departure] = []
        if absent_for < min(settings.grace_period, settings.mailbox_grace_period):
            return found, True
        agents = {lease.agent for lease in view.leases.values()}
        turn = rank(self._agent, agents, eid) * settings.deputy_delay if settings.deputy else float("inf")
        open_ends = False
        for key in view.open_keys(eid):
            state = view.states[key]
            mailbox = kind_of(key.type).may_be_kept
            keep = mailbox and settings.mailboxes is MailboxDeparture.KEEP
            if keep and (state.on_stream or state.event is None):
                continue
            grace = settings.mailbox_grace_period if mailbox and not keep else settings.grace_period
            ours = absent_for >= grace + turn
            if absent_for < grace:
                open_ends = True
            elif not keep and not state.on_stream:
                found.append(Expire(key))
            elif not ours:
                open_ends = True
            elif keep and state.event is not None:
                found.append(Republish(key, state.event))
            else:
                found.append(WriteTombstone(key, state.stream_sequence))
        return found, open_ends
