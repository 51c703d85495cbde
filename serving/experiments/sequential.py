"""Intervals that stay valid however often one looks.

An asymptotic confidence sequence by a Gaussian mixture (Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas,
"Time-uniform central limit theory and asymptotic confidence sequences", 2021, theorem 2.2), written
for any estimator with a standard error that falls like 1/sqrt(n):

    radius(n) = se(n) * sqrt((1 + 1/r) * (log(1 + r) + 2 log(1/alpha))),   r = n / n0.

The price against a fixed-sample interval is a width of about 1.5 times at the planned size. It is
asymptotic, so no interval is given before ``MINIMUM_USERS`` in every arm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.types import FloatArray

MINIMUM_USERS = 100


@dataclass(frozen=True)
class Interval:
    """``low`` <= true value <= ``high`` at all times at once, with probability 1 - ``alpha``."""

    estimate: float
    low: float
    high: float
    alpha: float

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


def mixture_size(planned: int, alpha: float) -> float:
    """n0 that makes the sequence narrowest at ``planned`` users (section 2.5 of the paper)."""
    if planned < 1 or not 0 < alpha < 1:
        raise ValueError(f"expected planned >= 1 and 0 < alpha < 1, got {planned} and {alpha}")
    return planned / (-2 * math.log(alpha) + math.log(1 - 2 * math.log(alpha)))


def radius(
    standard_error: FloatArray, users: FloatArray, *, planned: int, alpha: float
) -> NDArray[np.float64]:
    """Half-widths, elementwise: ``standard_error`` and ``users`` (both arms together) of one shape."""
    ratio = np.asarray(users, dtype=np.float64) / mixture_size(planned, alpha)
    width: NDArray[np.float64] = np.asarray(standard_error, dtype=np.float64) * np.sqrt(
        (1 + 1 / ratio) * (np.log1p(ratio) - 2 * math.log(alpha))
    )
    return width


def interval(
    estimate: float, standard_error: float, users: int, *, planned: int, alpha: float = 0.05
) -> Interval:
    """The interval after ``users`` users, for an estimate with this standard error."""
    half = float(radius(np.array(standard_error), np.array(float(users)), planned=planned, alpha=alpha))
    return Interval(estimate, estimate - half, estimate + half, alpha)


def users_needed(
    effect: float, standard_error: float, users: int, *, planned: int, alpha: float = 0.05
) -> int:
    """How many users in all until an interval around ``effect`` would leave zero out.

    Takes the standard error seen at ``users`` to fall like 1/sqrt(n). Bounded at 10**9.
    """
    if effect == 0 or users < 1:
        return 10**9
    low, high = users, 10**9
    while low < high:
        middle = (low + high) // 2
        error = standard_error * math.sqrt(users / middle)
        half = float(radius(np.array(error), np.array(float(middle)), planned=planned, alpha=alpha))
        if half < abs(effect):
            high = middle
        else:
            low = middle + 1
    return low
