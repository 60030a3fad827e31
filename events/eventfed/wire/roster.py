"""Rosters: which members the agent of a node has to serve, and how that travels (``roster.<node>``).

The operator writes them and agents read them, so neither needs the other's address, and agents need no Kubernetes.
"""

import ipaddress
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import msgpack

from ..model.errors import MalformedEnvelope
from .envelope import ENVELOPE_VERSION, MAX_ENVELOPE, unpack_map

__all__ = ["MAX_ROSTER", "MAX_RULES", "Roster", "RosterMember", "decode_roster", "encode_roster"]

MAX_ROSTER = 256
"""How many members one node may have; a kubelet runs 110 pods unless told otherwise."""

MAX_RULES = 16_384
"""The longest rules, in bytes."""

_MAX_TEXT = 253
SipTransport: TypeAlias = Literal["udp", "tcp"]


@dataclass(frozen=True, slots=True)
class RosterMember:
    """One Asterisk server that an agent has to serve.

    Args:
        name: what people call it: the pod's name.
        uid: which life of it: the pod's UID.
        host: its IP address.
        port: its SIP port.
        transport: how SIP requests reach it.
        leaving: it has been told to end, and may still have calls; it goes from the roster when it is gone.
    """

    name: str
    uid: str
    host: str
    port: int = 5060
    transport: SipTransport = "udp"
    leaving: bool = False


@dataclass(frozen=True, slots=True)
class Roster:
    """The members on one node, by name. An empty one is a roster too: the agent then knows that it has nobody.

    Args:
        rules: what crosses, and what becomes of the states of who has gone, in place of the agent's own file: a JSON
            object with ``events`` and ``departure`` of an EventFederation. Empty: the file counts.
    """

    node: str
    members: tuple[RosterMember, ...] = ()
    rules: str = ""


def encode_roster(roster: Roster) -> bytes:
    """A roster as the body of a message. The same members in another order give the same bytes.

    Raises:
        MalformedEnvelope: for one that no reader would take.
    """
    members = [
        [one.name, one.uid, one.host, one.port, one.transport, one.leaving]
        for one in sorted(roster.members, key=lambda one: (one.name, one.uid))
    ]
    rules = {"rules": roster.rules} if roster.rules else {}
    packed: bytes = msgpack.packb({"v": ENVELOPE_VERSION, "node": roster.node, "members": members, **rules})
    if len(roster.rules.encode()) > MAX_RULES:
        raise MalformedEnvelope(f"roster: rules have at most {MAX_RULES} bytes")
    if len(members) > MAX_ROSTER or len(packed) > MAX_ENVELOPE:
        raise MalformedEnvelope(f"{len(members)} members on {roster.node!r:.80}: a roster has at most {MAX_ROSTER}")
    return packed


def decode_roster(data: bytes) -> Roster:
    """The roster in the body of a message.

    Raises:
        UnsupportedEnvelope: for one of a later version.
        MalformedEnvelope: for anything else that is no roster.
    """
    body = unpack_map(data)
    members = body.get("members")
    if not isinstance(members, list) or len(members) > MAX_ROSTER:
        raise MalformedEnvelope(f"roster: 'members' must be a list of at most {MAX_ROSTER}")
    rules = body.get("rules", "")
    if not isinstance(rules, str) or len(rules.encode(errors="replace")) > MAX_RULES:
        raise MalformedEnvelope(f"roster: 'rules' must be text of at most {MAX_RULES} bytes")
    return Roster(_text("node", body.get("node")), tuple(_member(one) for one in members), rules)


def _member(one: Any) -> RosterMember:
    # Later versions may add to the end.
    if not isinstance(one, list) or len(one) < 6:
        raise MalformedEnvelope("roster: a member has a name, uid, host, port, transport and a mark of its leaving")
    name, uid, host, port, transport, leaving = one[:6]
    if type(port) is not int or not 0 < port < 65_536:
        raise MalformedEnvelope(f"roster: port {port!r:.20} is none")
    if transport not in ("udp", "tcp"):
        raise MalformedEnvelope(f"roster: transport {transport!r:.20} is neither udp nor tcp")
    try:
        address = str(ipaddress.ip_address(_text("host", host)))
    except ValueError:
        raise MalformedEnvelope(f"roster: host {host!r:.60} is no IP address") from None
    return RosterMember(_text("name", name), _text("uid", uid), address, port, transport, leaving is True)


def _text(what: str, text: Any) -> str:
    if not isinstance(text, str) or not 0 < len(text) <= _MAX_TEXT:
        raise MalformedEnvelope(f"roster: {what!r} must be text of 1 to {_MAX_TEXT} characters")
    return text
