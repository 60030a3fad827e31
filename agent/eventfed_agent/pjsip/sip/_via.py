"""The topmost Via header (RFC 3261 20.42, RFC 3581).

Read here and not by the sipmessage library, which refuses the IPv6 address in `received=::1` and
percent-encodes parameters when it writes them again; a Via has to go back exactly as it came.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ._errors import SipSyntaxError

__all__ = ["MAGIC_COOKIE", "Via", "mark_received", "parse_top_via"]

MAGIC_COOKIE = "z9hG4bK"

_TOKEN = r"[A-Za-z0-9.!%*_+`'~-]+"
_PARAMETER = rf'\s*;\s*{_TOKEN}(?:\s*=\s*(?:[^\s;,"]+|"(?:[^"\\]|\\.)*"))?'
_TOP_VIA = re.compile(
    rf"\s*SIP\s*/\s*2\.0\s*/\s*(?P<transport>{_TOKEN})\s+"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?:\s*:\s*(?P<port>[0-9]{1,5}))?"
    rf"(?P<parameters>(?:{_PARAMETER})*)\s*(?:,|$)",
    re.IGNORECASE | re.ASCII,
)
_BRANCH = re.compile(r';\s*branch\s*=\s*([^\s;,"]+)', re.IGNORECASE)
_RPORT = re.compile(r";\s*rport\b\s*(?:=\s*[0-9]*)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Via:
    """What transactions and answers need of the topmost Via: sent-by, branch, and whether rport is asked for."""

    transport: str
    host: str
    port: int | None
    branch: str
    has_rport: bool

    @property
    def sent_by(self) -> tuple[str, int]:
        """Host (lower case) and port, 5060 where none is given."""
        return self.host.lower(), self.port or 5060


def parse_top_via(value: str) -> Via:
    """Parse the first element of a Via header value; raises SipSyntaxError."""
    match = _TOP_VIA.match(value)
    if match is None:
        raise SipSyntaxError("the Via header is not valid")
    transport, host, port, parameters = match.group("transport", "host", "port", "parameters")
    if port is not None and not 0 < int(port) < 65536:
        raise SipSyntaxError("the port in the Via header is not valid")
    branch = _BRANCH.search(parameters)
    return Via(
        transport=transport.upper(),
        host=host,
        port=int(port) if port else None,
        branch=branch.group(1) if branch else "",
        has_rport=_RPORT.search(parameters) is not None,
    )


def mark_received(value: str, host: str, port: int) -> str:
    """The Via value with `received` and `rport` filled in for the source it came from (RFC 3581 section 4)."""
    match = _TOP_VIA.match(value)
    if match is None:
        raise SipSyntaxError("the Via header is not valid")
    start, end = match.span("parameters")
    filled = _RPORT.sub("", value[start:end], count=1)
    return f"{value[:start]}{filled};received={host};rport={port}{value[end:]}"
