"""The listening sockets that all members behind SIP share, and which of them each request is for."""

import asyncio
import re
from types import TracebackType
from typing import Self

from ..adapter import Adapter, AdapterFactory, Host, Premises, Tokens
from ..configuration import MemberConfiguration, split_address
from .adapter import PjsipAdapter, answers
from .deferred_answers import MailboxAnswers
from .intake import PublishAnswer, take_in
from .payloads import CODECS, MalformedPayload, Payload, parse_payload
from .sip import (
    Address,
    Bind,
    CompositorSettings,
    EventStateCompositor,
    Later,
    Request,
    Response,
    SipSyntaxError,
    Transport,
    UserAgent,
)
from .sources import Sources

__all__ = ["Switchboard"]

_EID = re.compile(rb'"eid"\s*:\s*"([0-9A-Fa-f:]{17})"')
_LONGEST_SEARCH = 4096


class Switchboard(AdapterFactory):
    """One SIP user agent for all members that are Asterisk servers behind ``res_pjsip_publish_asterisk``.

    Raises TransportFailed from ``async with`` where an address of ``agent.listen`` cannot be bound.
    """

    def __init__(self, premises: Premises) -> None:
        self.unknown_sources = 0
        self.requests_without_roster = 0
        self.malformed_payloads = 0
        self._premises = premises
        self._compositor = EventStateCompositor(CompositorSettings(packages=frozenset(CODECS)))
        self.sources = Sources(self._compositor)
        self.mailbox_answers = MailboxAnswers(premises.configuration.timing.mailbox_answer)
        binds = [Bind(*split_address(address)) for address in premises.configuration.agent.listen]
        self.user_agent = UserAgent(binds, self.handle, on_malformed=self._malformed)

    async def __aenter__(self) -> Self:
        await self.user_agent.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.mailbox_answers.close()
        await self.user_agent.__aexit__(kind, error, traceback)

    def serves(self, member: MemberConfiguration) -> bool:
        return True

    def make(self, member: MemberConfiguration) -> Adapter:
        return PjsipAdapter(
            self.user_agent,
            Address(member.host, member.port, Transport[member.transport.upper()]),
            federation_eid=self._premises.federation_eid,
            tokens=self._premises.tokens,
            lanes=self._premises.configuration.agent.lanes,
            sources=self.sources,
        )

    async def answers(self, address: str) -> bool:
        try:
            transport, _, place = address.partition(":")
            host, port = split_address(place)
            destination = Address(host, port, Transport[transport.upper()])
        except (ValueError, KeyError):
            return False
        return await answers(self.user_agent, destination, 1.0)

    def use_tokens(self, tokens: Tokens) -> None:
        for adapter in self.sources.adapters:
            adapter.use_tokens(tokens)

    def look(self) -> None:
        self.mailbox_answers.look()

    # --- requests ---------------------------------------------------------------------------------------------

    def handle(self, request: Request, source: Address) -> Response | Later | None:
        """Answer a request of a server, now, later or not at all."""
        if self._premises.stopping:
            return None
        if self._premises.waits_for_roster:
            self.requests_without_roster += 1
            return None
        member, refusal = self._member_of(request, source)
        if member is None:
            return refusal
        payload: Payload | None = None

        def refuse(request: Request) -> int | None:
            nonlocal payload
            try:
                if request.body and request.event is not None:
                    payload = parse_payload(request.event, request.body, time=self._premises.wall_clock())
            except MalformedPayload as error:
                self.malformed_payloads += 1
                self._premises.event_log.warn("malformed_payload", member.name, error=str(error))
                member.trouble(f"400: {error!s:.120}")
                return 400
            return None

        response, publication = self._compositor.receive(request, member.name, _now(), refuse)
        if publication is None:
            if response.status in (415, 489):
                member.trouble(
                    f"{response.status} to event {request.event!s:.40}, content {request.content_type!s:.40}"
                )
            return response
        self.sources.remember(member, publication)
        match take_in(member, self.sources.adapter_of(member), publication, payload):
            case PublishAnswer.ACCEPT:
                self.mailbox_answers.patience = self._premises.configuration.timing.mailbox_answer
                return self.mailbox_answers.answer(response, payload, lambda: member.identity)
            case PublishAnswer.REFUSE:
                return Response.answer(request, 403)
            case PublishAnswer.SILENCE:
                return None

    def _member_of(self, request: Request, source: Address) -> tuple[Host | None, Response | None]:
        """The member that a request comes from, or how to answer it."""
        if not self.sources.is_known(source.host):
            self.unknown_sources += 1
            named = _EID.search(request.body, 0, _LONGEST_SEARCH)
            eid = named[1].decode().lower() if named is not None else ""
            self._premises.note_stranger(source.host, eid)
            self._premises.event_log.warn("unknown_source", source.host, eid=eid, advice="no member has this address")
            # The roster may be about to name it; Asterisk asks again for 32 s.
            patience = self._premises.configuration.timing.unknown_source_silence
            early = _now() - self._premises.served_at < patience
            return None, None if early else Response.answer(request, 403)
        found = self.sources.member_of(request, source, _now())
        return (None, found) if isinstance(found, Response) else (found, None)

    def _malformed(self, source: Address, error: SipSyntaxError) -> None:
        self._premises.event_log.warn("malformed_sip", source.host, error=str(error)[:200])
        for member in self.sources.at(source.host):
            member.trouble(f"it is no SIP that we can read: {error!s:.120}")


def _now() -> float:
    return asyncio.get_running_loop().time()
