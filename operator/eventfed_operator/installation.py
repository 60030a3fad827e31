"""What the chart gives the operator, as it is now, and what a look at an EventFederation leaves for the next one."""

from dataclasses import dataclass, field
from typing import Protocol

from eventfed import Credentials

from .resources import Settings
from .snapshot import ObjectKey

__all__ = ["Installation", "OwnChanges", "Refusals", "Renew", "as_before"]

_GATHER = 0.2
_STREAK = 8


class Renew(Protocol):
    """Reads again what may have been replaced since; `environment.ChartPasswords.renew` outside of tests."""

    def __call__(self, settings: Settings, operator: Credentials | None) -> tuple[Settings, Credentials | None]: ...


def as_before(settings: Settings, operator: Credentials | None) -> tuple[Settings, Credentials | None]:
    """Nothing was replaced."""
    return settings, operator


class Installation:
    """The operator's settings and its login to the chart's NATS.

    Args:
        chart_nats: how the operator logs in to the chart's NATS; None without that.
        renew: gives both as they are now.
    """

    def __init__(self, settings: Settings, chart_nats: Credentials | None, renew: Renew = as_before) -> None:
        self.settings = settings
        self.chart_nats = chart_nats
        self._renew = renew

    def renew(self) -> None:
        """Read both again: the chart's passwords may have been replaced."""
        self.settings, self.chart_nats = self._renew(self.settings, self.chart_nats)


@dataclass(slots=True)
class Refusals:
    """What the API server and NATS would not take at the last look; the next one tells people of it.

    Args:
        address: the Service address that another Service has; empty for none.
        objects: what the API server said of each object.
        bus: what NATS said; empty for nothing.
    """

    address: str = ""
    objects: dict[ObjectKey, str] = field(default_factory=dict)
    bus: str = ""


class OwnChanges:
    """How soon to look at what this operator has written itself.

    At once; but two who write the same object must not keep each other busy, so it is later after each look in
    succession that changed something: 0.4 s after the first, 51.2 s after the eighth and all that follow.
    """

    def __init__(self) -> None:
        self._streak = 0
        self.pause = 0.0
        """In seconds; 0 where the last look changed nothing."""

    def looked(self, *, changed: bool) -> None:
        """A look has come to its end."""
        self._streak = self._streak + 1 if changed else 0
        self.pause = _GATHER * 2 ** min(self._streak, _STREAK) if changed else 0.0
