"""Whether an object is as it should be."""

import hashlib
import json
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from .crd.resource import GROUP
from .resources import Resource

__all__ = ["APPLIED", "is_foreign", "matches", "stamped"]

APPLIED = f"{GROUP}/applied"
"""Annotation on each of our objects: a digest of what was asked for, so that what is asked no longer is noticed too."""

_EXPONENTS = {"": 0, "n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_QUANTITIES = frozenset({"requests", "limits", "sizeLimit", "divisor"})
"""Fields whose amounts the API server may write in another way."""


def stamped(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest that carries its own digest."""
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()[:32]
    metadata = manifest["metadata"]
    annotations = {**metadata.get("annotations", {}), APPLIED: digest}
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}


def matches(present: Any, wanted: Any, *, quantities: bool = False) -> bool:
    """Whether all that is wanted is there.

    What the API server or somebody else added stays, as server-side apply does: fields, and entries of lists
    whose entries have names. Amounts of resources are compared by value, because the API server rewrites them.
    """
    if isinstance(wanted, Mapping):
        return isinstance(present, Mapping) and all(
            key in present and matches(present[key], value, quantities=key in _QUANTITIES or quantities)
            for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        if not isinstance(present, list):
            return False
        if wanted and all(isinstance(one, Mapping) and "name" in one for one in wanted):
            named = {one.get("name"): one for one in present if isinstance(one, Mapping)}
            return all(matches(named.get(one["name"]), one, quantities=quantities) for one in wanted)
        return len(present) == len(wanted) and all(
            matches(one, other, quantities=quantities) for one, other in zip(present, wanted, strict=True)
        )
    if quantities:
        return _amount(present) == _amount(wanted)
    return bool(present == wanted)


def _amount(quantity: object) -> Decimal | str:
    """An amount as a number; as it stands if it is none."""
    text = str(quantity)
    try:
        if text.endswith("i"):
            return Decimal(text[:-2]) * Decimal(1024) ** (1 + "KMGTPE".index(text[-2]))
        suffix = text[-1:] if text[-1:] in _EXPONENTS else ""
        return Decimal(text.removesuffix(suffix)).scaleb(_EXPONENTS[suffix])
    except (InvalidOperation, ValueError, IndexError):
        return text


def is_foreign(present: Mapping[str, Any], resource: Resource) -> bool:
    """Whether an object of that name belongs to somebody else, so that we must not touch it.

    One that still belongs to an EventFederation of this name that was deleted is foreign until Kubernetes has
    removed it.
    """
    metadata = present["metadata"]
    controllers = [one for one in metadata.get("ownerReferences") or () if one.get("controller")]
    if controllers:
        return all(one.get("uid") != resource.uid for one in controllers)
    return (metadata.get("labels") or {}).get(f"{GROUP}/federation") != resource.name
