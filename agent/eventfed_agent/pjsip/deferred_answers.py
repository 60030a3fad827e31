"""When a PUBLISH of mailbox counts is answered: once the bus has them.

What is answered is the agent's to keep. A device that is lost with the agent comes back with the next dump; a mailbox
that others' counts were put into does not (``docs/failure-modes.md``). So its counts stay with the server, which
repeats them, until they are on the stream. That has an end while NATS is away: Asterisk drops a message after 32 s.
"""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from eventfed import StateKey, kind_of

from ..adapter import HostIdentity
from .payloads import Payload, StatePayload
from .sip import Later, Response

__all__ = ["MailboxAnswers"]


class _Waiting(NamedTuple):
    later: Later
    response: Response
    key: StateKey
    identity: HostIdentity
    present: Callable[[], HostIdentity | None]
    until: float


class MailboxAnswers:
    """The answers that wait; at most one a publication, since Asterisk sends one PUBLISH after the other.

    Args:
        patience: how long one waits, in seconds.
    """

    def __init__(self, patience: float) -> None:
        self.patience = patience
        self.given_early = 0
        """How many were given though the bus did not have the counts yet."""
        self._waiting: list[_Waiting] = []
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def answer(
        self, response: Response, payload: Payload | None, present: Callable[[], HostIdentity | None]
    ) -> Response | Later:
        """The answer to a PUBLISH that was taken in, now or later. `present` gives the member's identity."""
        identity = present()
        if not isinstance(payload, StatePayload) or not kind_of(payload.event.type).is_counted or identity is None:
            return response
        key = payload.event.state_key
        if identity.is_on_bus(key):
            return response
        later, loop = Later(), asyncio.get_running_loop()
        self._waiting.append(_Waiting(later, response, key, identity, present, loop.time() + self.patience))
        if self._timer is None:
            self._timer = loop.call_at(self._waiting[0].until, self._time_is_up)
        return later

    def look(self) -> None:
        """The view has changed, or time has passed."""
        now = asyncio.get_running_loop().time()
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if one.present() is not one.identity or one.identity.parted:
                one.later.drop()  # the agent that has the member now shall hear it
            elif one.identity.is_on_bus(one.key):
                one.later.answer(one.response)
            elif one.until <= now:
                self.given_early += 1
                one.later.answer(one.response)
            else:
                self._waiting.append(one)

    def close(self) -> None:
        """What waits stays unanswered."""
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _time_is_up(self) -> None:
        self._timer = None
        self.look()
        if self._waiting:
            self._timer = asyncio.get_running_loop().call_at(self._waiting[0].until, self._time_is_up)
