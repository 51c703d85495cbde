"""RP3-beta: three steps of a random walk from a user, popular items held back.

From the user to an item they rated, to somebody who rated it too, to one of theirs; the chance to end at an
item is divided by its count to the power ``beta`` (Paudel et al. 2017, "Updatable, accurate, diverse, and
scalable recommendations for interactive applications"). Transition chances are raised to ``alpha``. The
first step is left to the history, so the model is one item-to-item matrix and folds anyone in.
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
    """Fields of RP3-beta."""

    alpha: PositiveFloat = 1.0  # power of the transition chances
    beta: NonNegativeFloat = 0.5  # power of an item's count that divides its score; 0: nothing held back
    kept: PositiveInt = 200  # items that each item leads to


RANGES: dict[str, Range] = {
    "alpha": FloatRange(0.5, 1.6),
    "beta": FloatRange(0.1, 0.9),
    "kept": IntRange(50, 500, 50),
}


def fit_random_walk(data: ListData, config: RandomWalkConfig, *, seed: int) -> Ranker:
    """Fits RP3-beta.

    Args:
        data: Who rated what.
        config: See RandomWalkConfig.
        seed: Not used: the fit draws nothing.

    Returns:
        A ranker of sparse item-to-item weights.
    """
    seen = sampled_rows(data.seen)
    of_users = np.maximum(np.diff(seen.indptr), 1).astype(np.float64)
    of_items = np.maximum(np.asarray(seen.sum(axis=0)).ravel().astype(np.float64), 1)
    from_items = (seen @ sp.diags(of_items**-config.alpha)).tocsr().astype(np.float32)
    to_items = (sp.diags(of_users**-config.alpha) @ seen).tocsc().astype(np.float32)
    held_back = (of_items**config.beta).astype(np.float32)

    def links_to(columns: slice) -> sp.csr_matrix:
        walks = (to_items[:, columns].T @ from_items).tocsr()
        walks.data /= np.repeat(held_back[columns], np.diff(walks.indptr))
        return walks

    links = strongest_links(seen.shape[1], links_to, kept=config.kept)
    return Ranker("random_walk", {"config": asdict(config)}, link_arrays(links))
