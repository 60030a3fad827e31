"""SIP requests and responses: bytes in, bytes out.

URIs are parsed and written by the sipmessage library. Its message parser is not used: it takes twice as long, adds no
Content-Length (RFC 3261 18.3), unfolds no lines and has no limits. What both accept, both read alike (tested).
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from typing import Final

import sipmessage

from ._errors import SipSyntaxError
from ._headers import Headers
from ._via import Via, mark_received, parse_top_via

__all__ = [
    "MAX_HEADERS",
    "MAX_HEAD_BYTES",
    "MAX_MESSAGE_BYTES",
    "Request",
    "Response",
    "content_length",
    "parse_message",
]

MAX_MESSAGE_BYTES: Final = 65_536
MAX_HEAD_BYTES: Final = 16_384
MAX_HEADERS: Final = 100
MAX_START_LINE_BYTES: Final = 2_048

_ONCE = ("call-id", "cseq", "from", "to")
_SECONDS = ("expires", "min-expires")
_CONTENT_LENGTH = re.compile(
    rb"^(?:content-length|l)[ \t]*:(?:[ \t]*\r\n(?=[ \t]))?([^\r\n]*)", re.IGNORECASE | re.MULTILINE
)
_FOLD = re.compile(rb"\r\n[ \t]+")
_SPACE_BEFORE_COLON = re.compile(rb"^([^\s:]+)[ \t]+:", re.MULTILINE)
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_TOKEN = re.compile(r"[A-Za-z0-9.!%*_+`'~-]+")
_LINE_BREAK = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

_REASONS = {
    202: "Accepted",
    405: "Method Not Allowed",
    412: "Conditional Request Failed",
    415: "Unsupported Media Type",
    420: "Bad Extension",
    423: "Interval Too Brief",
    481: "Call/Transaction Does Not Exist",
    489: "Bad Event",
    500: "Server Internal Error",
}


class _Message:
    """What requests and responses have in common."""

    __slots__ = ()

    _headers: Headers
    _via: Via | None
    body: bytes

    def header(self, name: str) -> str | None:
        """The first value of the header, whatever its case or compact form on the wire."""
        return self._headers.first(name.lower())

    def header_values(self, name: str) -> list[str]:
        """All values of the header, top first."""
        return list(self._headers.all(name.lower()))

    def header_names(self) -> list[str]:
        """The names of all headers."""
        return self._headers.names()

    @property
    def via(self) -> Via:
        """The topmost Via; SipSyntaxError where none was added yet (a request that was built, not received)."""
        if self._via is None:
            raise SipSyntaxError("the message has no Via header")
        return self._via

    @property
    def call_id(self) -> str:
        return self._headers.all("call-id")[0]

    @property
    def event(self) -> str | None:
        """The event package of the Event header, without parameters (RFC 6665 8.2.1)."""
        value = self._headers.first("event")
        return value.partition(";")[0].strip() if value is not None else None

    @property
    def content_type(self) -> str | None:
        """The media type in lower case, without parameters."""
        value = self._headers.first("content-type")
        return value.partition(";")[0].strip().lower() if value is not None else None

    @property
    def expires(self) -> int | None:
        """The Expires header in seconds."""
        return _seconds(self._headers, "expires")

    @property
    def min_expires(self) -> int | None:
        """The Min-Expires header in seconds."""
        return _seconds(self._headers, "min-expires")

    @property
    def sip_etag(self) -> str | None:
        """The SIP-ETag header, a string even where it looks like a number (Asterisk's first one is "0")."""
        return self._headers.first("sip-etag")

    @property
    def sip_if_match(self) -> str | None:
        return self._headers.first("sip-if-match")


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Request(_Message):
    """A SIP request. Immutable; made by `parse_message` or `Request.build`."""

    method: str
    uri: sipmessage.URI
    cseq: int
    body: bytes
    _headers: Headers
    _via: Via | None

    @classmethod
    def build(
        cls, method: str, uri: sipmessage.URI, cseq: int, headers: Iterable[tuple[str, str]], body: bytes = b""
    ) -> Request:
        """A request to send. CSeq and Content-Length are added here, Via and Max-Forwards by the user agent.

        `headers` must hold From, To and Call-ID; raises SipSyntaxError where a value holds a line break.
        """
        built = Headers()
        built.put("CSeq", [f"{cseq} {method}"])
        for name, value in headers:
            built.add(name, _one_line(name, value))
        for key in _ONCE:
            if len(built.all(key)) != 1:
                raise SipSyntaxError(f"a {method} needs the header {key} once")
        built.put("Content-Length", [str(len(body))])
        return cls(method, uri, cseq, body, built, None)

    def received_from(self, host: str, port: int) -> Request:
        """The same request with the source in its topmost Via (RFC 3261 18.2.1, RFC 3581 4)."""
        values = self.header_values("Via")
        values[0] = mark_received(values[0], host, port)
        self._headers.put("Via", values)
        return self

    def with_via(self, via: str) -> bytes:
        """The bytes to send: under one more Via, and with Max-Forwards."""
        start = f"{self.method} {self.uri} SIP/2.0\r\nVia: {via}\r\nMax-Forwards: 70\r\n"
        return f"{start}{self._headers}".encode() + self.body

    def __bytes__(self) -> bytes:
        return f"{self.method} {self.uri} SIP/2.0\r\n{self._headers}".encode() + self.body

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.uri} Call-ID={self.call_id!r} CSeq={self.cseq}>"


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Response(_Message):
    """A SIP response. Immutable; made by `parse_message` or `Response.answer`."""

    status: int
    reason: str
    cseq: int
    cseq_method: str
    body: bytes
    _headers: Headers
    _via: Via | None

    @classmethod
    def answer(
        cls, request: Request, status: int, headers: Iterable[tuple[str, str]] = (), body: bytes = b""
    ) -> Response:
        """The response to a received request (RFC 3261 8.2.6): Via, From, To with a tag, Call-ID, CSeq copied."""
        given = request._headers
        built = Headers()
        built.put("Via", given.all("via"))
        built.put("From", given.all("from"))
        to = given.all("to")[0]
        if status > 100 and ";tag=" not in to.lower():
            to = f"{to};tag={secrets.token_hex(8)}"
        built.put("To", [to])
        built.put("Call-ID", given.all("call-id"))
        built.put("CSeq", given.all("cseq"))
        for name, value in headers:
            built.add(name, _one_line(name, value))
        built.put("Content-Length", [str(len(body))])
        return cls(status, _reason(status), request.cseq, request.method, body, built, request._via)

    def __bytes__(self) -> bytes:
        return f"SIP/2.0 {self.status} {self.reason}\r\n{self._headers}".encode() + self.body

    def __repr__(self) -> str:
        return f"<Response {self.status} {self.reason} Call-ID={self.call_id!r} CSeq={self.cseq}>"


def parse_message(data: bytes, max_bytes: int = MAX_MESSAGE_BYTES) -> Request | Response:
    """Parse one whole message, as a datagram or a stream's frame holds it.

    A body longer than Content-Length says is cut (RFC 3261 18.3). Raises SipSyntaxError, and nothing else, for
    whatever is not a well-formed message with Via, From, To, Call-ID and CSeq.
    """
    if len(data) > max_bytes:
        raise SipSyntaxError(f"the message is larger than {max_bytes} bytes")
    head, separator, body = data.partition(b"\r\n\r\n")
    if not separator:
        raise SipSyntaxError("the message has no end of headers")
    head = _checked_head(head)
    length = content_length(head)
    if length is not None:
        if length > len(body):
            raise SipSyntaxError(f"the body has {len(body)} bytes, Content-Length says {length}")
        body = body[:length]
    try:
        lines = head.decode().split("\r\n")
    except UnicodeDecodeError:
        raise SipSyntaxError("the headers are not UTF-8") from None
    start = lines[0].split(" ", 2)
    if len(start) < 3:
        raise SipSyntaxError("the first line is neither that of a request nor of a response")
    headers = Headers.parse(lines[1:])
    for key in _ONCE:
        if len(headers.all(key)) != 1:
            raise SipSyntaxError(f"the header {key} must be there once")
    for key in _SECONDS:
        _seconds(headers, key)
    cseq, cseq_method = _cseq(headers.all("cseq")[0])
    via = headers.first("via")
    if via is None:
        raise SipSyntaxError("the header via is missing")
    top = parse_top_via(via)
    headers.put("Content-Length", [str(len(body))])
    if start[0] == "SIP/2.0":
        status = start[1]
        if not (len(status) == 3 and status.isascii() and status.isdigit() and "1" <= status[0] <= "6"):
            raise SipSyntaxError("the status is not a number from 100 to 699")
        return Response(int(status), start[2], cseq, cseq_method, body, headers, top)
    method, uri, version = start
    if version != "SIP/2.0" or not _TOKEN.fullmatch(method):
        raise SipSyntaxError("the first line is neither that of a request nor of a response")
    if cseq_method != method:
        raise SipSyntaxError("the method of the CSeq is not that of the request")
    return Request(method, _uri(uri), cseq, body, headers, top)


def content_length(head: bytes) -> int | None:
    """The Content-Length in a head, blank-padded or not; None where there is none. Raises SipSyntaxError."""
    values: list[bytes] = _CONTENT_LENGTH.findall(head)
    if not values:
        return None
    digits = values[0].strip(b" \t")
    if len(values) > 1 or not digits.isdigit() or len(digits) > 9:
        raise SipSyntaxError("the Content-Length is not one number")
    return int(digits)


def _checked_head(head: bytes) -> bytes:
    """The head within its limits, unfolded, without blanks before colons and without control characters."""
    if len(head) > MAX_HEAD_BYTES:
        raise SipSyntaxError(f"the headers are larger than {MAX_HEAD_BYTES} bytes")
    if b"\r\n " in head or b"\r\n\t" in head:
        head = _FOLD.sub(b" ", head)
    if b" :" in head or b"\t:" in head:
        head = _SPACE_BEFORE_COLON.sub(rb"\1:", head)
    lines = head.count(b"\r\n")
    if lines > MAX_HEADERS:
        raise SipSyntaxError(f"the message has more than {MAX_HEADERS} headers")
    if (head.find(b"\r\n") if lines else len(head)) > MAX_START_LINE_BYTES:
        raise SipSyntaxError(f"the first line is longer than {MAX_START_LINE_BYTES} bytes")
    if _CONTROL.search(head.replace(b"\r\n", b"")):
        raise SipSyntaxError("the headers hold control characters")
    return head


@lru_cache(maxsize=1024)
def _uri(text: str) -> sipmessage.URI:
    try:
        return sipmessage.URI.parse(text)
    # TypeError: a parameter named "self" reaches a keyword argument inside the library.
    except (ValueError, TypeError):
        raise SipSyntaxError("the request URI is not valid") from None


def _cseq(value: str) -> tuple[int, str]:
    number, _, method = value.partition(" ")
    method = method.strip()
    if not (number.isascii() and number.isdigit() and len(number) <= 10 and _TOKEN.fullmatch(method)):
        raise SipSyntaxError("the CSeq is not valid")
    if int(number) >= 2**31:
        raise SipSyntaxError("the CSeq number is too large")
    return int(number), method


def _seconds(headers: Headers, key: str) -> int | None:
    value = headers.first(key)
    if value is None:
        return None
    if not (value.isascii() and value.isdigit() and len(value) <= 10):
        raise SipSyntaxError(f"the header {key} is not a number of seconds")
    return int(value)


def _one_line(name: str, value: str) -> str:
    if _LINE_BREAK.search(value) or _LINE_BREAK.search(name):
        raise SipSyntaxError(f"the header {name!r} holds a control character")
    return value


def _reason(status: int) -> str:
    if status in _REASONS:
        return _REASONS[status]
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
