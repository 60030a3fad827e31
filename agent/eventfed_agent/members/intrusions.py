"""When a server that lost one of our publications is worth a warning."""

import asyncio
from collections.abc import Callable

__all__ = ["INTRUSION", "IntrusionWatch"]

INTRUSION = {
    "detail": "it lost our publication without a restart: somebody else may have used its ETag",
    "advice": "let nothing but the agent send PUBLISH to it: see docs/security.md",
}
"""What to tell people of one."""


class IntrusionWatch:
    """Waits whether a restart explains that a server did not know an ETag it had given us.

    An Asterisk that starts has forgotten all ETags at once, while its own first word (a ``refresh``) may be held back
    for some seconds: by the queue of its publication, or by a retransmission. So a suspicion counts only once the
    server has said nothing of the kind for `patience` seconds before and after it.

    Args:
        on_confirmed: told once per such time, whatever the number of publications lost in it.
        patience: in seconds.
    """

    def __init__(self, on_confirmed: Callable[[], None], *, patience: float = 5.0) -> None:
        self.confirmed = 0
        """Publications lost without a restart."""
        self._on_confirmed = on_confirmed
        self._patience = patience
        self._explained_at = float("-inf")
        self._suspicions = 0
        self._timer: asyncio.TimerHandle | None = None

    def suspect(self) -> None:
        """The server did not know our ETag."""
        loop = asyncio.get_running_loop()
        if loop.time() - self._explained_at < self._patience:
            return
        self._suspicions += 1
        if self._timer is None:
            self._timer = loop.call_later(self._patience, self._confirm)

    def explained(self) -> None:
        """The server announced that it started or reloaded: what it forgot just before or forgets now is no wonder."""
        self._explained_at = asyncio.get_running_loop().time()
        self.close()

    def close(self) -> None:
        """Forget what was suspected."""
        self._suspicions = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _confirm(self) -> None:
        self.confirmed += self._suspicions
        self.close()
        self._on_confirmed()
