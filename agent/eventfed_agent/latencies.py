"""How long events take from one server into another."""

from bisect import bisect_left

__all__ = ["BOUNDS", "Latencies"]

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the histogram's buckets, in seconds; one more takes the rest."""


class Latencies:
    """A histogram of seconds from "the origin's agent heard it" to "the receiving server took it".

    Clocks of two hosts are compared, so it is as exact as their synchronisation. What was heard more than a minute
    ago is a replay, not a delivery, and is left out.
    """

    def __init__(self) -> None:
        self.buckets = [0] * (len(BOUNDS) + 1)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count one delivery; a negative time (clocks apart) counts as 0."""
        if seconds > 60.0:
            return
        seconds = max(0.0, seconds)
        self.buckets[bisect_left(BOUNDS, seconds)] += 1
        self.sum += seconds
