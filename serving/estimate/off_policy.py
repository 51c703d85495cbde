"""Anytime-valid off-policy estimate of the hit rate of a release that was never served.

Doubly robust pseudo-outcomes with an interval by betting, after Waudby-Smith, Wu, Ramdas, Karampatziakis and
Mineiro, "Anytime-valid off-policy inference for contextual bandits" (2022), for lists: the value of a list is
the sum over its items, independent of position and of the other items. For one list,

    x = n q + sum over shown items that the release lists too of w (hit - q),    w = 1 / P(the item is shown),

is an unbiased estimate of the release's hits per list where exploration can show all of its n items, for
every predictable q; q is the running hit rate of a shown item. The weights of a list sum to at most W, which
follows from the logging policy (see ``Explored``), so q (n - W) <= x <= q (n - W) + W: predictable bounds,
and narrow below where hits are rare. The unit is the user, as in the verdicts. Under a mean of m the wealths
prod(1 + b (x - m)) and prod(1 - b (x - m)) are martingales for predictable bets b: an m is rejected where
either, mixed over bets, reaches 2 / alpha. The bets are optimal for 100 to 100,000 users of the running
standard deviation (Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", JRSS-B
2024, section 3.2).

Items of the release that exploration cannot show have no data: ``support`` is the share of positions with
data, and ``low`` counts the others as never hit. ``high`` is valid if they are hit no more often than shown
items.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from recsys.types import FloatArray

BEST_FOR_USERS = 100.0 * 4.0 ** np.arange(6)  # sizes at which one of the mixed bets is the best one
SAFE = 0.75  # of the largest bet that cannot lose all wealth
LARGEST_RATE = 0.5  # of a shown item
PRIOR_USERS = 20.0  # pseudo-users of the running variance
PRIOR_ITEMS = 20.0  # pseudo-items of the running hit rate
REFIT_EVERY = 50  # users between two values of the running hit rate
STEPS = 40  # bisections of an end
MIN_USERS = 100
MIN_SUPPORT = 0.5


@dataclass(frozen=True)
class Explored:
    """One user's lists, summed: ``lists`` of ``places`` positions each; ``shown`` items and the ``hits``
    among them; ``weight`` and ``weighted_hits``, the sums of weights over shown items and over hits that the
    release lists too. ``largest`` bounds the sum of weights of one list."""

    lists: int
    places: int
    shown: float
    hits: float
    weight: float
    weighted_hits: float
    largest: float


@dataclass(frozen=True)
class OffPolicyEstimate:
    """Hits per list. ``low`` <= hit rate <= ``high`` at all looks simultaneously, with probability 1 -
    ``alpha``; ``self_normalised`` is the weighted hit rate of a position times the positions; ``support`` is
    in [0, 1]. ``words`` says why there is no estimate (the figures are None then), or is empty."""

    users: int
    lists: int
    support: float | None = None
    doubly_robust: float | None = None
    self_normalised: float | None = None
    low: float | None = None
    high: float | None = None
    alpha: float = 0.05
    words: str = ""


def estimate_hit_rate(users: list[Explored], *, alpha: float = 0.05) -> OffPolicyEstimate:
    """Estimate from ``users`` in the order of their entry."""
    lists = sum(user.lists for user in users)
    if len(users) < MIN_USERS:
        words = f"no estimate: {len(users)} users have explored lists, {MIN_USERS} are needed"
        return OffPolicyEstimate(len(users), lists, alpha=alpha, words=words)
    columns = np.array([[*vars(user).values()] for user in users], dtype=np.float64).T
    count, places, shown, hits, weight, weighted_hits, largest = columns
    per_list, total = weight / count, float(weight.sum())
    support = min(1.0, float(per_list.sum() / places.sum()))
    if support < MIN_SUPPORT:
        words = f"no estimate: exploration covers {support:.0%} of its positions, of {MIN_SUPPORT:.0%} needed"
        return OffPolicyEstimate(len(users), lists, support, alpha=alpha, words=words)
    rate = running_rate(hits, shown)
    outcome = places * rate + (weighted_hits - rate * weight) / count
    # The range of an outcome for any draw and any hits, and its variance if all hits had the largest weight.
    floor, ceiling = rate * (places - largest), rate * (places - largest) + largest
    spread = running_deviation(outcome, rate * places * largest)
    low = lower_end(outcome, floor, spread, alpha=alpha)
    high = -lower_end(-outcome, -ceiling, spread, alpha=alpha)
    # Positions without data contribute q hits to the pseudo-outcome: subtract them from the lower end.
    gap = places - per_list
    doubt = 3 * float(gap.std(ddof=1)) / math.sqrt(len(gap))
    missing = max(0.0, float(gap.mean()) + doubt) if support < 1 - doubt / float(places.mean()) else 0.0
    return OffPolicyEstimate(
        users=len(users),
        lists=lists,
        support=support,
        doubly_robust=float(outcome.mean()),
        self_normalised=float(places.mean() * weighted_hits.sum() / total) if total else None,
        low=max(0.0, low - missing * float(rate[-1])),
        high=min(float(places.max()), high),
        alpha=alpha,
    )


def running_rate(hits: FloatArray, shown: FloatArray) -> FloatArray:
    """(n,) hits per shown item among the users before each, at most ``LARGEST_RATE``."""
    before = np.arange(len(hits)) // REFIT_EVERY * REFIT_EVERY
    total_hits, total_shown = (np.concatenate([[0.0], np.cumsum(part)])[before] for part in (hits, shown))
    rate: FloatArray = np.minimum(total_hits / (total_shown + PRIOR_ITEMS), LARGEST_RATE)
    return rate


def running_deviation(outcome: FloatArray, prior: FloatArray) -> FloatArray:
    """(n,) standard deviation of the users before each, with ``PRIOR_USERS`` of variance ``prior`` (n,)."""
    before = np.arange(len(outcome))
    total, squares = (np.concatenate([[0.0], np.cumsum(part)[:-1]]) for part in (outcome, outcome**2))
    about_mean = np.maximum(squares - total**2 / np.maximum(before, 1), 0.0)
    deviation: FloatArray = np.sqrt((about_mean + PRIOR_USERS * prior) / (before + PRIOR_USERS))
    return deviation


def lower_end(outcome: FloatArray, floor: FloatArray, deviation: FloatArray, *, alpha: float) -> float:
    """The largest m for which "the mean is at most m" is rejected at half of ``alpha``, at least the least
    ``floor``.

    Args:
        outcome: (n,) independent.
        floor: (n,) predictable lower bound of each.
        deviation: (n,) predictable standard deviation of each.
    """
    threshold = math.log(2 / alpha)
    optimal = np.sqrt(2 * threshold / BEST_FOR_USERS)[:, None] / np.maximum(deviation, 1e-6)

    def rejected(mean: float) -> bool:
        bets = np.minimum(optimal, SAFE / np.maximum(mean - floor, 1e-12))
        path = np.cumsum(np.log1p(bets * (outcome - mean)), axis=1)
        return bool(logsumexp(path, axis=0).max() - math.log(len(bets)) >= threshold)

    return _last_true(rejected, float(floor.min()), float(outcome.max()))


def _last_true(holds: Callable[[float], bool], low: float, high: float) -> float:
    """The largest value from ``low`` on for which ``holds``, by bisection."""
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
