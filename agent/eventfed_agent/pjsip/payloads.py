"""The JSON bodies of Asterisk's PUBLISH (``res/res_pjsip_publish_asterisk.c``), both ways."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from eventfed import EID, DeviceState, Event, EventfedError, MalformedEvent, UnknownKind, check_count, kind_of

__all__ = [
    "CODECS",
    "DEVICE_STATE_PACKAGE",
    "JSON_TYPE",
    "MWI_PACKAGE",
    "Codec",
    "MalformedPayload",
    "Payload",
    "RefreshPayload",
    "StatePayload",
    "build_payload",
    "build_refresh",
    "parse_payload",
]

DEVICE_STATE_PACKAGE = "asterisk-devicestate"
MWI_PACKAGE = "asterisk-mwi"
JSON_TYPE = "application/json"


class MalformedPayload(EventfedError, ValueError):
    """A PUBLISH body that Asterisk would not send."""


@dataclass(frozen=True, slots=True)
class StatePayload:
    """One state of the sending server."""

    event: Event

    @property
    def eid(self) -> EID:
        return self.event.eid


@dataclass(frozen=True, slots=True)
class RefreshPayload:
    """The sending server asks for everything, as it does when it starts or reloads."""

    eid: EID


Payload: TypeAlias = StatePayload | RefreshPayload
Document: TypeAlias = dict[str, object]


@dataclass(frozen=True, slots=True)
class Codec:
    """One event package.

    Args:
        word: what stands as ``type`` in its bodies.
        parse: from document, EID and time (seconds since 1970) to the event; raises `MalformedEvent`.
        build: the fields of an event beside ``type`` and ``eid``.
    """

    word: str
    parse: Callable[[Document, EID, float], Event]
    build: Callable[[Event], Document]


def parse_payload(package: str, body: bytes, *, time: float) -> Payload:
    """What a member says in one PUBLISH of the given event package; `time` is when, in seconds since 1970.

    Raises:
        MalformedPayload: for anything else than the three bodies Asterisk sends, with an EID that is one.
    """
    try:
        document = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise MalformedPayload(f"no JSON: {error!s:.120}") from None
    if not isinstance(document, dict):
        raise MalformedPayload(f"a JSON {type(document).__name__}, not an object")
    try:
        eid = EID.parse(document.get("eid"))  # type: ignore[arg-type]  # it refuses what is no text
        if document.get("type") == "refresh":
            return RefreshPayload(eid)
        codec = CODECS.get(package)
        if codec is not None and codec.word == document.get("type"):
            return StatePayload(codec.parse(document, eid, time))
    except MalformedEvent as error:
        raise MalformedPayload(str(error)) from None
    raise MalformedPayload(f"type {document.get('type')!r:.40} does not belong to {package}")


def _text(document: Document, name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str) or not value:
        raise MalformedPayload(f"{name!r} must be text that is not empty")
    return value


def _cachable(document: Document) -> bool:
    # Asterisk itself takes JSON true for 0; nobody who sends it can have meant that, so it is refused.
    value = document.get("cachable")
    if type(value) is not int or value not in (0, 1):
        raise MalformedPayload(f"'cachable' must be the integer 0 or 1, not {value!r:.40}")
    return value == 1


def build_payload(event: Event) -> bytes:
    """The body that puts one state into an Asterisk server under the event's EID.

    Raises:
        UnknownKind: for an event that no package carries.
    """
    codec = CODECS.get(kind_of(event.type).package or "")
    if codec is None:
        raise UnknownKind(f"no event package of SIP carries {event.type.token} events")
    document = {"type": codec.word, **codec.build(event), "eid": str(event.eid)}
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def build_refresh(eid: EID) -> bytes:
    """The body that asks an Asterisk server to publish all its own states again; `eid` names who asks."""
    return json.dumps({"type": "refresh", "eid": str(eid)}, separators=(",", ":")).encode()


def _parse_device(document: Document, eid: EID, time: float) -> Event:
    name, state = _text(document, "device"), DeviceState.parse(document.get("state"))
    return Event.device(name, state, eid, cachable=_cachable(document), time=time)


def _build_device(event: Event) -> dict[str, object]:
    # ``cachable`` is the integer 1: Asterisk takes JSON true for "do not keep".
    return {"device": event.key, "state": event.device_state.name, "cachable": int(event.cachable)}


def _parse_mailbox(document: Document, eid: EID, time: float) -> Event:
    name = _text(document, "uniqueid")
    new, old = (check_count(which, document.get(which)) for which in ("new", "old"))
    return Event.mailbox(name, new, old, eid, time=time)


def _build_mailbox(event: Event) -> dict[str, object]:
    counts = event.counts
    return {"uniqueid": event.key, "old": counts.old, "new": counts.new}


CODECS: dict[str, Codec] = {
    DEVICE_STATE_PACKAGE: Codec("devicestate", _parse_device, _build_device),
    MWI_PACKAGE: Codec("mailboxstate", _parse_mailbox, _build_mailbox),
}
"""How each event package writes a state (``res/res_pjsip_publish_asterisk.c``)."""
