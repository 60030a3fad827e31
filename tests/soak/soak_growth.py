"""Whether something grows: a robust slope over the second half of a phase, beside a bound.

The first half is left out, since a process that starts fills its caches then. The slope is that of Theil and Sen, the
median over all pairs of samples: a single peak, or the teeth of a garbage collector, do not move it.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["BOUNDS", "FEWEST_SAMPLES", "Growth", "Series", "growth", "slope"]

FEWEST_SAMPLES = 8
"""In the second half; with fewer nothing is said of growth."""

BOUNDS = {"resident_mib": 1.0, "descriptors": 2.0, "threads": 2.0, "tasks": 2.0}
"""Figure → by how much it may rise over the second half of a phase."""

RELATIVE_BOUND = 0.02
"""Resident memory may rise by this part of itself, where that is more than its bound."""


@dataclass(frozen=True, slots=True)
class Series:
    """One figure of one process: when, in seconds, and how much."""

    process: str
    figure: str
    samples: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Growth:
    """What the second half of a series says."""

    process: str
    figure: str
    rise: float
    """Over the second half, by its slope."""
    bound: float
    an_hour: float
    """The slope, in units an hour."""

    @property
    def exceeded(self) -> bool:
        return self.rise > self.bound


def slope(samples: Sequence[tuple[float, float]]) -> float:
    """The estimator of Theil and Sen, in units a second; 0 of fewer than two samples."""
    slopes = [
        (later - earlier) / (end - begin)
        for number, (begin, earlier) in enumerate(samples)
        for end, later in samples[number + 1 :]
        if end > begin
    ]
    return statistics.median(slopes) if slopes else 0.0


def growth(series: Series) -> Growth | None:
    """What the second half of the time says; None where it has fewer than `FEWEST_SAMPLES` samples."""
    if not series.samples:
        return None
    middle = (series.samples[0][0] + series.samples[-1][0]) / 2
    half = [sample for sample in series.samples if sample[0] >= middle]
    if len(half) < FEWEST_SAMPLES:
        return None
    steepness = slope(half)
    bound = BOUNDS[series.figure]
    if series.figure == "resident_mib":
        bound = max(bound, RELATIVE_BOUND * statistics.median(value for _, value in half))
    rise = steepness * (half[-1][0] - half[0][0])
    return Growth(series.process, series.figure, rise=rise, bound=bound, an_hour=steepness * 3600)
