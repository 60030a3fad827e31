"""EventFederations as a test looks at them: their objects, conditions and streams."""

import asyncio
import time
from typing import Any

import nats
from nats.js.api import StreamConfig
from nats.js.errors import NotFoundError

from cluster_api import Api, eventually
from installation import Installation, Operator

__all__ = ["OWNED", "condition", "owned", "rounds", "settled", "stream"]

OWNED = [
    ("ServiceAccount", "pbx-agent"),
    ("NetworkPolicy", "pbx-agent"),
    ("Secret", "pbx-agent"),
    ("Secret", "pbx-asterisk"),
    ("Service", "pbx-agent"),
    ("DaemonSet", "pbx-agent"),
]
"""What an EventFederation of the name pbx owns, as (kind, name)."""


def owned(api: Api, namespace: str) -> dict[tuple[str, str], dict[str, Any]]:
    """All that it owns; empty as long as something is missing."""
    found = {(kind, name): api.find(kind, namespace, name) for kind, name in OWNED}
    return {key: one for key, one in found.items() if one} if all(found.values()) else {}


def condition(api: Api, namespace: str, kind: str, name: str = "pbx") -> tuple[str, str, str]:
    """(status, reason, message) of a condition; empty before there is one."""
    status = api.get("EventFederation", namespace, name).get("status") or {}
    for one in status.get("conditions") or ():
        if one["type"] == kind:
            return one["status"], one["reason"], one["message"]
    return "", "", ""


_ROUNDS = "eventfed_operator_rounds_total"


def rounds(operator: Operator, number: int) -> None:
    """Wait until each EventFederation was looked at so often."""
    for _ in range(number):
        before, federations = _counts(operator)
        eventually(lambda before=before, some=federations: _counts(operator)[0] >= before + max(some, 1))


def _counts(operator: Operator) -> tuple[float, float]:
    metrics = operator.metrics()
    return metrics[_ROUNDS], metrics["eventfed_operator_federations"]


def settled(api: Api, operator: Operator, namespace: str, *, within: float = 20.0) -> None:
    """Wait until an EventFederation has all that it owns, its last change was seen, and two looks changed nothing."""

    def seen() -> bool:
        one = api.get("EventFederation", namespace, "pbx")
        told = (one.get("status") or {}).get("observedGeneration") == one["metadata"]["generation"]
        return bool(told and owned(api, namespace))

    eventually(seen, within=within)
    deadline, before, since = time.monotonic() + within, operator.actions(), operator.metrics()[_ROUNDS]
    while operator.metrics()[_ROUNDS] < since + 2:
        assert time.monotonic() < deadline, f"still busy: {before}"
        time.sleep(0.05)
        if (now := operator.actions()) != before:
            before, since = now, operator.metrics()[_ROUNDS]


def stream(installation: Installation, namespace: str, name: str = "pbx") -> StreamConfig | None:
    """The stream of an EventFederation on the chart's NATS."""

    async def look() -> StreamConfig | None:
        assert installation.nats is not None
        password = installation.passwords["operator"]
        client = await nats.connect(
            installation.nats.url, user="operator", password=password, inbox_prefix=b"_INBOX_operator"
        )
        try:
            return (await client.jetstream().stream_info(f"EVENTFED_{namespace}_{name}_local")).config
        except NotFoundError:
            return None
        finally:
            await client.close()

    return asyncio.run(look())
