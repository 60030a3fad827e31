"""The header secret by which Asterisk knows its agent, and its rotation.

It stands in two Secrets: the agents' own, and as text in the snippet for Asterisk. Each says by a digest whether
somebody changed it by hand, so whichever is left untouched repairs the other.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .crd.resource import GROUP
from .resources import ROTATION

__all__ = ["DIGEST", "SNIPPET_KEY", "HeaderTokens", "next_tokens"]

DIGEST = f"{GROUP}/token-digest"
"""Annotation on both Secrets."""

SNIPPET_KEY = "pjsip_eventfed.conf"
"""The snippet's name in its Secret, and so the name of the file that Asterisk includes."""

_HEADER = re.compile(r"match_header = X-Eventfed-Token: (\S+)")
_TOKEN = re.compile(r"[A-Za-z0-9._~+=-]{8,256}")


@dataclass(frozen=True, slots=True)
class HeaderTokens:
    """The secrets that agents send and Asterisk accepts.

    Args:
        current: what the snippet names first; agents send it, and on a refusal the previous one.
        previous: the one before, accepted while some server still has an older snippet.
        rotation: the request for rotation that `current` answers.
    """

    current: str = field(repr=False)
    previous: str | None = field(default=None, repr=False)
    rotation: str = ""

    @property
    def digest(self) -> str:
        """Tells whether both stand as they were written; it does not tell what they are."""
        return hashlib.sha256(f"{self.current}\n{self.previous or ''}".encode()).hexdigest()

    @property
    def annotations(self) -> dict[str, str]:
        return {DIGEST: self.digest, **({ROTATION: self.rotation} if self.rotation else {})}


def next_tokens(
    agents: Mapping[str, Any] | None,
    asterisk: Mapping[str, Any] | None,
    *,
    rotation: str,
    fresh: str,
    all_have_current: bool = False,
) -> HeaderTokens:
    """The tokens that should be, from the two Secrets as they are.

    Args:
        agents: the agents' Secret, None if there is none.
        asterisk: the Secret with the snippet.
        rotation: the rotation that is asked for.
        fresh: a new random token, used if there is none yet or a rotation is due.
        all_have_current: every member is known to accept the current token, so the previous one can go.
    """
    found = [tokens for tokens in (_from_agents(agents), _from_snippet(asterisk)) if tokens is not None]
    if not found:
        return HeaderTokens(fresh, rotation=rotation)
    tokens = found[0]
    if rotation and tokens.rotation != rotation:
        return HeaderTokens(fresh, previous=tokens.current, rotation=rotation)
    return HeaderTokens(tokens.current, None if all_have_current else tokens.previous, rotation)


def _from_agents(secret: Mapping[str, Any] | None) -> HeaderTokens | None:
    return _checked(secret, [_value(secret, "token"), _value(secret, "previous-token")])


def _from_snippet(secret: Mapping[str, Any] | None) -> HeaderTokens | None:
    return _checked(secret, [*_HEADER.findall(_value(secret, SNIPPET_KEY) or ""), None])


def _checked(secret: Mapping[str, Any] | None, values: list[str | None]) -> HeaderTokens | None:
    if secret is None or not values[0] or not _TOKEN.fullmatch(values[0]):
        return None
    annotations = secret["metadata"].get("annotations") or {}
    tokens = HeaderTokens(values[0], values[1], annotations.get(ROTATION, ""))
    return tokens if annotations.get(DIGEST) == tokens.digest else None


def _value(secret: Mapping[str, Any] | None, key: str) -> str | None:
    try:
        return base64.b64decode(((secret or {}).get("data") or {}).get(key, ""), validate=True).decode() or None
    except (binascii.Error, UnicodeDecodeError):
        return None
