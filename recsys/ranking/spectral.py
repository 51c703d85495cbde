"""Low-rank linear autoencoder, for catalogues whose item Gram matrix does not fit in memory.

Of all matrices B of rank k, V S V' minimises the ridge regression of the user-item matrix on itself, with V
the leading right singular vectors and S = s^2 / (s^2 + ridge) (Jin, Li & Gao, "Towards a better understanding
of linear models for recommendation", KDD 2021). Columns are scaled by their counts before, as in EigenRec
(Nikolakopoulos et al. 2019). The singular vectors need only products with the sparse matrix, so memory is
(items, k) and the catalogue is not limited. As in ELSA (Vančura et al. 2022) a user is folded in by the sum
of their items' factors: score = (x A) A'.
"""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import scipy.sparse as sp
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from recsys.models.family_config import family_config
from recsys.models.ranges import Categorical, FloatRange, Range
from recsys.ranking.list_data import ListData
from recsys.ranking.ranker import Ranker
from recsys.ranking.rating_matrix import weigh_ratings
from recsys.ranking.taste_vectors import right_singular


@family_config("spectral")
class SpectralConfig:
    """Hyperparameters of the low-rank linear autoencoder."""

    factors: PositiveInt = 32
    ridge: PositiveFloat = 1.0  # in shares of the mean squared singular value
    scaling: NonNegativeFloat = 0.2  # power of an item's count that divides its column; 0: none, 0.5: cosine
    user_damping: NonNegativeFloat = 0.4  # 0: every user weighs the same
    liking: NonNegativeFloat = 1.0  # 0: stars are ignored


SPECTRAL_RANGES: dict[str, Range] = {
    "factors": Categorical({str(count): count for count in (16, 24, 32, 48, 64, 96, 128)}),
    "ridge": FloatRange(0.01, 3.0, log=True),
    "scaling": FloatRange(0.0, 0.6),
    "user_damping": FloatRange(0.0, 0.9),
    "liking": FloatRange(0.0, 2.0),
}


def fit_spectral(data: ListData, config: SpectralConfig, *, seed: int) -> Ranker:
    """Fits the low-rank linear autoencoder.

    Args:
        data: Ratings.
        config: See SpectralConfig.
        seed: Of the randomised singular vectors.

    Returns:
        A ranker of item factors (items, k), folded in by their sum, with the users of ``data``.
    """
    rated, scale = data.rated, data.ratings.scale
    weighted, weight = weigh_ratings(rated, damping=config.user_damping, liking=config.liking, scale=scale)
    counts = np.bincount(rated.indices, minlength=rated.shape[1])
    columns = (np.maximum(counts, 1) ** -config.scaling).astype(np.float32)
    values, vectors = right_singular((weighted @ sp.diags(columns)).tocsr(), config.factors, seed=seed)
    squares = values.astype(np.float64) ** 2
    shrunk = squares / np.maximum(squares + config.ridge * squares.mean(), 1e-12)
    factors = (vectors * np.sqrt(shrunk)).astype(np.float32)
    width = factors.shape[1]
    return Ranker(
        family="spectral",
        settings={
            "config": asdict(config),
            "ridge": None,
            "weight": weight,
        },
        arrays={
            "factors": factors,
            "gram": np.zeros((width, width), dtype=np.float32),
            "users": np.asarray(weighted @ factors, dtype=np.float32),
        },
    )
