"""Anytime-valid test by betting of a difference of two arms' means, for any sample size, rate and share.

Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting" (JRSS-B 2024), on the
inverse-propensity contrast of a randomised experiment. Users are added once, in the order of their entry. For
a user with outcome y in [0, 1], T = 1 in the treatment and p the probability of that at their entry,

    x = (T - p) (y - m),   E[x] = p (1 - p) (mean of treatment - mean of control),

for any m that does not depend on y. So under equal means prod(1 + k x) is a martingale for every bet k chosen
before, and a mixture over bets that reaches 1/alpha rejects (Ville's inequality): no minimum or planned
sample size, no estimate of the variance. p comes from the shares in force, never from counts, so changed
shares and trends over time do no harm.

The centre m is the running mean, or a regression on earlier data of the user (CUPED): the test is exact for
any centre, and faster with a good one. Bets are z s for 16 values of z, a mixture that needs no expected
effect.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from recsys.types import BoolArray, FloatArray

Z = np.arange(0.1, 3.2, 0.2)  # 16 bets, in units of the scale
WEIGHTS = np.exp(-(Z**2) / 2) / np.exp(-(Z**2) / 2).sum()
RATE_SCALE = 0.25
DESIGN_EFFECT = 0.05  # of the mean squared error: bets on accuracy are best at this effect
PRIOR_USERS = 20.0  # pseudo-users of the running variance, with the largest possible variance
SAFE = 0.95  # of the largest bet that cannot lose all wealth
REFIT_EVERY = 50  # users between fits of the regression
SHRINK_USERS = 50.0
CHUNK = 8192
Kind = Literal["rate", "error"]


@dataclass(frozen=True)
class Evidence:
    """Result of the bets, on the outcomes' own scale; larger is better.

    ``better`` and ``worse`` are the running maxima of the two e-processes (natural logarithms); ``threshold``
    is the logarithm at which they reject. ``low`` <= difference <= ``high`` at all looks simultaneously.
    """

    estimate: float
    low: float
    high: float
    better: float
    worse: float
    threshold: float
    users: int
    variance: float
    weight: float

    @property
    def ships(self) -> bool:
        return self.better >= self.threshold

    @property
    def stops(self) -> bool:
        return self.worse >= self.threshold

    @property
    def standard_error(self) -> float:
        """Standard error of the estimate; for planning only, the interval does not use it."""
        return math.sqrt(self.variance / max(self.users * self.weight, 1e-12))


def users_needed(effect: float, variance: float, weight: float, *, power: float = 0.8) -> int:
    """Total users at which a difference of ``effect`` is detected with ``power``.

    Args:
        effect: the difference of the arms' means.
        variance: variance of an outcome around its centre, on the same scale.
        weight: p (1 - p), with p the treatment's share of the two arms' users.
        power: 0.5 or 0.8.
    """
    if effect == 0 or weight <= 0:
        return 10**9
    factor = 8.0 if power <= 0.5 else 14.0
    return min(10**9, max(1, math.ceil(factor * variance / (weight * effect**2))))


def centres(outcome: FloatArray, covariate: FloatArray | None) -> NDArray[np.float64]:
    """(n,) expected value of each outcome in [0, 1], from the users before it alone."""
    n = len(outcome)
    before = np.concatenate([[0.0], np.cumsum(outcome)[:-1]])
    mean = (before + 0.02) / (np.arange(n) + 1)
    if covariate is None or n == 0:
        return np.clip(mean, 0.0, 1.0)
    x = np.asarray(covariate, dtype=np.float64)
    xs, xx, xy = (np.concatenate([[0.0], np.cumsum(part)]) for part in (x, x**2, x * outcome))
    fitted = np.arange(n) // REFIT_EVERY * REFIT_EVERY  # number of users in the regression of each row
    count = np.maximum(fitted, 1)
    ys = np.concatenate([[0.0], np.cumsum(outcome)])[fitted]
    spread = xx[fitted] - xs[fitted] ** 2 / count
    shared = xy[fitted] - xs[fitted] * ys / count
    slope = (
        np.divide(shared, spread, out=np.zeros(n), where=spread > 1e-12) * fitted / (fitted + SHRINK_USERS)
    )
    expected: NDArray[np.float64] = np.clip(mean + slope * (x - xs[fitted] / count), 0.0, 1.0)
    return expected


def bet(
    outcome: FloatArray,
    treated: BoolArray,
    share: FloatArray,
    *,
    bound: float = 1.0,
    kind: Kind = "rate",
    covariate: FloatArray | None = None,
    treatments: int = 1,
    alpha: float = 0.05,
) -> Evidence:
    """Compare two arms; users are in the order of their entry.

    Args:
        outcome: (n,) in [0, ``bound``]; clipped to it. Larger is better.
        treated: (n,) True for the treatment's users.
        share: (n,) the treatment's share of the two arms when the user entered, strictly between 0 and 1.
        bound: the largest outcome.
        kind: "rate", or "error" for ``bound`` minus a squared error: decides the scale of the bets.
        covariate: (n,) a figure of the user from before their entry.
        treatments: number of arms compared with this control; ``alpha`` is divided over them (Bonferroni).
        alpha: probability of a false verdict in either direction.

    Raises:
        ValueError: a share that is not strictly between 0 and 1.
    """
    p = np.asarray(share, dtype=np.float64)
    if len(p) and not (p.min() > 0 and p.max() < 1):
        raise ValueError(f"expected shares strictly between 0 and 1, got {p.min():g} to {p.max():g}")
    y = np.clip(np.asarray(outcome, dtype=np.float64) / bound, 0.0, 1.0)
    m = centres(y, covariate)
    x, w = (treated - p) * (y - m), p * (1 - p)
    n = len(y)
    variance = np.cumsum(np.concatenate([[PRIOR_USERS / 4], (y - m) ** 2]))[:-1] / (
        PRIOR_USERS + np.arange(n)
    )
    scale = np.full(n, RATE_SCALE) if kind == "rate" else DESIGN_EFFECT * (1 - m) / variance
    # The largest bets that cannot lose all wealth at the worst possible outcome.
    highest = SAFE / np.maximum(np.maximum((1 - p) * m, p * (1 - m)), 1e-9)
    lowest = SAFE / np.maximum(np.maximum((1 - p) * (1 - m), p * m), 1e-9)
    return _evidence(
        x, w, scale, (highest, lowest), bound=bound, variances=(y - m) ** 2, tests=treatments, alpha=alpha
    )


def bet_on_preference(preference: FloatArray, *, treatments: int = 1, alpha: float = 0.05) -> Evidence:
    """Test whether the mean of (n,) preferences in [-1, 1] differs from 0; users are in the order of their
    entry.

    The bets of ``bet`` on the preferences themselves: under a mean of 0 prod(1 + k x) is a martingale.
    """
    x = np.clip(np.asarray(preference, dtype=np.float64), -1.0, 1.0)
    limit = np.full(len(x), SAFE / 2)  # |x - t| is below 2 for every mean t in the interval
    scale = np.full(len(x), RATE_SCALE)
    return _evidence(
        x, np.ones(len(x)), scale, (limit, limit), bound=1.0, variances=x**2, tests=treatments, alpha=alpha
    )


def _evidence(
    x: FloatArray,
    w: FloatArray,
    scale: FloatArray,
    limits: tuple[FloatArray, FloatArray],
    *,
    bound: float,
    variances: FloatArray,
    tests: int,
    alpha: float,
) -> Evidence:
    """Both e-processes over (n,) increments ``x`` whose expectation is ``w`` times the difference.

    ``scale`` is the unit of the bets, ``limits`` the largest bets upwards and downwards."""
    threshold, n = math.log(2 * tests / alpha), len(x)
    best, sums = [], []
    for sign, limit in zip((1.0, -1.0), limits, strict=True):
        largest, total = _wealth(x, w, sign, np.minimum(scale[:, None] * Z, limit[:, None]))
        best.append(largest)
        sums.append(total)
    estimate = float(x.sum() / w.sum()) if n else 0.0
    low = _end(sums[0], threshold, below=estimate)
    high = -_end(sums[1], threshold, below=-estimate)
    return Evidence(
        estimate=bound * estimate,
        low=bound * (max(low, 0.0) if best[0] >= threshold else low),
        high=bound * (min(high, 0.0) if best[1] >= threshold else high),
        better=best[0],
        worse=best[1],
        threshold=threshold,
        users=n,
        variance=bound**2 * float(np.mean(variances)) if n else 0.0,
        weight=float(w.mean()) if n else 0.0,
    )


def _wealth(
    x: FloatArray, w: FloatArray, sign: float, bets: FloatArray
) -> tuple[float, tuple[FloatArray, FloatArray, FloatArray]]:
    """The largest log wealth of the mixture over all prefixes, and three sums a bet (see ``_end``)."""
    running: NDArray[np.float64] = np.zeros(len(Z))
    largest = 0.0
    slopes, curves = np.zeros(len(Z)), np.zeros(len(Z))
    for start in range(0, len(x), CHUNK):
        rows = slice(start, start + CHUNK)
        k = bets[rows]
        growth = 1 + sign * k * x[rows, None]
        path = running + np.cumsum(np.log(growth), axis=0, dtype=np.float64)
        largest = max(largest, float(_log_mixture(path).max()))
        running = path[-1]
        step = k * w[rows, None] / growth
        slopes += step.sum(axis=0)
        curves += np.square(step).sum(axis=0)
    return largest, (running, slopes, curves)


def _end(sums: tuple[FloatArray, FloatArray, FloatArray], threshold: float, *, below: float) -> float:
    """The lower end: the largest t for which "the difference is at most t" is rejected, -1 where none is.

    The log wealth against t is A - b t - c t^2 / 2 to second order, with A = sum log(1 + k x),
    b = sum k w / (1 + k x), c = sum (k w / (1 + k x))^2.
    """
    wealth, slopes, curves = sums

    def excess(t: float | NDArray[np.float64]) -> NDArray[np.float64]:
        at = np.asarray(t)[..., None]
        return _log_mixture(wealth - slopes * at - curves * at * at / 2) - threshold

    start = max(-1.0, below - 2.0)
    # The second-order form is a parabola in t: only its falling branch, right of the top, is valid.
    grid = np.linspace(below, start, 81)
    over = excess(grid) >= 0
    ends = np.flatnonzero(over[1:] & ~over[:-1])
    return float(brentq(excess, grid[ends[0] + 1], grid[ends[0]])) if len(ends) else -1.0


def _log_mixture(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    """(...,) logarithm of the bets' weighted mean of (..., bets) logarithms."""
    top = logs.max(axis=-1)
    mixed: NDArray[np.float64] = top + np.log(np.exp(logs - top[..., None]) @ WEIGHTS)
    return mixed
