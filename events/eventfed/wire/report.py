"""Reports: how an agent's members stand, and how that travels (``report.<agent>``).

They are for the operator's status and for people; nothing that carries states depends on them.
"""

import enum
import hashlib
from dataclasses import dataclass, replace
from typing import Any

import msgpack

from ..model.errors import MalformedEnvelope
from .envelope import ENVELOPE_VERSION, MAX_ENVELOPE, unpack_map
from .roster import MAX_ROSTER

__all__ = [
    "MAX_NAMES",
    "AgentReport",
    "MemberState",
    "ReportedMember",
    "decode_report",
    "encode_report",
    "token_mark",
]

MAX_NAMES = 8
"""How many contended names a report holds."""

_MAX_TEXT = 253
_MAX_REASON = 240
_MAX_COUNT = 2**31


class MemberState(enum.StrEnum):
    """Where a member stands, in its agent's words."""

    CONNECTING = "connecting"
    SYNCING = "syncing"
    SYNCED = "synced"
    LOST = "lost"
    NOT_CONFIGURED = "not_configured"
    DUPLICATE = "duplicate"
    MOVED = "moved"


@dataclass(frozen=True, slots=True)
class ReportedMember:
    """How one member stands, in its agent's words.

    Args:
        uid: which life of it, as in the roster.
        state: one of `MemberState`, or a word of a later version.
        reason: why it is not synced, and what to do.
        eid: its EID as text; empty before it has told one.
        contended_mailboxes: how many mailboxes it overwrites after each injection.
        token: the mark (`token_mark`) of the header secret that it took last; empty if it has taken none.
    """

    uid: str
    state: str
    reason: str = ""
    eid: str = ""
    contended_mailboxes: int = 0
    token: str = ""


@dataclass(frozen=True, slots=True)
class AgentReport:
    """How the members of one agent stand.

    Args:
        agent: its name; `instance` tells two processes of that name apart.
        node: whose roster it serves; empty if it reads its members from a file.
        version: of its software.
        members: those that it serves.
        contended_names: the first few ``Custom:`` devices that several servers announce.
        problem: what NATS does not do for the agent, though it hears reports; empty if all is well.
    """

    agent: str
    instance: str
    node: str = ""
    version: str = ""
    members: tuple[ReportedMember, ...] = ()
    contended_names: tuple[str, ...] = ()
    problem: str = ""


def token_mark(secret: str) -> str:
    """Tells one header secret from another without telling it: twelve hex digits of its SHA-256."""
    return hashlib.sha256(secret.encode()).hexdigest()[:12]


def encode_report(report: AgentReport) -> bytes:
    """A report as the body of a message. Where it would be too large, the reasons are left out.

    Raises:
        MalformedEnvelope: for one of too many members.
    """
    for members in (report.members, tuple(replace(one, reason="") for one in report.members)):
        packed: bytes = msgpack.packb(
            {
                "v": ENVELOPE_VERSION,
                "agent": report.agent,
                "instance": report.instance,
                "node": report.node,
                "version": report.version,
                "members": [
                    [one.uid, one.state, one.reason[:_MAX_REASON], one.eid, one.contended_mailboxes, one.token]
                    for one in members
                ],
                "contended": [name[:_MAX_TEXT] for name in report.contended_names[:MAX_NAMES]],
                **({"problem": report.problem[:_MAX_TEXT]} if report.problem else {}),
            }
        )
        if len(report.members) <= MAX_ROSTER and len(packed) <= MAX_ENVELOPE:
            return packed
    raise MalformedEnvelope(f"{len(report.members)} members: a report has at most {MAX_ROSTER}")


def decode_report(data: bytes) -> AgentReport:
    """The report in the body of a message.

    Raises:
        UnsupportedEnvelope: for one of a later version.
        MalformedEnvelope: for anything else that is no report.
    """
    body = unpack_map(data)
    texts = {name: _text(name, body.get(name)) for name in ("agent", "instance", "node", "version")}
    members, contended = body.get("members"), body.get("contended", [])
    if not isinstance(members, list) or len(members) > MAX_ROSTER:
        raise MalformedEnvelope(f"report: 'members' must be a list of at most {MAX_ROSTER}")
    if not isinstance(contended, list) or len(contended) > MAX_NAMES:
        raise MalformedEnvelope(f"report: 'contended' must be a list of at most {MAX_NAMES}")
    return AgentReport(
        **texts,
        members=tuple(_member(one) for one in members),
        contended_names=tuple(_text("contended", name) for name in contended),
        problem=_text("problem", body.get("problem", "")),
    )


def _member(one: Any) -> ReportedMember:
    # Later versions may add to the end.
    if not isinstance(one, list) or len(one) < 6:
        raise MalformedEnvelope("report: a member has a uid, state, reason, EID, count of mailboxes and a token's mark")
    uid, state, reason, eid, mailboxes, token = one[:6]
    if type(mailboxes) is not int or not 0 <= mailboxes < _MAX_COUNT:
        raise MalformedEnvelope(f"report: {mailboxes!r:.20} is no number of mailboxes")
    return ReportedMember(
        _text("uid", uid), _text("state", state), _text("reason", reason), _text("eid", eid), mailboxes,
        _text("token", token),
    )  # fmt: skip


def _text(what: str, text: Any) -> str:
    if not isinstance(text, str) or len(text) > _MAX_TEXT:
        raise MalformedEnvelope(f"report: {what!r} must be text of at most {_MAX_TEXT} characters")
    return text
