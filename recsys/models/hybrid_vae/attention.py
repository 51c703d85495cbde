"""Attention over a history: some of what a user rated says more about them than the rest.

Pooling by learnt seeds (PMA: Lee et al. 2019, Set Transformer, arXiv:1810.00825, section 3.2, one seed a
head): head m weighs item j by w_jm = exp(s_jm), whoever reads it, and pools its share of the columns as
sum_j a_jm v_j with a = w / sum w. Our deviations: the logit s_jm is learnt for each row in place of a seed's
product with a key; and the average is multiplied by the root of the number of ratings that it rests on,
(sum w)^2 / sum w^2 (Kish 1965), since much evidence must count for more than little. What is left is
sum w v / sqrt(sum w^2), which without attention (w = 1) is the plain history's sum / sqrt(count): training
starts there. Both sums are over the history alone, so that they stay sparse products, the target leaves
them by a subtraction, and nothing is worked out for each candidate.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from recsys.models.hybrid_vae.gather import gather

LIMIT = 2.0  # of a logit: a rating weighs at most exp(4) = 55 times another: subtraction keeps its digits
# Adam moves any number by about its rate a step: so that a few hundred steps are enough for a logit, the
# table holds it divided by this (measured, ML-100K u1, 10 epochs: weights of 0.95 to 1.06 without).
GAIN = 32.0
LEAST_SQUARE = math.exp(-2 * LIMIT)


class Attention(nn.Module):
    """Weights of the rows of a table whose ``width`` columns ``heads`` share evenly."""

    def __init__(self, rows: int, *, heads: int, width: int) -> None:
        super().__init__()
        self.width, self.share = width, width // heads
        self.logits = nn.Parameter(torch.zeros(rows, heads))

    def weights(self) -> Tensor:
        """(rows, heads)"""
        return bounded(self.logits)

    def by(self, values: Tensor, weights: Tensor) -> Tensor:
        """``values`` (n, width), each head's columns times its ``weights`` (n, heads)."""
        return values * weights.repeat_interleave(self.share, dim=1)

    def term(self, values: Tensor, rows: Tensor) -> Tensor:
        """(batch, width + heads): what ``rows`` (batch,) with ``values`` (batch, width) add to sums."""
        weights = bounded(gather(self.logits, rows))
        return torch.cat([self.by(values, weights), weights.square()], dim=1)

    def pooled(self, sums: Tensor) -> Tensor:
        """(n, width) from (n, width + heads) sums of weighted values, then of squared weights."""
        squares = sums[:, self.width :].clamp(min=LEAST_SQUARE)
        return self.by(sums[:, : self.width], torch.rsqrt(squares))


def bounded(logits: Tensor) -> Tensor:
    """Weights, 1 where a logit is 0."""
    return torch.exp(LIMIT * torch.tanh(GAIN * logits / LIMIT))
