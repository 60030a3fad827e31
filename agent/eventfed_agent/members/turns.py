"""Which questions may go to a member while it refuses them, or does not answer."""

from collections.abc import Hashable

from eventfed.pace import Turns

from ..adapter import AdapterOutcome, Delivery

__all__ = ["MemberTurns"]

_FLOOR = 1.0
_LIMIT = 10.0


class MemberTurns(Turns):
    """One member is asked over several streams, one for each publication in it: see `Turns`."""

    def __init__(self) -> None:
        super().__init__(_FLOOR, _LIMIT)

    def ended(self, stream: Hashable, outcome: AdapterOutcome) -> None:
        """The answer to a question, or that there is none."""
        if outcome.delivery is Delivery.ACCEPTED:
            self.succeeded(stream)
        else:
            # All other refusals are about the member's configuration, and so about streams that were not tried yet.
            self.failed(stream, only=outcome.unreadable)
