"""Sample size of an experiment, before it starts.

``fixed_size`` is the two-sided z-test of two rates with unpooled variances. The bets of the verdict are valid
at every look, and pay for it: in the benchmark (``tests.benchmarks.verdicts``) half of the runs decide by
``HALF_BY`` times that size, four fifths by ``MOST_BY`` times.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.stats import norm

from recsys.errors import InputError

HALF_BY, MOST_BY = 1.1, 1.9
POWER = 0.8


@dataclass(frozen=True)
class ExperimentDesign:
    """``share`` is that of each of ``treatments``, the control has the rest; ``lift`` is relative."""

    rate: float
    lift: float
    share: float
    treatments: int = 1
    alpha: float = 0.05

    def __post_init__(self) -> None:
        if not 0 < self.rate < 1:
            raise InputError(f"a rate lies between 0 and 1, got {self.rate:g}")
        if self.lift == 0 or not 0 < self.rate * (1 + self.lift) < 1:
            raise InputError(
                f"a lift of {self.lift:+g} makes a rate of {self.rate:g} into "
                f"{self.rate * (1 + self.lift):g}; give one other than 0 that stays between 0 and 1"
            )
        if not 1 <= self.treatments <= 19:
            raise InputError(f"1 to 19 treatments are possible, got {self.treatments}")
        if not (self.share > 0 and self.treatments * self.share < 1):
            raise InputError(
                f"{self.treatments} treatments of {self.share:g} leave the control "
                f"{1 - self.treatments * self.share:g}; both need a share above 0"
            )
        if not 0 < self.alpha < 1:
            raise InputError(f"alpha lies between 0 and 1, got {self.alpha:g}")

    @property
    def control(self) -> float:
        return 1 - self.treatments * self.share


def control_share(treatments: int) -> float:
    """The control's share that minimises the variance with K treatments: 1 / (1 + sqrt(K))."""
    return 1 / (1 + math.sqrt(treatments))


def fixed_size(design: ExperimentDesign) -> int:
    """Users of all arms at which a z-test of one treatment has 80% power; alpha is divided over
    treatments."""
    treated = design.rate * (1 + design.lift)
    variance = treated * (1 - treated) / design.share + design.rate * (1 - design.rate) / design.control
    z = float(norm.isf(design.alpha / design.treatments / 2) + norm.ppf(POWER))
    return math.ceil(z**2 * variance / (treated - design.rate) ** 2)
