"""Which names cross: filters by regular expression (`eventfed.model.patterns`), one per event type."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache, partial

from eventfed import EventType, Kind
from eventfed.model.device_kinds import OWN_ENDPOINT, PROBE_PREFIX
from eventfed.model.patterns import compile_pattern
from eventfed.spec import EventSpec, Injection, VoicemailStorage

__all__ = ["BESIDE_CONTEXT", "PROBE_MAILBOX", "PROBE_PREFIX", "EventFilter", "Filters"]

_REMEMBERED = 4096
BESIDE_CONTEXT = "eventfed"
"""The voicemail context of injected sums with ``injection: Beside``."""

PROBE_MAILBOX = f"eventfed-probe@{BESIDE_CONTEXT}"
"""The mailbox that marks the end of a dump of mailboxes. Its name is fixed, since Asterisk keeps each mailbox that it
was told of; its old messages tell which dump. It never crosses."""


@dataclass(frozen=True)
class EventFilter:
    """What may cross of one event type.

    Args:
        passes: whether a name crosses, in either direction. Each change asks two or three times, so the last names
            are remembered.
    """

    spec: EventSpec
    passes: Callable[[str], bool]

    @classmethod
    def of(cls, spec: EventSpec) -> "EventFilter":
        exported = spec.kind.default_export
        include = spec.include or ((exported,) if exported is not None else ())
        passes = partial(_passes, spec.kind, [*map(compile_pattern, include)], [*map(compile_pattern, spec.exclude)])
        return cls(spec, lru_cache(_REMEMBERED)(passes))


def _passes(kind: Kind, include: list[re.Pattern[str]], exclude: list[re.Pattern[str]], name: str) -> bool:
    if name.startswith(PROBE_PREFIX) or name == OWN_ENDPOINT or _is_beside(name, kind):
        return False
    if include and not any(pattern.search(name) for pattern in include):
        return False
    return not any(pattern.search(name) for pattern in exclude)


def _is_beside(name: str, kind: Kind) -> bool:
    # A server that polls mailboxes announces its own 0/0 for the injected sum.
    context = name.partition("@")[2]
    return kind.is_counted and (context == BESIDE_CONTEXT or context.startswith(BESIDE_CONTEXT + "-"))


class Filters:
    """The filters of all event types of one federation."""

    def __init__(self, events: Iterable[EventSpec]) -> None:
        self._filters = {spec.kind.type: EventFilter.of(spec) for spec in events}

    def publishes(self, kind: EventType, name: str) -> bool:
        """Whether a member's own state goes onto the bus."""
        chosen = self._filters.get(kind)
        return chosen is not None and chosen.spec.publish and chosen.passes(name)

    def subscribes(self, kind: EventType, name: str) -> bool:
        """Whether the others' states go into members."""
        chosen = self._filters.get(kind)
        return chosen is not None and chosen.spec.subscribe and chosen.passes(name)

    def asks_for(self, kind: EventType, name: str) -> bool:
        """Whether the name passes an include list that the user wrote: only then do events without a value cross."""
        chosen = self._filters.get(kind)
        return chosen is not None and bool(chosen.spec.include) and chosen.passes(name)

    def types(self) -> list[EventType]:
        """The event types that cross at all."""
        return list(self._filters)

    @property
    def storage(self) -> VoicemailStorage:
        counted = self._counted()
        return (counted.voicemail_storage if counted else None) or VoicemailStorage.SEPARATE

    @property
    def injection(self) -> Injection:
        counted = self._counted()
        return counted.injection if counted else Injection.IN_PLACE

    def _counted(self) -> EventSpec | None:
        return next((chosen.spec for chosen in self._filters.values() if chosen.spec.kind.is_counted), None)
