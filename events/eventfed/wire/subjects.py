"""NATS subjects: how events, leases, rosters and requests are named on the bus (``docs/wire.md``)."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias
from urllib.parse import unquote_to_bytes

from ..model.eid import EID, known_eid
from ..model.elements import EventType
from ..model.errors import MalformedEntityID, MalformedSubject
from ..model.event import MAX_NAME, StateKey
from ..model.kinds import KINDS

__all__ = [
    "EventSubject",
    "ForgetSubject",
    "MemberSubject",
    "RefreshSubject",
    "ReportSubject",
    "RosterSubject",
    "StateSubject",
    "Subject",
    "Subjects",
    "check_agent",
    "check_token",
    "quote_key",
    "unquote_key",
]

_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,128}")
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f.*>%]")
_TYPES = {kind.token: kind for kind in EventType}


def _has_state(kind: EventType) -> bool:
    return kind in KINDS and KINDS[kind].has_state


def check_token(what: str, text: str) -> str:
    """`text`, if it can be one token of a subject.

    Raises:
        MalformedSubject: naming `what` it was for.
    """
    if not _TOKEN.fullmatch(text):
        raise MalformedSubject(f"{what} {text!r:.60}: use 1 to 128 letters, digits, '-' and '_'")
    return text


def check_agent(name: str) -> str:
    """`name`, if it can be an agent's: it stands in leases, and quoted in a subject, so host names with dots will do.

    Raises:
        MalformedSubject: for one that is empty, longer than 253 characters, or not printable.
    """
    if not (0 < len(name) <= 253 and name.isprintable()):
        raise MalformedSubject(f"agent {name!r:.60}: use 1 to 253 printable characters, such as the host's name")
    return name


def quote_key(name: str) -> str:
    """A device or mailbox name as one token: percent-encodes just what NATS forbids, so that people can read it.

    Raises:
        MalformedSubject: for an empty name, one that UTF-8 cannot hold, or one of over `MAX_NAME` bytes.
    """
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise MalformedSubject(f"{name!r:.60} cannot be written in UTF-8") from None
    if not 0 < size <= MAX_NAME:
        raise MalformedSubject(f"{name!r:.60}: a name has 1 to {MAX_NAME} bytes")
    return _FORBIDDEN.sub(lambda match: f"%{ord(match[0]):02X}", name)


def unquote_key(token: str) -> str:
    """The name behind a token.

    Raises:
        MalformedSubject: for a token that `quote_key` does not make; each name has one writing.
    """
    if token.isascii() and 0 < len(token) <= MAX_NAME and not _FORBIDDEN.search(token):
        return token
    try:
        name = unquote_to_bytes(token).decode()
        if quote_key(name) == token:
            return name
    except UnicodeError:
        pass
    raise MalformedSubject(f"{token!r:.60} is no quoted name")


@lru_cache(maxsize=8192)
def _eid(digits: str) -> EID:
    return known_eid(EID.from_hex(digits).octets)


@dataclass(frozen=True, slots=True)
class StateSubject:
    site: str
    state: StateKey


@dataclass(frozen=True, slots=True)
class MemberSubject:
    site: str
    eid: EID


@dataclass(frozen=True, slots=True)
class RosterSubject:
    site: str
    node: str


@dataclass(frozen=True, slots=True)
class EventSubject:
    site: str
    type: EventType
    eid: EID


@dataclass(frozen=True, slots=True)
class RefreshSubject:
    site: str
    eid: EID | None


@dataclass(frozen=True, slots=True)
class ForgetSubject:
    site: str
    state: StateKey


@dataclass(frozen=True, slots=True)
class ReportSubject:
    site: str
    agent: str


Subject: TypeAlias = (
    StateSubject | MemberSubject | RosterSubject | EventSubject | RefreshSubject | ForgetSubject | ReportSubject
)


class Subjects:
    """The subjects of one site of one federation.

    Args:
        federation: one token; by default ``<namespace>_<name>`` of the EventFederation.
        site: one token; ``local`` where there is one site only.
        prefix: the first token of every subject.

    Raises:
        MalformedSubject: for a part that is no token.
    """

    def __init__(self, federation: str, site: str = "local", *, prefix: str = "eventfed") -> None:
        self.federation = check_token("federation", federation)
        self.site = check_token("site", site)
        self.prefix = check_token("subject prefix", prefix)
        self._root = f"{prefix}.{federation}.{site}"
        self._states = f"{self._root}.state."
        self._any_site = f"{prefix}.{federation}."

    @property
    def stream(self) -> str:
        """The name of the JetStream stream."""
        return f"{self.prefix.upper()}_{self.federation}_{self.site}"

    @property
    def stored(self) -> list[str]:
        """The subjects that the stream keeps."""
        return [f"{self._root}.{kind}.>" for kind in ("state", "member", "roster")]

    def read(self, *, states: bool = True) -> list[str]:
        """What a federation client reads from the stream; without `states` only what is few."""
        return self.stored if states else self.stored[1:]

    def heard(self, states: bool, reports: bool) -> list[str]:
        """What a federation client hears of messages that are not stored.

        Args:
            states: requests to owners, and events without a last value.
            reports: what agents report.
        """
        requests = [self.refresh(), f"{self.refresh()}.*", self.forgets]
        return [*(requests if states else ()), *([self.events] if states else ()), *([self.reports] if reports else ())]

    def state(self, state: StateKey) -> str:
        return f"{self._root}.state.{state.type.token}.{state.eid.hex}.{quote_key(state.key)}"

    def member(self, eid: EID) -> str:
        return f"{self._root}.member.{eid.hex}"

    def roster(self, node: str) -> str:
        return f"{self._root}.roster.{quote_key(node)}"

    def event(self, kind: EventType, eid: EID) -> str:
        return f"{self._root}.event.{kind.token}.{eid.hex}"

    @property
    def events(self) -> str:
        """Every event without a last value."""
        return f"{self._root}.event.>"

    def report(self, agent: str) -> str:
        return f"{self._root}.report.{quote_key(agent)}"

    @property
    def reports(self) -> str:
        """What every agent reports."""
        return f"{self._root}.report.*"

    def refresh(self, eid: EID | None = None) -> str:
        return f"{self._root}.refresh.{eid.hex}" if eid else f"{self._root}.refresh"

    def forget(self, state: StateKey) -> str:
        return f"{self._root}.forget.{state.type.token}.{state.eid.hex}.{quote_key(state.key)}"

    @property
    def forgets(self) -> str:
        """Every request to forget a state."""
        return f"{self._root}.forget.>"

    def state_key(self, subject: str) -> StateKey | None:
        """The state that a subject of our site names; None for any other subject.

        Raises:
            MalformedSubject: for one of a state that `state` does not make.
        """
        if not subject.startswith(self._states):
            return None
        kind, _, rest = subject[len(self._states) :].partition(".")
        eid, _, key = rest.partition(".")
        event_type = _TYPES.get(kind)
        if event_type is None or not _has_state(event_type):
            raise MalformedSubject(f"{subject!r:.200}: no state is of such a type")
        try:
            return StateKey(event_type, _eid(eid), unquote_key(key))
        except MalformedEntityID as error:
            raise MalformedSubject(f"{subject!r:.200}: {error}") from None

    def parse(self, subject: str) -> Subject:
        """What a subject of this federation, at any site, names.

        Raises:
            MalformedSubject: for any other text.
        """
        if subject.startswith(self._any_site):
            site, *rest = subject[len(self._any_site) :].split(".")
            try:
                match rest:
                    case ["state", kind, eid, key] if kind in _TYPES and _has_state(_TYPES[kind]):
                        return StateSubject(site, StateKey(_TYPES[kind], _eid(eid), unquote_key(key)))
                    case ["member", eid]:
                        return MemberSubject(site, _eid(eid))
                    case ["roster", node]:
                        return RosterSubject(site, unquote_key(node))
                    case ["report", agent]:
                        return ReportSubject(site, unquote_key(agent))
                    case ["event", kind, eid] if kind in _TYPES:
                        return EventSubject(site, _TYPES[kind], EID.from_hex(eid))
                    case ["refresh"]:
                        return RefreshSubject(site, None)
                    case ["refresh", eid]:
                        return RefreshSubject(site, EID.from_hex(eid))
                    case ["forget", kind, eid, key] if kind in _TYPES and _has_state(_TYPES[kind]):
                        return ForgetSubject(site, StateKey(_TYPES[kind], EID.from_hex(eid), unquote_key(key)))
            except MalformedEntityID as error:
                raise MalformedSubject(f"{subject!r:.200}: {error}") from None
        raise MalformedSubject(f"{subject!r:.200} is no subject of federation {self.federation}")
