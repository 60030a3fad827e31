"""The doctor's SIP requests: who may PUBLISH to a server, tried with a device that no server keeps."""

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import sipmessage

from eventfed import EID, DeviceState, Event
from eventfed.asterisk_config import RESOURCE, identifier_order_line
from eventfed.model.device_kinds import PROBE_PREFIX
from eventfed_agent.configuration import MemberConfiguration
from eventfed_agent.pjsip.payloads import DEVICE_STATE_PACKAGE, JSON_TYPE, build_payload
from eventfed_agent.pjsip.sip import (
    Address,
    Request,
    Response,
    SecretHeader,
    SipError,
    Transport,
    UserAgent,
    build_options,
)

from ._findings import Finding, not_checked, ok, problem

__all__ = ["MOST_ENDPOINTS", "Prober"]

MOST_ENDPOINTS = 20
"""How many endpoints without auth are tried, each by two requests."""

_BODY = build_payload(
    Event.device(f"{PROBE_PREFIX}doctor", DeviceState.NOT_INUSE, EID.derive("eventfed doctor"), cachable=False)
)
_SNIPPET = "include what `eventfed asterisk-config --config FILE --member {name}` prints at the end of its pjsip.conf"
_FORGERY = (
    "give it auth; and let something in front of the server drop PUBLISH from phones (an SBC, Kamailio), since "
    "Asterisk checks only a publication's first request against its endpoint"
)


@dataclass(frozen=True)
class _Answer:
    status: int | None
    etag: str | None = None

    @property
    def accepted(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    def __str__(self) -> str:
        return "no answer" if self.status is None else str(self.status)


class Prober:
    """Asks one member.

    Args:
        tokens: header secrets, the current one first; empty where the agent is known by its address alone.
        timeout: for each answer, in seconds.
    """

    def __init__(
        self, user_agent: UserAgent, member: MemberConfiguration, tokens: Sequence[SecretHeader], *, timeout: float
    ) -> None:
        self._user_agent = user_agent
        self._member = member
        self._to = Address(member.host, member.port, Transport[member.transport.upper()])
        self._tokens = tokens
        self._timeout = timeout
        self._etag: str | None = None

    async def check(self, open_endpoints: Sequence[str] | None) -> list[Finding]:
        """All of it. `open_endpoints` are those without auth; None where nobody knows them."""
        name = self._member.name
        answer = await self._send(build_options(self._to))
        if answer.status is None:
            return [
                problem(
                    name,
                    "reachable",
                    f"no answer to OPTIONS from {self._member.address}",
                    "check host, port and transport of the member, and that Asterisk runs",
                )
            ]
        found = [ok(name, "reachable", f"{self._member.address} answers OPTIONS ({answer.status})")]
        found.append(await self._with_secret())
        found.append(await self._without_secret())
        found.append(await self._modification())
        found.append(await self._other_endpoints(open_endpoints))
        return found

    async def _with_secret(self) -> Finding:
        name, check = self._member.name, "header secret"
        answer = _Answer(None)
        for number, token in enumerate(self._tokens or (None,)):
            answer = await self._publish(token)
            if answer.accepted:
                self._etag = answer.etag
                if number:
                    return problem(
                        name,
                        check,
                        "the server still has the previous secret",
                        "put the new snippet in place and run `module reload res_pjsip_endpoint_identifier_ip.so`",
                    )
                return ok(name, check, "accepted" if self._tokens else "known by its address, no secret is used")
            if answer.status != 401:
                break
        return problem(name, check, *self._refusal(answer))

    def _refusal(self, answer: _Answer) -> tuple[str, str]:
        snippet, order = _SNIPPET.format(name=self._member.name), identifier_order_line()
        match answer.status:
            case None:
                return "PUBLISH is not answered", "look for what drops PUBLISH on the way, or in its log"
            case 401:
                return (
                    "401: the server does not know the secret, or takes us for another endpoint",
                    f"{snippet}, with the token of agent.token_file; if it is there, put this into [global] of its "
                    f"pjsip.conf: {order}",
                )
            case 403:
                return (
                    "403: another endpoint (an anonymous one, or an identify by address) is identified before ours",
                    f"put this into [global] of its pjsip.conf: {order}",
                )
            case 404:
                return f"404: it has no inbound-publication or asterisk-publication {RESOURCE}", snippet
            case 489:
                return (
                    "489: res_pjsip_publish_asterisk is not loaded, or its inbound-publication lacks an event package",
                    f"{snippet}; load res_pjsip_publish_asterisk.so, which needs res_pjsip_outbound_publish.so",
                )
            case 501:
                return "501: it takes no PUBLISH at all", "load res_pjsip_pubsub.so"
            case status:
                return f"{status} to a PUBLISH", "see its log (pjsip set logger on)"

    async def _without_secret(self) -> Finding:
        name, check = self._member.name, "refuses strangers"
        if not self._tokens:
            return not_checked(
                name, check, "the agent is known by its address alone", "set token_file in [agent], which is safer"
            )
        open_to = []
        for what, header in (("without the secret", None), ("with a wrong one", _wrong_secret())):
            answer = await self._publish(header)
            if answer.accepted:
                open_to.append(what)
        if not open_to:
            return ok(name, check, "no PUBLISH without the secret or with a wrong one")
        return problem(
            name,
            check,
            f"PUBLISH is accepted {' and '.join(open_to)}: anybody who reaches its SIP port can forge states",
            f"let [{RESOURCE}] type=endpoint have identify_by = header and nothing else, and no identify by address "
            f"or anonymous endpoint for the inbound-publication {RESOURCE}",
        )

    async def _modification(self) -> Finding:
        name, check = self._member.name, "publication is ours"
        if not self._tokens or self._etag is None:
            return not_checked(name, check, "needs a publication made with the secret")
        answer = await self._publish(None, etag=self._etag)
        if not answer.accepted:
            return ok(name, check, f"a stranger cannot change it ({answer})")
        self._etag = answer.etag
        return problem(
            name,
            check,
            "anyone who guesses an ETag (a small number) can forge states without any secret",
            "remove the anonymous endpoint, or identifies by address without auth; " + _FORGERY.partition("; ")[2],
        )

    async def _other_endpoints(self, endpoints: Sequence[str] | None) -> Finding:
        name, check = self._member.name, "other endpoints"
        if endpoints is None:
            return not_checked(
                name,
                check,
                "which endpoints have no auth is not known",
                f'give etc = "/etc/asterisk" for member {name} where its files can be read',
            )
        if self._tokens and self._etag is None:
            return not_checked(name, check, "needs a publication made with the secret")
        forging = [endpoint for endpoint in endpoints[:MOST_ENDPOINTS] if await self._can_forge(endpoint)]
        if forging:
            return problem(
                name,
                check,
                f"could PUBLISH forged states, since they have no auth: {', '.join(forging)}",
                _FORGERY.replace("it auth", "them auth"),
            )
        tried = (
            f"{len(endpoints[:MOST_ENDPOINTS])} of {len(endpoints)} without auth tried"
            if endpoints
            else "all have auth"
        )
        return ok(name, check, f"none could PUBLISH ({tried})")

    async def _can_forge(self, endpoint: str) -> bool:
        first = await self._publish(None, user=endpoint)
        if first.accepted:
            return True
        if self._etag is None:
            return False
        second = await self._publish(None, user=endpoint, etag=self._etag)
        if second.accepted:
            self._etag = second.etag
        return second.accepted

    async def _publish(self, secret: SecretHeader | None, *, user: str = RESOURCE, etag: str | None = None) -> _Answer:
        """One PUBLISH that ends after some seconds; with `etag` a modification."""
        host = f"[{self._to.host}]" if ":" in self._to.host else self._to.host
        uri = sipmessage.URI(scheme="sip", user=RESOURCE, host=host, port=self._to.port)
        headers = [
            ("From", f"<sip:{user}@{host}>;tag={secrets.token_hex(8)}"),
            ("To", f"<sip:{RESOURCE}@{host}>"),
            ("Call-ID", secrets.token_hex(16)),
            ("Event", DEVICE_STATE_PACKAGE),
            ("Expires", str(_EXPIRES)),
            ("Content-Type", JSON_TYPE),
        ]
        if secret is not None:
            headers.append((secret.name, secret.value))
        if etag is not None:
            headers.append(("SIP-If-Match", etag))
        return await self._send(Request.build("PUBLISH", uri, 1, headers, _BODY))

    async def _send(self, request: Request) -> _Answer:
        try:
            async with asyncio.timeout(self._timeout):
                response: Response = await self._user_agent.request(request, self._to)
        except (SipError, TimeoutError):
            return _Answer(None)
        return _Answer(response.status, response.sip_etag)


_EXPIRES = 30
"""Seconds; long enough for all that follows the first request, and then it is gone."""


def _wrong_secret() -> SecretHeader:
    return SecretHeader(secrets.token_hex(16))
