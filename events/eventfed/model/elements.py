"""Event types and information elements of Asterisk's ``ast_event`` (``include/asterisk/event_defs.h``)."""

import enum
from typing import TypeAlias

from .errors import MalformedEvent

__all__ = ["Element", "ElementType", "EventType", "InformationElement", "Value", "check_element"]

Value: TypeAlias = int | str | bytes
Element: TypeAlias = tuple["InformationElement | int", Value]


class EventType(enum.IntEnum):
    """``enum ast_event_type``. The lower-case `token` stands in subjects."""

    CUSTOM = 0x01
    MWI = 0x02
    SUB = 0x03
    UNSUB = 0x04
    DEVICE_STATE = 0x05
    DEVICE_STATE_CHANGE = 0x06
    CEL = 0x07
    SECURITY = 0x08
    NETWORK_CHANGE = 0x09
    PRESENCE_STATE = 0x0A
    ACL_CHANGE = 0x0B
    PING = 0x0C
    CLUSTER_DISCOVERY = 0x0D

    @property
    def token(self) -> str:
        return self.name.lower()


class ElementType(enum.Enum):
    """``enum ast_event_ie_pltype``: it never travels, the reader knows it from the table."""

    UINT = "uint"
    STR = "str"
    RAW = "raw"
    BITFLAGS = "bitflags"


class InformationElement(enum.IntEnum):
    """``enum ast_event_ie_type``, unchanged from Asterisk 13 to 23 but for the last one (22)."""

    NEWMSGS = 0x01
    OLDMSGS = 0x02
    MAILBOX = 0x03
    UNIQUEID = 0x04
    EVENTTYPE = 0x05
    EXISTS = 0x06
    DEVICE = 0x07
    STATE = 0x08
    CONTEXT = 0x09
    CEL_EVENT_TYPE = 0x0A
    CEL_EVENT_TIME = 0x0B
    CEL_EVENT_TIME_USEC = 0x0C
    CEL_USEREVENT_NAME = 0x0D
    CEL_CIDNAME = 0x0E
    CEL_CIDNUM = 0x0F
    CEL_EXTEN = 0x10
    CEL_CONTEXT = 0x11
    CEL_CHANNAME = 0x12
    CEL_APPNAME = 0x13
    CEL_APPDATA = 0x14
    CEL_AMAFLAGS = 0x15
    CEL_ACCTCODE = 0x16
    CEL_UNIQUEID = 0x17
    CEL_USERFIELD = 0x18
    CEL_CIDANI = 0x19
    CEL_CIDRDNIS = 0x1A
    CEL_CIDDNID = 0x1B
    CEL_PEER = 0x1C
    CEL_LINKEDID = 0x1D
    CEL_PEERACCT = 0x1E
    CEL_EXTRA = 0x1F
    DESCRIPTION = 0x20
    EID = 0x21
    SECURITY_EVENT = 0x22
    EVENT_VERSION = 0x23
    SERVICE = 0x24
    MODULE = 0x25
    ACCOUNT_ID = 0x26
    SESSION_ID = 0x27
    SESSION_TV = 0x28
    ACL_NAME = 0x29
    LOCAL_ADDR = 0x2A
    REMOTE_ADDR = 0x2B
    EVENT_TV = 0x2C
    REQUEST_TYPE = 0x2D
    REQUEST_PARAMS = 0x2E
    AUTH_METHOD = 0x2F
    SEVERITY = 0x30
    EXPECTED_ADDR = 0x31
    CHALLENGE = 0x32
    RESPONSE = 0x33
    EXPECTED_RESPONSE = 0x34
    RECEIVED_CHALLENGE = 0x35
    RECEIVED_HASH = 0x36
    USING_PASSWORD = 0x37
    ATTEMPTED_TRANSPORT = 0x38
    PRESENCE_PROVIDER = 0x39
    PRESENCE_STATE = 0x3A
    PRESENCE_SUBTYPE = 0x3B
    PRESENCE_MESSAGE = 0x3C
    CACHABLE = 0x3D
    NODE_ID = 0x3E
    CEL_TENANTID = 0x3F

    @property
    def payload(self) -> ElementType:
        """The payload type (``ie_maps`` in ``main/event.c``)."""
        if self is InformationElement.EID:
            return ElementType.RAW
        return ElementType.UINT if self in _UINTS else ElementType.STR


_IE = InformationElement
_UINTS = {
    _IE.NEWMSGS,
    _IE.OLDMSGS,
    _IE.UNIQUEID,
    _IE.EVENTTYPE,
    _IE.EXISTS,
    _IE.STATE,
    _IE.CEL_EVENT_TYPE,
    _IE.CEL_EVENT_TIME,
    _IE.CEL_EVENT_TIME_USEC,
    _IE.CEL_AMAFLAGS,
    _IE.SECURITY_EVENT,
    _IE.EVENT_VERSION,
    _IE.USING_PASSWORD,
    _IE.PRESENCE_STATE,
    _IE.CACHABLE,
    _IE.NODE_ID,
}
_VALUES = (int, str, bytes)
_PYTHON_TYPE = {
    ElementType.UINT: int,
    ElementType.BITFLAGS: int,
    ElementType.STR: str,
    ElementType.RAW: bytes,
}
_KNOWN = {int(element): (element, _PYTHON_TYPE[element.payload]) for element in InformationElement}


def check_element(number: object, value: object) -> Element:
    """One (number, value) pair as a typed element; known numbers become `InformationElement`.

    Raises:
        MalformedEvent: when the number does not fit 16 bits, or the value is not of the element's type and size
            (uint: 0 to 2**32-1; str: without NUL, and text that UTF-8 can hold).
    """
    if type(number) is bool or not isinstance(number, int) or not 0 < number < 0xFFFF:
        raise MalformedEvent(f"{number!r:.40} is no information element: the number must fit 16 bits")
    if type(value) is bool or not isinstance(value, _VALUES):
        raise MalformedEvent(f"element {number}: a {type(value).__name__} is neither uint, str nor raw")
    known = _KNOWN.get(number)
    if known is not None and not isinstance(value, known[1]):
        raise MalformedEvent(f"{known[0].name} is a {known[0].payload.value}, not a {type(value).__name__}")
    if isinstance(value, int):
        if not 0 <= value <= 0xFFFFFFFF:
            raise MalformedEvent(f"element {number}: {value} does not fit 32 bits")
    elif isinstance(value, str) and not (value.isascii() and "\0" not in value):
        if "\0" in value:
            raise MalformedEvent(f"element {number}: text must not hold NUL")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise MalformedEvent(f"element {number}: text that UTF-8 cannot hold") from None
    return (known[0] if known is not None else number), value
