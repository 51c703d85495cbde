"""The difference of two arms' means over users, with variance reduction by CUPED.

CUPED (Deng, Xu, Kohavi, Walker, WSDM 2013): subtract theta * (x - mean x) from the outcome, where x is
measured before the user entered and therefore independent of the arm. theta is the pooled regression within
arms, which is unbiased for arms of unequal size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys.types import BoolArray, FloatArray


@dataclass(frozen=True)
class Difference:
    """Treatment minus control. ``variance_kept`` is the share of variance that remains after CUPED."""

    estimate: float
    standard_error: float
    control_users: int
    treatment_users: int
    variance_kept: float

    @property
    def users(self) -> int:
        return self.control_users + self.treatment_users


def adjust(outcome: FloatArray, covariate: FloatArray, treated: BoolArray) -> FloatArray:
    """(n,) outcomes without the part that ``covariate`` explains; the mean over all users stays."""
    centred = np.array(covariate, dtype=np.float64)
    residual = np.array(outcome, dtype=np.float64)
    for side in (treated, ~treated):
        centred[side] -= covariate[side].mean()
        residual[side] -= outcome[side].mean()
    spread = float(centred @ centred)
    theta = float(centred @ residual) / spread if spread > 0 else 0.0
    adjusted: FloatArray = outcome - theta * (covariate - covariate.mean())
    return adjusted


def difference(outcome: FloatArray, treated: BoolArray, covariate: FloatArray | None = None) -> Difference:
    """Compare (n,) outcomes of users. Raises ValueError where an arm has fewer than two."""
    treatment, control = int(treated.sum()), int((~treated).sum())
    if min(treatment, control) < 2:
        raise ValueError(f"expected two users in each arm, got {control} and {treatment}")
    before = float(outcome[treated].var(ddof=1) / treatment + outcome[~treated].var(ddof=1) / control)
    values = outcome if covariate is None else adjust(outcome, covariate, treated)
    after = float(values[treated].var(ddof=1) / treatment + values[~treated].var(ddof=1) / control)
    return Difference(
        estimate=float(values[treated].mean() - values[~treated].mean()),
        standard_error=float(np.sqrt(after)),
        control_users=control,
        treatment_users=treatment,
        variance_kept=after / before if before > 0 else 1.0,
    )
