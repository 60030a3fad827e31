"""The exception tree: whatever eventfed raises on purpose is an `EventfedError`."""

__all__ = [
    "EventfedError",
    "MalformedEntityID",
    "MalformedEnvelope",
    "MalformedEvent",
    "MalformedFrame",
    "MalformedSubject",
    "UnknownKind",
    "UnsupportedEnvelope",
]


class EventfedError(Exception):
    """Root of every exception that eventfed raises on purpose."""


class MalformedEvent(EventfedError, ValueError):
    """An event cannot be what it claims to be: an element is missing, or has the wrong type or size."""


class UnknownKind(MalformedEvent):
    """A type of event that has no name, or that nothing here can carry."""


class MalformedEntityID(MalformedEvent):
    """A text or byte string that is no EID (six bytes, written ``02:00:00:00:00:0a``)."""


class MalformedFrame(MalformedEvent):
    """A byte string that is no binary ``ast_event``."""


class MalformedEnvelope(MalformedEvent):
    """A message from the bus that is no envelope of eventfed's."""


class UnsupportedEnvelope(MalformedEnvelope):
    """An envelope of a later version than this program reads."""


class MalformedSubject(EventfedError, ValueError):
    """A subject that does not follow ``docs/wire.md``, or a name that cannot be put into one."""
