"""Drives an `OutboundPublication` over a `UserAgent`."""

from __future__ import annotations

import asyncio

from ._addresses import Address
from ._errors import RequestTimeout, TransportFailed
from ._messages import Request
from ._outbound_publication import OutboundPublication, PublishOutcome, PublishResult
from ._user_agent import UserAgent

__all__ = ["Publisher"]


class Publisher:
    """Publishes to one server, one request at a time; a second call while one is under way raises SipError.

    No method raises for what the network or the server does: the result tells. After UNREACHABLE wait before
    trying again, since it comes at once.
    """

    def __init__(self, user_agent: UserAgent, destination: Address, publication: OutboundPublication) -> None:
        self._user_agent = user_agent
        self._destination = destination
        self.publication = publication

    async def publish(self, body: bytes) -> PublishResult:
        """Publish the body: initial without an ETag, else as modification; once more as initial after a 412."""
        return await self._run(self.publication.start(body, self._now()))

    async def keep_alive(self) -> PublishResult:
        """Prolong the publication. REFUSED (412, or without a status where it had expired) means: publish again."""
        now = self._now()
        if not self.publication.alive(now):
            return PublishResult(PublishOutcome.REFUSED, detail="there is no publication to keep alive")
        return await self._run(self.publication.start(None, now))

    async def remove(self) -> PublishResult:
        """End the publication, at once where there is none. An Asterisk keeps the states that came with it."""
        now = self._now()
        if not self.publication.alive(now):
            return PublishResult(PublishOutcome.ACCEPTED)
        return await self._run(self.publication.start(None, now, remove=True))

    async def _run(self, request: Request) -> PublishResult:
        step: Request | PublishResult = request
        try:
            while isinstance(step, Request):
                response = await self._user_agent.request(step, self._destination)
                step = self.publication.answered(response, self._now())
        except RequestTimeout:
            return self.publication.timed_out()
        except TransportFailed as error:
            return self.publication.unreachable(str(error))
        except asyncio.CancelledError:
            self.publication.timed_out()
            raise
        return step

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
