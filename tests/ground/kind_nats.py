"""The chart's NATS, asked with the operator's or the agents' own credentials."""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import nats
from nats.aio.client import Client

from eventfed_lab import Cluster, LabError

__all__ = ["as_user", "away", "scale_nats", "stream_info"]

_NOT_FOUND = 404
_PLACE = ("-n", "eventfed")


@asynccontextmanager
async def as_user(cluster: Cluster, user: str) -> AsyncIterator[Client]:
    """A connection as ``operator`` or ``agent``."""
    secret = await cluster.get("secret", "eventfed-nats", "eventfed")
    pod = await cluster.get("pod", "eventfed-nats-0", "eventfed")
    client = await nats.connect(
        f"nats://{pod['status']['podIP']}:4222",
        user=user,
        password=base64.b64decode(secret["data"][user]).decode(),
        inbox_prefix=f"_INBOX_{user}".encode(),
    )
    try:
        yield client
    finally:
        await client.close()


async def stream_info(cluster: Cluster, stream: str) -> Any:
    """``STREAM.INFO``; None if there is no such stream.

    Raises:
        LabError: NATS refuses.
    """
    async with as_user(cluster, "operator") as client:
        answer = json.loads((await client.request(f"$JS.API.STREAM.INFO.{stream}", b"", timeout=5)).data)
    error = answer.get("error")
    if error is None:
        return answer
    if error["code"] == _NOT_FOUND:
        return None
    raise LabError(f"{stream}: {error}")


async def scale_nats(cluster: Cluster, replicas: int) -> None:
    """``kubectl scale``, and wait until it is so."""
    await cluster.kubectl("scale", "statefulset/eventfed-nats", f"--replicas={replicas}", *_PLACE)
    if replicas:
        await cluster.kubectl("rollout", "status", "statefulset/eventfed-nats", *_PLACE, "--timeout=90s")
    else:
        await cluster.wait("delete", "pod/eventfed-nats-0", *_PLACE, within=90)


@asynccontextmanager
async def away(cluster: Cluster) -> AsyncIterator[None]:
    """NATS is away while the context is open."""
    await scale_nats(cluster, 0)
    try:
        yield
    finally:
        await scale_nats(cluster, 1)
