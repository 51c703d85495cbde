"""Attention pooling of a history.

Pooling by learnt seeds (PMA: Lee et al. 2019, Set Transformer, arXiv:1810.00825, section 3.2, a seed per
head): head m weighs item j by w_jm = exp(s_jm), for every user, and pools its share of the columns as
sum_j a_jm v_j with a = w / sum w. Our deviations: the logit s_jm is learnt for each row instead of being a
seed's product with a key; and the average is multiplied by the root of the effective number of ratings,
(sum w)^2 / sum w^2 (Kish 1965), since more evidence must weigh more. The result is sum w v / sqrt(sum w^2),
which without attention (w = 1) is the plain history's sum / sqrt(count): training starts there. Both sums are
over the history alone, so that they stay sparse products, the target is removed by a subtraction, and nothing
is computed per candidate.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from recsys.models.hybrid_vae.gather import gather

LIMIT = 2.0  # of a logit: a rating weighs at most exp(4) = 55 times another, so the subtraction stays precise
# Adam moves a parameter by about its rate a step. So that a few hundred steps are enough for a logit, the
# table holds it divided by this (measured, ML-100K u1, 10 epochs: weights of 0.95 to 1.06 without).
GAIN = 32.0
LEAST_SQUARE = math.exp(-2 * LIMIT)


class Attention(nn.Module):
    """Attention weights of a table's rows; ``heads`` share its ``width`` columns evenly."""

    def __init__(self, rows: int, *, heads: int, width: int) -> None:
        super().__init__()
        self.width, self.share = width, width // heads
        self.logits = nn.Parameter(torch.zeros(rows, heads))

    def weights(self) -> Tensor:
        """(rows, heads) of all rows."""
        return bounded(self.logits)

    def weighted(self, values: Tensor, weights: Tensor) -> Tensor:
        """(n, width) ``values`` (n, width), each head's columns times its ``weights`` (n, heads)."""
        return values * weights.repeat_interleave(self.share, dim=1)

    def term(self, values: Tensor, rows: Tensor) -> Tensor:
        """(batch, width + heads) terms of ``rows`` (batch,) with ``values`` (batch, width) in the sums."""
        weights = bounded(gather(self.logits, rows))
        return torch.cat([self.weighted(values, weights), weights.square()], dim=1)

    def pooled(self, sums: Tensor) -> Tensor:
        """(n, width) from (n, width + heads) ``sums`` of weighted values, then of squared weights."""
        squares = sums[:, self.width :].clamp(min=LEAST_SQUARE)
        return self.weighted(sums[:, : self.width], torch.rsqrt(squares))


def bounded(logits: Tensor) -> Tensor:
    """Weights of ``logits`` of any shape, exp(-LIMIT) to exp(LIMIT); 1 where a logit is 0."""
    return torch.exp(LIMIT * torch.tanh(GAIN * logits / LIMIT))
