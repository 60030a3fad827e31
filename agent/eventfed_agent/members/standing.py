"""How one member stands and why, in one place for people, metrics and the operator."""

from collections.abc import Callable

from eventfed import EID
from eventfed.wire.report import MemberState

from ..configuration import MemberConfiguration
from ..event_log import EventLog
from .evidence import Evidence, Strangers
from .lifecycle import Input, Lifecycle

__all__ = ["Standing"]


class Standing:
    """The states of a member (`Lifecycle`), and what its configuration lacks.

    Args:
        strangers: who else published lately, at each moment.
    """

    def __init__(
        self, configuration: MemberConfiguration, strangers: Callable[[], Strangers], event_log: EventLog
    ) -> None:
        self.evidence = Evidence(configuration, strangers)
        self.refused: tuple[EID, str] | None = None
        """The EID under which it may not publish, and the member of this agent that has it."""
        self.trouble: str | None = None
        """What its configuration lacks, with advice; None where nothing is known to lack."""
        self._name = configuration.name
        self._event_log = event_log
        self._lifecycle = Lifecycle()
        self._guessed = False

    @property
    def state(self) -> MemberState:
        """The state now, but for what NATS does not do for the member."""
        return self._lifecycle.state

    def take(self, what: Input) -> None:
        """Something was learned of the member."""
        self._lifecycle.take(what)

    def identified(self) -> None:
        """It published under an EID that it may have: what was guessed while it was silent is over."""
        self.refused = None
        if self._guessed:
            self.mended()
        self.take(Input.IDENTIFIED)

    def refuse(self, eid: EID, holder: str) -> None:
        """Its EID is that of another member of this agent."""
        self.refused = eid, holder
        self.take(Input.REFUSED)

    def lacks(self, trouble: str) -> None:
        """An answer of the server shows what its configuration lacks."""
        self._guessed = False
        self._set_trouble(trouble)

    def stayed_silent(self, now: float) -> None:
        """It answers, and nothing that it published was taken: guess why, where its answers do not say so."""
        if self._guessed or self.trouble is None:
            self._guessed = True
            self._set_trouble(self.evidence.explain(now))

    def mended(self) -> None:
        """Its configuration lacks nothing."""
        self.trouble, self._guessed = None, False
        self.take(Input.MENDED)
        self._event_log.settled("not_configured", self._name)

    def _set_trouble(self, trouble: str) -> None:
        # What lasts is told once.
        if self.trouble != trouble:
            self.trouble = trouble
            self.take(Input.TROUBLE)
            self._event_log.warn("not_configured", self._name, why=trouble)
