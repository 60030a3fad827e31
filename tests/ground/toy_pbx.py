"""A server that publishes whatever the codecs of the agent can write, and notes what it is given."""

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Self

from eventfed import EID, Event, kind_of
from eventfed_agent.pjsip.payloads import (
    CODECS,
    RefreshPayload,
    StatePayload,
    build_payload,
    build_refresh,
    parse_payload,
)
from eventfed_agent.pjsip.sip import (
    Address,
    Bind,
    CompositorSettings,
    EventStateCompositor,
    OutboundPublication,
    Publisher,
    Request,
    Response,
    UserAgent,
)

__all__ = ["ToyPbx"]


class ToyPbx:
    """Speaks PUBLISH with the agent at `agent` from `place`, in each event package that there is a codec for."""

    def __init__(self, name: str, place: tuple[str, int], agent: tuple[str, int]) -> None:
        self.eid = EID.derive(name)
        self.own: dict[tuple[str, str], Event] = {}
        self.given: dict[tuple[EID, str], Event] = {}
        self._compositor = EventStateCompositor(CompositorSettings(packages=frozenset(CODECS)))
        self._user_agent = UserAgent([Bind(*place)], self._handle)
        self._to = Address(*agent)
        self._publishers = {
            package: Publisher(self._user_agent, self._to, OutboundPublication(package, self._to)) for package in CODECS
        }
        self._queue: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        await self._user_agent.__aenter__()
        self._task = asyncio.create_task(self._publish())
        for package in CODECS:
            self._queue.put_nowait((package, build_refresh(self.eid)))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        await self._user_agent.__aexit__(kind, error, traceback)

    def set(self, event: Event) -> None:
        """One of its own states."""
        package = kind_of(event.type).package or ""
        self.own[package, event.key] = event
        self._queue.put_nowait((package, build_payload(event)))

    async def _publish(self) -> None:
        while True:
            package, body = await self._queue.get()
            await self._publishers[package].publish(body)

    def _handle(self, request: Request, source: Address) -> Response:
        if request.method != "PUBLISH":
            return Response.answer(request, 200)
        response, publication = self._compositor.receive(request, "agent", asyncio.get_running_loop().time())
        if publication is not None and request.body:
            payload = parse_payload(publication.event, request.body, time=0.0)
            if isinstance(payload, RefreshPayload):
                for (package, _), event in self.own.items():
                    if package == publication.event:
                        self._queue.put_nowait((package, build_payload(event)))
            elif isinstance(payload, StatePayload) and payload.eid == self.eid:
                self._queue.put_nowait((publication.event, request.body))
            else:
                self.given[payload.eid, payload.event.key] = payload.event
        return response
