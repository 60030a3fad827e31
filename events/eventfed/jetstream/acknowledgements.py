"""What JetStream answers to a publication (ADR-1: acknowledgement; error with ``err_code``)."""

import json

from ..core.messages import Refusal
from .advice import with_advice

__all__ = ["read_acknowledgement"]

_WRONG_LAST_SEQUENCE = 10071
_HINTS = {"503": " (no such stream, or JetStream is off)"}


def read_acknowledgement(body: bytes, status: str | None) -> int | Refusal:
    """The sequence under which it was stored, or why it was not. It never raises.

    Args:
        body: JSON, as it was answered.
        status: of the answer's headers, where NATS itself answers.
    """
    if status is not None:
        return Refusal(int(status) if status.isdecimal() else 0, f"status {status}" + _HINTS.get(status, ""))
    try:
        answer = json.loads(body)
        error = answer.get("error")
        if error is None:
            return int(answer["seq"])
        text = str(error.get("description", "no reason given"))[:200]
        last: int | None = None
        if error.get("err_code") == _WRONG_LAST_SEQUENCE:
            last = int(text.rpartition(":")[2])
        else:
            text = with_advice(text, int(error.get("err_code", 0)))
        return Refusal(int(error.get("code", 0)), text, last)
    except (ValueError, TypeError, KeyError, AttributeError):
        return Refusal(0, f"an answer that nobody understands: {body!r:.80}")
