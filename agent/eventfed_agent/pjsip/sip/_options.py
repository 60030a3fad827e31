"""The request that only asks whether a server answers."""

from __future__ import annotations

import secrets

import sipmessage

from ._addresses import Address, host_in_uri
from ._messages import Request
from ._outbound_publication import SecretHeader

__all__ = ["build_options"]


def build_options(destination: Address, *, resource: str = "eventfed", secret: SecretHeader | None = None) -> Request:
    """An OPTIONS request (RFC 3261 11.1), to see whether a server answers, and whether it knows the secret."""
    party = f"<sip:{resource}@{host_in_uri(destination.host)}>"
    uri = sipmessage.URI(scheme="sip", user=resource, host=host_in_uri(destination.host), port=destination.port)
    headers = [
        ("From", f"{party};tag={secrets.token_hex(8)}"),
        ("To", party),
        ("Call-ID", secrets.token_hex(16)),
        ("Accept", "application/json"),
    ]
    if secret is not None:
        headers.append((secret.name, secret.value))
    return Request.build("OPTIONS", uri, 1, headers)
