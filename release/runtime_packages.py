"""The Python packages that the image holds: what ``eventfed[operator,nats]`` needs, as it is installed here."""

import re
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution

from packaging.requirements import Requirement

__all__ = ["PRODUCT", "closure"]

PRODUCT = "eventfed"
EXTRAS = frozenset({"operator", "nats"})
"""What the image is installed with, as in the Dockerfile."""


def _normal(name: str) -> str:
    """PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _needed(package: Distribution, extras: frozenset[str]) -> Iterator[Requirement]:
    for text in package.requires or ():
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield requirement


def closure() -> dict[str, tuple[Distribution, set[str]]]:
    """Each package with the names of those that it needs.

    Raises:
        PackageNotFoundError: one is not installed.
    """
    found: dict[str, tuple[Distribution, set[str]]] = {}
    asked: set[tuple[str, frozenset[str]]] = set()
    waiting = [(PRODUCT, EXTRAS)]
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in asked:
            continue
        asked.add((name, extras))
        package, needs = found.setdefault(name, (distribution(name), set()))
        for requirement in _needed(package, extras):
            needed = _normal(requirement.name)
            needs.add(needed)
            waiting.append((needed, frozenset(requirement.extras)))
    return found
