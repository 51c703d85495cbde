"""Warm start of the VAE: the posterior mean of a short Bayesian MF run, as low-rank tables.

The VAE learns the residuals, and its encoder reads the factorisation's score. Samples of user times item
vectors are summed and truncated to their leading singular vectors, so that tables of 32 columns hold the mean
over all samples (measured, ML-100K: no loss from 24 on). A training rating's score leaves that rating out, by
weighing each sample with the inverse of the rating's likelihood (leave-one-out importance sampling, Gelfand
et al. 1992, weights truncated): otherwise the VAE would train on scores that contain the label (train rmse
0.745 as fitted, 0.860 left out, against 0.860 on valid).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recsys.data.split import TrainingData
from recsys.models.bayes_mf.basis import Array
from recsys.models.bayes_mf.config import BayesMfConfig
from recsys.models.bayes_mf.cutpoints import interval_ends, interval_mass, standard_ends
from recsys.models.bayes_mf.row_groups import RowGroup, for_each
from recsys.models.bayes_mf.sampler import Sampler
from recsys.models.hybrid_vae.config import HybridVaeConfig
from recsys.types import FloatArray

BURN_IN = 0.25  # share of the sweeps
BUFFER_RANKS = 8  # columns that are collected before a truncation, in ranks
CHUNK = 262_144  # ratings of a batch of scores
MOST_LINKED = 2_000_000  # ratings that offset and slope are fitted to
WORST = 20.0  # largest leave-one-out weight of a sample


@dataclass(frozen=True)
class WarmStart:
    """A factorisation.

    Attributes:
        users: (users, rank).
        items: (items, rank).
        offset: Plus the product of the tables, the link before the sigmoid.
        left_out: (n,) change of each training rating's product when the rating is left out.
    """

    users: NDArray[np.float32]
    items: NDArray[np.float32]
    offset: float
    left_out: NDArray[np.float32]


class LowRankSum:
    """Low-rank approximation of the sum of left @ right.T over many pairs of tables."""

    def __init__(self, *, rank: int) -> None:
        self.rank = rank
        self._left: list[Tensor] = []
        self._right: list[Tensor] = []

    def add(self, left: Tensor, right: Tensor) -> None:
        """Adds a pair of tables, ``left`` (rows, n) and ``right`` (columns, n)."""
        self._left.append(left)
        self._right.append(right)
        if sum(table.shape[1] for table in self._left) > BUFFER_RANKS * self.rank:
            left, right = self.truncated(4 * self.rank)
            self._left, self._right = [left], [right]

    def truncated(self, rank: int) -> tuple[Tensor, Tensor]:
        """The best tables of at most ``rank`` columns, each with the root of the singular values."""
        left_basis, left_core = torch.linalg.qr(torch.cat(self._left, dim=1))
        right_basis, right_core = torch.linalg.qr(torch.cat(self._right, dim=1))
        left, values, right = torch.linalg.svd(left_core @ right_core.T, full_matrices=False)
        root = values[:rank].sqrt()
        return left_basis @ (left[:, :rank] * root), right_basis @ (right[:rank].T * root)


def fit_warm_start(
    config: HybridVaeConfig, data: TrainingData, *, seed: int, device: torch.device | None = None
) -> WarmStart:
    """Fits a factorisation to train: seconds on ML-100K, a minute on ML-1M.

    Args:
        config: Of the network.
        data: Of the trial.
        seed: Of the sampler.
        device: Of the sampler; None: the CPU.

    Returns:
        The posterior mean of the link.
    """
    train = data.train
    sampler = Sampler(BayesMfConfig(factors=config.start_factors), data, seed=seed, device=device)
    total = LowRankSum(rank=config.start_rank)
    weights, weighted = torch.zeros_like(sampler.score), torch.zeros_like(sampler.score)
    burn_in = int(config.start_sweeps * BURN_IN)
    samples = 0
    for sweep in range(config.start_sweeps):
        sampler.sweep()
        if sweep < burn_in:
            continue
        samples += 1
        middle = _middle(sampler)
        total.add(*_tables(sampler, middle))
        _add_left_out(sampler, middle, weights, weighted)
    user_table, item_table = total.truncated(config.start_rank)
    users, items = user_table.cpu().numpy(), (item_table / samples).cpu().numpy()
    entries = sampler.items.ratings.entry_index
    score = (weighted[entries] / weights[entries]).cpu().numpy()
    step = max(1, len(train) // MOST_LINKED)
    share = (train.values[::step] - train.scale.low) / train.scale.span
    offset, slope = _fit_sigmoid(score[::step].astype(np.float64), share)
    for start in range(0, len(train), CHUNK):
        rows = slice(start, start + CHUNK)
        score[rows] -= np.einsum("nr,nr->n", users[train.users[rows]], items[train.items[rows]])
    root = np.float32(np.sqrt(slope))
    return WarmStart(
        users=(root * users).astype(np.float32),
        items=(root * items).astype(np.float32),
        offset=offset,
        left_out=(np.float32(slope) * score).astype(np.float32),
    )


def _middle(sampler: Sampler) -> float:
    """The score in the middle of the scale, which the chain may shift together with the biases."""
    return sampler.centre if sampler.cutpoints is None else float(sampler.cutpoints.values.mean())


def _tables(sampler: Sampler, middle: float) -> tuple[Tensor, Tensor]:
    """(users, width) and (items, width) tables whose product is the scores minus ``middle``."""
    users, items = sampler.users.drawn, sampler.items.drawn
    left = torch.cat([users, torch.ones_like(users[:, :1])], dim=1)
    shift = items[:, -1:] + (sampler.centre - middle)
    return left, torch.cat([items[:, :-1], torch.ones_like(items[:, :1]), shift], dim=1)


def _add_left_out(sampler: Sampler, middle: float, weights: Tensor, weighted: Tensor) -> None:
    """Adds each training rating's weight, one over its likelihood up to a constant and at most ``WORST``, and
    the weight times its score minus ``middle``; both (entries + 1,) in the sampler's order of ratings."""
    roots = (sampler.users.root_precisions(), sampler.items.root_precisions())
    cutpoints, precision = sampler.cutpoints, sampler.precision
    ends = None if cutpoints is None else interval_ends(cutpoints.values, sampler.device)

    def add(group: RowGroup) -> None:
        entries = slice(group.first, group.last)
        score = sampler.score[entries].view(-1, group.longest)
        scale, observed = sampler.rating_root_precisions(group, roots), sampler.observed[entries]
        if ends is not None:
            likelihood = interval_mass(*standard_ends(ends, observed.to(torch.int32), score, scale))
        else:
            error = scale * (observed.view_as(score) - score)
            likelihood = torch.exp(-0.5 * precision * error.square())
        weight = 1 / likelihood.clamp_min(1 / WORST)
        weights[entries] += weight.view(-1)
        weighted[entries] += (weight * (score + (sampler.centre - middle))).view(-1)

    for_each(add, sampler.items.ratings.groups)


def _fit_sigmoid(score: Array, share: FloatArray) -> tuple[float, float]:
    """Least-squares offset and slope of sigmoid(offset + slope score) to ``share``, by Gauss-Newton."""
    result = np.array([0.0, 1.0])
    design = np.stack([np.ones_like(score), score], axis=1)
    for _ in range(20):
        level = 1 / (1 + np.exp(-design @ result))
        slopes = design * (level * (1 - level))[:, None]
        result = result + np.linalg.lstsq(slopes, share - level, rcond=None)[0]
    return float(result[0]), max(float(result[1]), 1e-3)
