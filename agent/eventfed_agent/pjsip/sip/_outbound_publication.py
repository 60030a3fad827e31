"""The publishing side of RFC 3903 sections 4 and 5, towards one Asterisk. Without I/O.

Asterisk's rules that matter here: a PUBLISH without SIP-If-Match makes an object that lives until it expires, so
the ETag is always sent; ETags are opaque strings, the first one after its start being "0"; after a restart an old ETag
may fit a new publication by chance (`res_pjsip_pubsub.c`).
"""

from __future__ import annotations

import enum
import secrets
from dataclasses import dataclass, field

import sipmessage

from ._addresses import Address, host_in_uri
from ._errors import SipError
from ._messages import Request, Response

__all__ = ["OutboundPublication", "PublishCounters", "PublishOutcome", "PublishResult", "SecretHeader"]

_MAX_EXPIRES = 86_400
_CLOCKS = 0.999
"""By how much the server's clock may be faster than ours."""


class PublishOutcome(enum.Enum):
    """How a publication attempt ended."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    TIMED_OUT = "timed out"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class PublishResult:
    """The end of one attempt.

    `status` is the last answer's, None without one. `out_of_turn` tells that the server did not know an ETag which it
    had given us and which had neither become doubtful nor expired by the time of the answer, without an announced
    restart: somebody else may be using our publication.
    """

    outcome: PublishOutcome
    status: int | None = None
    out_of_turn: bool = False
    detail: str = ""

    @property
    def accepted(self) -> bool:
        return self.outcome is PublishOutcome.ACCEPTED


@dataclass(frozen=True, slots=True)
class SecretHeader:
    """A header that tells the server who we are (`match_header` in Asterisk's `identify`). The value is never shown."""

    value: str = field(repr=False)
    name: str = "X-Eventfed-Token"


@dataclass(slots=True)
class PublishCounters:
    """What became of the requests of one publication."""

    sent: int = 0
    accepted: int = 0
    refused: int = 0
    timed_out: int = 0
    unreachable: int = 0
    unknown_etag: int = 0
    out_of_turn: int = 0


@dataclass(slots=True)
class _Attempt:
    """The request that is in flight, and what became of those before it in the same attempt.

    Args:
        body: what it publishes; None to keep the publication alive.
        asked: the `Expires` of the request, in seconds.
        raised: whether a 423 has raised it.
    """

    body: bytes | None
    asked: int
    raised: bool = False
    out_of_turn: bool = False
    sent_at: float = 0.0


class OutboundPublication:
    """One publication: one request in flight, initial first, with SIP-If-Match from then on.

    The caller sends what `start` gives, hands the answer to `answered` (or tells `timed_out` / `unreachable`), and
    either sends what that gives or has the result. `Publisher` does this over a `UserAgent`.
    """

    def __init__(
        self,
        event: str,
        destination: Address,
        *,
        resource: str = "eventfed",
        expires: int = 3600,
        secret: SecretHeader | None = None,
        content_type: str = "application/json",
    ) -> None:
        """`expires` in seconds is what is asked for; a 423 raises it."""
        self.event = event
        self.secret = secret
        self.expires = expires
        self.counters = PublishCounters()
        self._uri = sipmessage.URI(
            scheme="sip", user=resource, host=host_in_uri(destination.host), port=destination.port
        )
        party = f"<sip:{resource}@{host_in_uri(destination.host)}>"
        self._headers = [
            ("From", f"{party};tag={secrets.token_hex(8)}"),
            ("To", party),
            ("Call-ID", secrets.token_hex(16)),
            ("Event", event),
        ]
        self._content_type = content_type
        self._cseq = secrets.randbelow(1 << 16)
        self._etag: str | None = None
        self._expires_at = 0.0
        self._refresh_at: float | None = None
        self._doubtful = False
        self._attempt: _Attempt | None = None

    @property
    def etag(self) -> str | None:
        """The server's last ETag."""
        return self._etag

    @property
    def in_flight(self) -> bool:
        return self._attempt is not None

    @property
    def refresh_at(self) -> float | None:
        """When a keep-alive (`start(None)`) is due; None while there is nothing to keep alive."""
        return self._refresh_at

    def alive(self, now: float) -> bool:
        """True while the server should know our ETag."""
        return self._etag is not None and now < self._expires_at

    def expect_unknown_etag(self) -> None:
        """The server has announced that it restarted: the next request is initial.

        Asterisk's ETags are small numbers that begin at 0 again, so an old one may by now belong to another publication
        that is ours, which would lose it. A 412 to a request that is under way is no surprise.
        """
        self._doubtful = True
        if self._attempt is None:
            self._forget()

    def start(self, body: bytes | None, now: float, *, remove: bool = False) -> Request:
        """The request that publishes `body`, or that only keeps the publication alive (None), or removes it.

        Raises SipError while another one is in flight, and for a keep-alive or removal of nothing.
        """
        if self._attempt is not None:
            raise SipError("a publication has one request in flight at most")
        if not self.alive(now):
            self._forget()
        if self._etag is None and (body is None or remove):
            raise SipError("there is no publication to keep alive or to remove: publish a body first")
        self._attempt = _Attempt(body, 0 if remove else self.expires)
        return self._request(self._attempt, now)

    def answered(self, response: Response, now: float) -> Request | PublishResult:
        """The next request to send, or the result.

        Raises SipError where nothing was in flight.
        """
        attempt, status = self._attempt, response.status
        if attempt is None:
            raise SipError("an answer came to a publication that has no request in flight")
        if 200 <= status < 300:
            granted = min(response.expires if response.expires is not None else attempt.asked, _MAX_EXPIRES)
            self._etag = response.sip_etag if attempt.asked and granted else None
            # The server counts from when it took the request, at the earliest when that was sent.
            self._expires_at = attempt.sent_at + granted * _CLOCKS
            self._refresh_at = now + 0.75 * granted if self._etag is not None else None
            self._doubtful = False
            self.counters.accepted += 1
            return self._finish(PublishOutcome.ACCEPTED, status)
        if status == 412 and self._etag is not None:
            self.counters.unknown_etag += 1
            if not self._doubtful and now < self._expires_at:
                attempt.out_of_turn = True
                self.counters.out_of_turn += 1
            self._forget()
            if attempt.body is not None and attempt.asked:
                return self._request(attempt, now)
        elif status == 423 and not attempt.raised and attempt.asked < (response.min_expires or 0) <= _MAX_EXPIRES:
            attempt.raised = True
            self.expires = attempt.asked = response.min_expires or 0
            return self._request(attempt, now)
        self._doubtful = True
        self.counters.refused += 1
        return self._finish(PublishOutcome.REFUSED, status, response.reason)

    def timed_out(self) -> PublishResult:
        """No answer came. The server may have taken the request and changed the ETag, so a 412 is in turn now."""
        self._doubtful = True
        self.counters.timed_out += 1
        return self._finish(PublishOutcome.TIMED_OUT, detail="no answer")

    def unreachable(self, detail: str) -> PublishResult:
        """The request could not be sent, or its connection was lost."""
        self._doubtful = True
        self.counters.unreachable += 1
        return self._finish(PublishOutcome.UNREACHABLE, detail=detail)

    def _request(self, attempt: _Attempt, now: float) -> Request:
        attempt.sent_at = now
        self._cseq = self._cseq % (2**31 - 1) + 1
        self.counters.sent += 1
        headers = [*self._headers, ("Expires", str(attempt.asked))]
        if self._etag is not None:
            headers.append(("SIP-If-Match", self._etag))
        if self.secret is not None:
            headers.append((self.secret.name, self.secret.value))
        if attempt.body is not None:
            headers.append(("Content-Type", self._content_type))
        return Request.build("PUBLISH", self._uri, self._cseq, headers, attempt.body or b"")

    def _forget(self) -> None:
        self._etag = None
        self._refresh_at = None

    def _finish(self, outcome: PublishOutcome, status: int | None = None, detail: str = "") -> PublishResult:
        attempt, self._attempt = self._attempt, None
        return PublishResult(outcome, status, attempt is not None and attempt.out_of_turn, detail)
