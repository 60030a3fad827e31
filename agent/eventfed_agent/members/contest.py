"""Two servers under one EID: which of them may have it."""

import asyncio
import contextlib
from collections.abc import Callable

from eventfed import Claim, ClaimState, Lease
from eventfed.pace import Backoff

from ..configuration import MemberConfiguration
from ..event_log import EventLog
from .member_status import Registry

__all__ = ["Contest"]

_RIVAL_FLOOR, _RIVAL_CHECK = 2.0, 10.0
_RIVAL_TRIES = 3


class Contest:
    """Settles whether the server that holds a member's EID is a duplicate or a predecessor.

    Args:
        registry: the agent, which knows whether the server of a rival's lease is gone, or answers.
        claim: the member's claim on the lease, at each moment.
        on_duplicate: called each time another server has turned out to have the EID.
    """

    def __init__(
        self,
        configuration: MemberConfiguration,
        registry: Registry,
        event_log: EventLog,
        claim: Callable[[], Claim | None],
        on_duplicate: Callable[[], None],
    ) -> None:
        self.duplicate_of: str | None = None
        self._configuration = configuration
        self._registry = registry
        self._event_log = event_log
        self._claim = claim
        self._on_duplicate = on_duplicate
        self._contested = asyncio.Event()
        self._look_again = asyncio.Event()
        self._pauses = Backoff(_RIVAL_FLOOR, _RIVAL_CHECK)

    def began(self) -> None:
        """Another server holds the lease."""
        self._contested.set()

    def look_again(self) -> None:
        """A rival may be known to be gone now."""
        self._look_again.set()

    async def run(self) -> None:
        """Settle contests until cancelled."""
        while True:
            await self._contested.wait()
            self._contested.clear()
            await self._settle()

    async def _settle(self) -> None:
        """Another server holds our EID: a duplicate if it answers, a predecessor if it does not."""
        while (rival := self._rival()) is not None:
            self._look_again.clear()
            gone = self._registry.is_gone(rival.uid)
            # Two agents that cannot reach each other's member would take the lease from each other in turn.
            if not gone and not self._pauses.left(_now()):
                gone = not await self._rival_answers(rival.address)
                self._pauses.rest(_now())
                if not gone:
                    eid, name = str(rival.eid), self._configuration.name
                    self._event_log.warn("duplicate_eid", name, eid=eid, holder=rival.name)
                    self.duplicate_of = f"{rival.name} ({rival.address}, agent {rival.agent})"
                    self._on_duplicate()
            if gone:
                self._event_log.info("member_replaces", self._configuration.name, predecessor=rival.name)
                claim = self._claim()
                if claim is not None and self._rival() is not None:
                    claim.force()
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pauses.left(_now())):
                    await self._look_again.wait()
                self._pauses.hurry(_now())

    def _rival(self) -> Lease | None:
        claim = self._claim()
        return claim.rival if claim is not None and claim.state is ClaimState.CONTESTED else None

    async def _rival_answers(self, address: str) -> bool:
        for _ in range(_RIVAL_TRIES):
            if await self._registry.answers(address):
                return True
        return False


def _now() -> float:
    return asyncio.get_running_loop().time()
