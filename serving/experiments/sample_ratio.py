"""Sample ratio test: did each arm get its planned share of users? Without that no result is valid.

An anytime-valid multinomial test (Lindon and Malek, "Anytime-valid inference for multinomial count data",
NeurIPS 2022): the Bayes factor of a Dirichlet around the planned shares against the shares themselves is a
martingale under the planned shares, so it may be evaluated after every user.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln

# Concentration of the Dirichlet prior around the planned shares.
CONCENTRATION = 100.0
WARN_BELOW = 0.05
BLOCK_BELOW = 0.01


@dataclass(frozen=True)
class SampleRatio:
    """``p_value`` is anytime-valid; ``suspect`` gives a warning, ``mismatch`` blocks a verdict."""

    counts: tuple[int, ...]
    shares: tuple[float, ...]
    p_value: float
    threshold: float = BLOCK_BELOW

    @property
    def suspect(self) -> bool:
        return self.p_value < WARN_BELOW

    @property
    def mismatch(self) -> bool:
        return self.p_value < self.threshold


def log_bayes_factor(counts: Sequence[int], shares: Sequence[float]) -> float:
    """Log Bayes factor (nats) of other shares against ``shares``, given ``counts`` of users by arm."""
    observed = np.asarray(counts, dtype=np.float64)
    planned = np.asarray(shares, dtype=np.float64)
    if len(observed) != len(planned) or np.any(planned <= 0):
        raise ValueError(
            f"expected one positive share for each of {len(observed)} arms, got shares {list(shares)}"
        )
    planned = planned / planned.sum()
    prior = CONCENTRATION * planned
    posterior = prior + observed
    alternative = (
        gammaln(prior.sum()) - gammaln(posterior.sum()) + np.sum(gammaln(posterior) - gammaln(prior))
    )
    return float(alternative - np.sum(observed * np.log(planned)))


def check(
    stages: Sequence[tuple[Sequence[int], Sequence[float]]], *, threshold: float = BLOCK_BELOW
) -> SampleRatio:
    """Test ``stages`` of (counts, shares) by arm, one for each set of shares that was in force.

    A user counts in the stage of their first exposure. Arms without a share are not part of a stage. The
    evidence of the stages adds up; without any user there is none.
    """
    if not stages:
        return SampleRatio((), (), 1.0, threshold)
    total = 0.0
    counts, expected = np.zeros(len(stages[0][1])), np.zeros(len(stages[0][1]))
    for observed, shares in stages:
        part = [(count, share) for count, share in zip(observed, shares, strict=True) if share > 0]
        total += log_bayes_factor(*zip(*part, strict=True))
        counts += observed
        expected += np.asarray(shares) / np.sum(shares) * np.sum(observed)
    return SampleRatio(
        counts=tuple(int(count) for count in counts),
        shares=tuple(float(share) for share in expected / max(expected.sum(), 1e-12)),
        p_value=min(1.0, float(np.exp(-total))),
        threshold=threshold,
    )
