"""Prometheus' rules over recorded scrapes, as far as the chart's alerts need it.

An expression is a selector, ``increase`` or ``max_over_time`` of one over a range, ``sum(...)`` or ``max by (...)
(...)`` of one of these, or the quotient of two selectors, compared with a number; of two such comparisons the first may
stand ``unless on (...)`` the second. Anything else is refused. The words mean what Prometheus' manual says ("Expression
language basics", "Alerting rules"): a series that begins within a range has no increase, and ``for`` counts from the
first of the scrapes that go on to be true.
"""

import re
from collections.abc import Sequence
from typing import Any, TypeAlias

from prometheus_client.parser import text_string_to_metric_families

__all__ = ["Labels", "Scrape", "firing", "seconds"]

Labels: TypeAlias = frozenset[tuple[str, str]]
Scrape: TypeAlias = tuple[float, str]
"""(time in seconds, exposition text)."""
_Vector: TypeAlias = dict[Labels, float]

_SELECTOR = r"([a-z_]+)(?:\{([^}]*)\})?"
_COMPARISON = re.compile(r"(.+?) (==|>|<) ([0-9.]+)")
_UNITS = {"s": 1, "m": 60, "h": 3600}


def seconds(text: str) -> float:
    """A duration such as 5m."""
    return float(text[:-1]) * _UNITS[text[-1]]


def _vectors(text: str) -> dict[str, _Vector]:
    found: dict[str, _Vector] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return found


def _selected(vectors: dict[str, _Vector], name: str, matchers: str | None) -> _Vector:
    wanted = set(re.findall(r'(\w+)="([^"]*)"', matchers or ""))
    return {labels: value for labels, value in vectors.get(name, {}).items() if wanted <= labels}


def _value(expression: str, scrapes: Sequence[tuple[float, dict[str, _Vector]]]) -> _Vector:
    """At the last scrape."""
    now, last = scrapes[-1]
    if inner := re.fullmatch(r"sum\((.*)\)", expression):
        values = _value(inner[1], scrapes).values()
        return {frozenset(): sum(values)} if values else {}
    if found := re.fullmatch(r"max by \(([^)]*)\) \((.*)\)", expression):
        most: _Vector = {}
        for labels, value in _value(found[2], scrapes).items():
            key = _only(labels, found[1])
            most[key] = max(value, most.get(key, value))
        return most
    if found := re.fullmatch(rf"max_over_time\({_SELECTOR}\[(\w+)\]\)", expression):
        name, matchers, window = found.groups()
        highest: _Vector = {}
        for time, one in scrapes:
            if time > now - seconds(window):
                for labels, value in _selected(one, name, matchers).items():
                    highest[labels] = max(value, highest.get(labels, value))
        return highest
    if found := re.fullmatch(rf"increase\({_SELECTOR}\[(\w+)\]\)", expression):
        name, matchers, window = found.groups()
        present = _selected(last, name, matchers)
        within = [_selected(one, name, matchers) for time, one in scrapes if time >= now - seconds(window)]
        first = {labels: next(one[labels] for one in within if labels in one) for labels in present}
        known = {labels for labels in present if sum(labels in one for one in within) > 1}
        return {labels: present[labels] - first[labels] for labels in known}
    if found := re.fullmatch(rf"{_SELECTOR} / {_SELECTOR}", expression):
        above, below = _selected(last, *found.group(1, 2)), _selected(last, *found.group(3, 4))
        return {labels: above[labels] / below[labels] for labels in above.keys() & below.keys()}
    if found := re.fullmatch(_SELECTOR, expression):
        return _selected(last, *found.groups())
    raise NotImplementedError(expression)


def _only(labels: Labels, names: str) -> Labels:
    """Those of these names, separated by commas."""
    wanted = {name.strip() for name in names.split(",")}
    return frozenset((name, value) for name, value in labels if name in wanted)


def _true(expression: str, scrapes: Sequence[tuple[float, dict[str, _Vector]]]) -> set[Labels]:
    """For which labels it is true at the last scrape."""
    if found := re.fullmatch(r"(.+) unless on \(([^)]*)\) (.+)", expression):
        without = {_only(labels, found[2]) for labels in _true(found[3], scrapes)}
        return {labels for labels in _true(found[1], scrapes) if _only(labels, found[2]) not in without}
    compared = _COMPARISON.fullmatch(expression)
    if compared is None:
        raise NotImplementedError(expression)
    number = float(compared[3])
    holds = {"==": float.__eq__, ">": float.__gt__, "<": float.__lt__}[compared[2]]
    return {labels for labels, value in _value(compared[1], scrapes).items() if holds(float(value), number)}


def firing(rule: dict[str, Any], scrapes: Sequence[Scrape]) -> list[dict[str, str]]:
    """The labels of each alert that fires at the last scrape.

    Raises:
        NotImplementedError: the expression is of another form than those above.
    """
    read = [(time, _vectors(text)) for time, text in scrapes]
    since: dict[Labels, float] = {}
    for index, (time, _) in enumerate(read):
        since = {labels: since.get(labels, time) for labels in _true(rule["expr"], read[: index + 1])}
    pending = seconds(rule.get("for", "0s"))
    return [dict(labels) for labels, began in since.items() if read[-1][0] - began >= pending]
