"""An agent that has to end, and is followed by another one, serves on until that one has its members."""

import asyncio
from collections.abc import Callable, Iterable

from eventfed.pace import Backoff

from ..members.member import Member

__all__ = ["hand_over"]

_LOOK = 0.25
_FLOOR, _LIMIT = 1.0, 4.0


async def hand_over(members: Callable[[], Iterable[Member]], within: float) -> None:
    """Serve on until other agents have taken all members over, at most `within` seconds.

    A member goes over with the first thing that it publishes to the other agent. One that has nothing to say is made
    to say something: a device that nobody keeps.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + within
    backoff = Backoff(_FLOOR, _LIMIT)
    async with asyncio.TaskGroup() as group:
        nudges: list[asyncio.Task[None]] = []
        while loop.time() < end:
            held = [member for member in members() if member.identity.held]
            if not held:
                break
            if not backoff.left(loop.time()):
                nudges += [group.create_task(_nudge(member)) for member in held]
                backoff.failed(loop.time())
            await asyncio.sleep(max(0.0, min(_LOOK, end - loop.time())))
        for nudge in nudges:
            nudge.cancel()


async def _nudge(member: Member) -> None:
    if member.eid is not None:
        await member.adapter.give_way(member.eid)
