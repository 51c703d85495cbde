"""Item-kNN: an item's score is the sum of its similarities to the items of the history.

Co-occurrence over the two items' counts, with exponents by ``balance`` (0.5: cosine) and shrinkage (Sarwar et
al. 2001; Deshpande & Karypis 2004). A user's ratings weigh n^-``user_damping``, which limits heavy raters.
"""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import scipy.sparse as sp
from pydantic import NonNegativeFloat, PositiveInt

from recsys.models.family_config import family_config
from recsys.models.ranges import FloatRange, IntRange, Range
from recsys.ranking.list_data import ListData
from recsys.ranking.ranker import Ranker
from recsys.ranking.rating_matrix import typical_length
from recsys.ranking.sparse_links import link_arrays, sampled_rows, strongest_links


@family_config("item_neighbours")
class ItemNeighboursConfig:
    """Hyperparameters of item-kNN."""

    kept: PositiveInt = 150  # neighbours stored of each item
    shrinkage: NonNegativeFloat = 20.0  # common users that the prior "no similarity" weighs as much as
    balance: NonNegativeFloat = 0.5  # power of the target's count; the history item's has 1 - balance
    user_damping: NonNegativeFloat = 0.5  # 0: every user weighs the same


RANGES: dict[str, Range] = {
    "kept": IntRange(20, 400, 20),
    "shrinkage": FloatRange(1.0, 200.0, log=True),
    "balance": FloatRange(0.2, 0.8),
    "user_damping": FloatRange(0.0, 0.9),
}


def fit_item_neighbours(data: ListData, config: ItemNeighboursConfig, *, seed: int) -> Ranker:
    """Fits item-kNN.

    Args:
        data: Ratings.
        config: See ItemNeighboursConfig.
        seed: Unused: the fit is deterministic.

    Returns:
        A ranker of sparse item-to-item weights.
    """
    seen = sampled_rows(data.seen)
    lengths = np.diff(seen.indptr)
    damping = (np.maximum(lengths, 1) / typical_length(lengths)) ** -config.user_damping
    weighted = (sp.diags(damping.astype(np.float32)) @ seen).tocsc()
    counts = np.maximum(np.asarray(weighted.sum(axis=0)).ravel(), 1e-9)

    def links_to(columns: slice) -> sp.csr_matrix:
        links = (weighted[:, columns].T @ seen).tocsr()
        targets = np.repeat(np.arange(columns.start, columns.stop), np.diff(links.indptr))
        expected = counts[links.indices] ** (1 - config.balance) * counts[targets] ** config.balance
        links.data = (links.data / (expected + config.shrinkage)).astype(np.float32)
        return links

    links = strongest_links(seen.shape[1], links_to, kept=config.kept)
    return Ranker("item_neighbours", {"config": asdict(config)}, link_arrays(links))
