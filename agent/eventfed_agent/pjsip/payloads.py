"""The JSON bodies of Asterisk's PUBLISH (``res/res_pjsip_publish_asterisk.c``), both ways."""

import json
from dataclasses import dataclass
from typing import TypeAlias

from eventfed import EID, DeviceState, Event, EventfedError, EventType, MalformedEvent, check_count

__all__ = [
    "DEVICE_STATE_PACKAGE",
    "JSON_TYPE",
    "MWI_PACKAGE",
    "MalformedPayload",
    "Payload",
    "RefreshPayload",
    "StatePayload",
    "build_payload",
    "build_refresh",
    "package_of",
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


def package_of(kind: EventType) -> str:
    """The SIP event package that carries a type."""
    return MWI_PACKAGE if kind is EventType.MWI else DEVICE_STATE_PACKAGE


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
        match document.get("type"), package:
            case "refresh", _:
                return RefreshPayload(eid)
            case "devicestate", "asterisk-devicestate":
                return StatePayload(
                    Event.device(
                        _text(document, "device"),
                        DeviceState.parse(document.get("state")),
                        eid,
                        cachable=_cachable(document),
                        time=time,
                    )
                )
            case "mailboxstate", "asterisk-mwi":
                name = _text(document, "uniqueid")
                new, old = (check_count(which, document.get(which)) for which in ("new", "old"))
                return StatePayload(Event.mailbox(name, new, old, eid, time=time))
    except MalformedEvent as error:
        raise MalformedPayload(str(error)) from None
    raise MalformedPayload(f"type {document.get('type')!r:.40} does not belong to {package}")


def _text(document: dict[str, object], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str) or not value:
        raise MalformedPayload(f"{name!r} must be text that is not empty")
    return value


def _cachable(document: dict[str, object]) -> bool:
    # Asterisk itself takes JSON true for 0; nobody who sends it can have meant that, so it is refused.
    value = document.get("cachable")
    if type(value) is not int or value not in (0, 1):
        raise MalformedPayload(f"'cachable' must be the integer 0 or 1, not {value!r:.40}")
    return value == 1


def build_payload(event: Event) -> bytes:
    """The body that puts one state into an Asterisk server under the event's EID.

    ``cachable`` is the integer 1: Asterisk takes JSON true for "do not keep".
    """
    if event.type is EventType.MWI:
        counts = event.counts
        document = {"type": "mailboxstate", "uniqueid": event.key, "old": counts.old, "new": counts.new}
    else:
        document = {
            "type": "devicestate",
            "device": event.key,
            "state": event.device_state.name,
            "cachable": int(event.cachable),
        }
    return json.dumps(document | {"eid": str(event.eid)}, ensure_ascii=False, separators=(",", ":")).encode()


def build_refresh(eid: EID) -> bytes:
    """The body that asks an Asterisk server to publish all its own states again; `eid` names who asks."""
    return json.dumps({"type": "refresh", "eid": str(eid)}, separators=(",", ":")).encode()
