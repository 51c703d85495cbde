"""Implicit alternating least squares (iALS): the most scalable ranker here, and the best single one.

Hu, Koren & Volinsky (2008) with a target of 1 at weight 1 for rated pairs, 0 at weight ``unobserved`` for all
others, and a ridge in proportion to a row's weight (Rendle et al. 2022, "Revisiting the performance of iALS",
where tuning the two made iALS match newer models). Our changes: a user's ratings weigh
(n / mean n)^-``user_damping``, which limits heavy raters (+1.3% NDCG on ML-100K validation), and higher
ratings weigh more, by ``liking`` (+0.8%). A half step solves every row exactly (``als_rows.py``).
"""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import scipy.sparse as sp
from pydantic import NonNegativeFloat, PositiveInt

from recsys.data.ratings import RatingScale
from recsys.models.family_config import family_config
from recsys.models.ranges import Categorical, FloatRange, Range
from recsys.ranking.ranker import Ranker
from recsys.ranking.rating_matrix import weigh_ratings

UNIT = RatingScale(0.0, 1.0)


@family_config("als")
class AlsConfig:
    """``unobserved`` is the weight of an unrated pair; the ridge of a row with ratings of total weight w is
    ``ridge`` x (w + unobserved x rows of the other side that have ratings); with ``user_damping`` and
    ``liking`` 0 every rating weighs the same."""

    factors: PositiveInt = 64
    unobserved: NonNegativeFloat = 0.15
    ridge: NonNegativeFloat = 0.025
    user_damping: NonNegativeFloat = 0.4
    liking: NonNegativeFloat = 1.0
    rounds: PositiveInt = 8
    pages: NonNegativeFloat = 0.0  # weight of a page's ratings; a page counts as a further user; 0: none


ALS_RANGES: dict[str, Range] = {
    "factors": Categorical({str(count): count for count in (16, 24, 32, 48, 64, 96, 128)}),
    "unobserved": FloatRange(0.08, 0.6, log=True),  # lists are near their best along unobserved x ridge 0.004
    "ridge": FloatRange(0.004, 0.05, log=True),
    "user_damping": FloatRange(0.0, 0.8),
    "liking": FloatRange(0.0, 2.0),
    "pages": Categorical({"0": 0.0, "0.5": 0.5, "1": 1.0}),
}


def fit_als(
    rated: sp.csr_matrix,
    config: AlsConfig,
    *,
    seed: int,
    scale: RatingScale = UNIT,
    pages: sp.csr_matrix | None = None,
) -> Ranker:
    """Fits implicit ALS, on a GPU where torch sees one; imports torch, which serving does not need.

    Args:
        rated: (users, items) 1 + a rating's position on ``scale`` from 0 to 1 (rating_matrix.rated_matrix).
        config: See AlsConfig.
        seed: Of the initial factors.
        scale: The ratings' scale, for folding users in.
        pages: (pages, items) as ``rated``: runs of ratings that count as further users, or None.

    Returns:
        A ranker of item factors, with the factors of the users of ``rated``.
    """
    from recsys.models.optim.device import pick_device
    from recsys.ranking.als_rows import alternate

    items, unrated = rated.shape[1], np.bincount(rated.indices, minlength=rated.shape[1]) == 0
    deviation = 0.1 / np.sqrt(config.factors)
    start = np.random.default_rng(seed).normal(0, deviation, (items, config.factors)).astype(np.float32)
    start[unrated] = 0
    weighted, weight = weigh_ratings(rated, damping=config.user_damping, liking=config.liking, scale=scale)
    users_and_pages = weighted
    if pages is not None and pages.shape[0] and config.pages > 0:
        values = config.pages * (pages.data / weight["mean"]) ** config.liking
        further = sp.csr_matrix((values.astype(np.float32), pages.indices, pages.indptr), shape=pages.shape)
        users_and_pages = sp.vstack([weighted, further], format="csr")
    user_factors, item_factors = alternate(
        users_and_pages,
        weighted,
        start,
        unobserved=config.unobserved,
        ridge=config.ridge,
        rounds=config.rounds,
        device=pick_device(),
    )
    return Ranker(
        family="als",
        settings={
            "config": asdict(config),
            "ridge": {
                "fixed": config.ridge * config.unobserved * int((~unrated).sum()),
                "per_rating": config.ridge,
            },
            "weight": weight,
        },
        arrays={
            "factors": item_factors,
            "gram": np.float32(config.unobserved) * (item_factors.T @ item_factors),
            "users": user_factors,
        },
    )
