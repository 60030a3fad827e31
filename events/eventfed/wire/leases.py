"""Leases: who serves a member, and how that travels (``docs/wire.md``, "Lease")."""

from dataclasses import dataclass

import msgpack

from ..model.eid import EID
from ..model.errors import MalformedEntityID, MalformedEnvelope
from .envelope import ENVELOPE_VERSION, unpack_map

__all__ = ["Lease", "decode_lease", "encode_lease"]

_TEXTS = ("uid", "name", "agent", "instance", "address", "stream")
_MAX_TEXT = 1024
_MAX_NUMBER = 2**63


@dataclass(frozen=True, slots=True)
class Lease:
    """One agent's word that it serves one member.

    Args:
        eid: the member.
        uid: which life of the member: the pod's UID; another one is another server, whatever its EID.
        name: what people call it.
        agent: who serves it.
        instance: which process of that agent.
        epoch: numbers the ownerships of this EID, each higher than the one before; unix milliseconds at least.
        address: where the member is reached.
        complete: whether everything the agent knows of the member is on the stream.
        stream: the incarnation of the stream (its ``created`` time) for which `complete` was said.
        since: when this ownership began, in seconds since 1970.
    """

    eid: EID
    uid: str
    name: str
    agent: str
    instance: str
    epoch: int
    address: str = ""
    complete: bool = False
    stream: str = ""
    since: float = 0.0


def encode_lease(lease: Lease) -> bytes:
    """A lease as the body of a message on ``member.<eid>``."""
    packed: bytes = msgpack.packb(
        {
            "v": ENVELOPE_VERSION,
            "eid": lease.eid.octets,
            "epoch": lease.epoch,
            "complete": lease.complete,
            "since": lease.since,
            **{name: getattr(lease, name) for name in _TEXTS},
        }
    )
    return packed


def decode_lease(data: bytes) -> Lease:
    """The lease in the body of a message.

    Raises:
        UnsupportedEnvelope: for one of a later version.
        MalformedEnvelope: for anything else that is no lease.
    """
    body = unpack_map(data)
    texts: dict[str, str] = {}
    for name in _TEXTS:
        text = body.get(name, "")
        if not isinstance(text, str) or len(text) > _MAX_TEXT:
            raise MalformedEnvelope(f"lease: {name!r} must be text of at most {_MAX_TEXT} characters")
        texts[name] = text
    octets, epoch, since = body.get("eid"), body.get("epoch"), body.get("since", 0.0)
    if not isinstance(octets, bytes):
        raise MalformedEnvelope("lease: 'eid' must be the six bytes of an EID")
    if type(epoch) is not int or not 0 < epoch < _MAX_NUMBER:
        raise MalformedEnvelope(f"lease: epoch {epoch!r:.40} is no number from 1 to 2**63-1")
    if type(since) not in (int, float) or not 0 <= since < 2**40:
        raise MalformedEnvelope("lease: 'since' must be the time in seconds since 1970")
    try:
        eid = EID(octets)
    except MalformedEntityID as error:
        raise MalformedEnvelope(f"lease: {error}") from None
    return Lease(eid, epoch=epoch, complete=body.get("complete") is True, since=float(since), **texts)
