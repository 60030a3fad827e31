"""The stream that the operator makes for a federation."""

from collections.abc import Mapping
from typing import Any

from eventfed import FederationSettings, Storage, stream_configuration

from .crd.resource import GROUP, StreamStorage
from .drift import matches
from .resources import Resource

__all__ = ["OWNER", "stream_differs", "stream_owner", "wanted_stream"]

OWNER = f"{GROUP}/owner"
"""Metadata of a stream: which EventFederation it is of."""

_FIXED = ("name", "storage", "retention")


def stream_owner(resource: Resource) -> str:
    """Who a stream says that it belongs to. One that was retained belongs to the next of the name."""
    return f"{resource.namespace}/{resource.name}"


def wanted_stream(resource: Resource) -> dict[str, Any]:
    """The body of ``STREAM.CREATE`` and ``STREAM.UPDATE``."""
    spec = resource.spec.nats.stream
    storage = Storage.FILE if spec.storage is StreamStorage.FILE else Storage.MEMORY
    base = stream_configuration(resource.subjects, FederationSettings(storage=storage, replicas=spec.replicas))
    # A full stream that drops its oldest states would put out lamps; one that refuses new ones is told by a condition.
    limit = {} if spec.max_bytes is None else {"max_bytes": spec.max_bytes, "discard": "new"}
    return {**base, **limit, "metadata": {OWNER: stream_owner(resource)}}


def stream_differs(present: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether the stream has to be updated. What NATS cannot change afterwards is not looked at."""
    # NATS leaves out what is zero or false.
    zeros = {key: type(value)() for key, value in wanted.items()}
    return not matches({**zeros, **present}, {k: v for k, v in wanted.items() if k not in _FIXED})
