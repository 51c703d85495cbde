"""RP3-beta: a random walk of three steps on the user-item graph, with popular items penalised.

From a user to one of their items, to another user of it, to one of that user's items; the probability of an
item is divided by its count to the power ``beta`` (Paudel et al. 2017, "Updatable, accurate, diverse, and
scalable recommendations for interactive applications"). Transition probabilities are raised to ``alpha``. The
first step is the history's, so the model is an item-to-item matrix and folds any user in.
"""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import scipy.sparse as sp
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from recsys.models.family_config import family_config
from recsys.models.ranges import FloatRange, IntRange, Range
from recsys.ranking.list_data import ListData
from recsys.ranking.ranker import Ranker
from recsys.ranking.sparse_links import link_arrays, sampled_rows, strongest_links


@family_config("random_walk")
class RandomWalkConfig:
    """Hyperparameters of RP3-beta."""

    alpha: PositiveFloat = 1.0  # power of the transition probabilities
    beta: NonNegativeFloat = 0.5  # power of an item's count that divides its score; 0: no penalty
    kept: PositiveInt = 200  # weights stored of each item


RANGES: dict[str, Range] = {
    "alpha": FloatRange(0.5, 1.6),
    "beta": FloatRange(0.1, 0.9),
    "kept": IntRange(50, 500, 50),
}


def fit_random_walk(data: ListData, config: RandomWalkConfig, *, seed: int) -> Ranker:
    """Fits RP3-beta.

    Args:
        data: Ratings.
        config: See RandomWalkConfig.
        seed: Unused: the fit is deterministic.

    Returns:
        A ranker of sparse item-to-item weights.
    """
    seen = sampled_rows(data.seen)
    user_counts = np.maximum(np.diff(seen.indptr), 1).astype(np.float64)
    item_counts = np.maximum(np.asarray(seen.sum(axis=0)).ravel().astype(np.float64), 1)
    from_items = (seen @ sp.diags(item_counts**-config.alpha)).tocsr().astype(np.float32)
    to_items = (sp.diags(user_counts**-config.alpha) @ seen).tocsc().astype(np.float32)
    penalties = (item_counts**config.beta).astype(np.float32)

    def links_to(columns: slice) -> sp.csr_matrix:
        walks = (to_items[:, columns].T @ from_items).tocsr()
        walks.data /= np.repeat(penalties[columns], np.diff(walks.indptr))
        return walks

    links = strongest_links(seen.shape[1], links_to, kept=config.kept)
    return Ranker("random_walk", {"config": asdict(config)}, link_arrays(links))
