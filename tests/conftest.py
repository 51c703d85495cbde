"""Hypothesis profiles: ``suite`` draws the same examples every time, ``fuzz`` (`make fuzz`) new and more."""

from __future__ import annotations

import os

try:
    from hypothesis import HealthCheck, settings
except ImportError:  # an environment that serves and has no test extra: its checks need no Hypothesis
    pass
else:
    settings.register_profile("suite", derandomize=True, deadline=None, database=None)
    settings.register_profile(
        "fuzz", deadline=None, max_examples=1000, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))
