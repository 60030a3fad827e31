"""Hypothesis profiles: EVENTFED_EXAMPLES sets how many examples each property gets (default 2,000, `quick` 200, `full`
100,000)."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

for _name, _examples in (("quick", 200), ("default", 2_000), ("full", 100_000)):
    settings.register_profile(
        _name,
        max_examples=_examples,
        deadline=None,
        derandomize=False,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow],
    )

settings.register_profile(
    "chosen", settings.get_profile("default"), max_examples=int(os.environ.get("EVENTFED_EXAMPLES", "2000"))
)
settings.load_profile("chosen")
