"""The exceptions of the SIP user agent, all under `eventfed.EventfedError`."""

from __future__ import annotations

from eventfed import EventfedError

__all__ = ["RequestTimeout", "SipError", "SipSyntaxError", "TransportFailed"]


class SipError(EventfedError):
    """Root of everything that the SIP user agent raises."""


class SipSyntaxError(SipError):
    """What was read is not a SIP message that RFC 3261 allows, or it exceeds a limit.

    The only exception that parsing and stream framing ever raise.
    """


class RequestTimeout(SipError):
    """No final answer came within Timer F (RFC 3261 17.1.2), or this process stood still meanwhile.

    Whether the server took the request is not known.
    """


class TransportFailed(SipError):
    """The request could not be handed to the network, or its connection went before the answer came."""
