"""EASE: every item regressed on all others in closed form (Steck 2019), while the items are few.

Two changes, measured on ML-100K validation (+2% NDCG together): a user counts n^-``user_damping`` in the
Gram matrix, so that heavy raters do not decide alone; and the ridge has a part that grows with an item's
popularity, ``dropout`` p giving p/(1-p) (EDLAE, Steck 2020). One symmetric inverse of (items, items).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import scipy.sparse as sp

from recsys.errors import InputError
from recsys.ranking.item_gram import symmetric_inverse
from recsys.ranking.ranker import Ranker

MOST_ITEMS = 8_000  # 256 MB of weights, and about half a minute of Cholesky on one core


@dataclass(frozen=True)
class EaseConfig:
    """``ridge`` in ratings; ``user_damping`` 0 and ``dropout`` 0 are plain EASE."""

    ridge: float = 200.0
    user_damping: float = 0.5
    dropout: float = 0.7


def fit_ease(rated: sp.csr_matrix, config: EaseConfig) -> Ranker:
    """A ranker of who rated what in (users, items); stars do not matter. Raises InputError for more items
    than MOST_ITEMS."""
    items = rated.shape[1]
    if items > MOST_ITEMS:
        raise InputError(f"EASE on {items} items needs {8 * items**2 / 1e9:.0f} GB; als ranks any number")
    ones = np.ones(rated.nnz, dtype=np.float32)
    seen = sp.csr_matrix((ones, rated.indices, rated.indptr), shape=rated.shape)
    lengths = np.diff(seen.indptr)
    rated = np.maximum(lengths, 1)
    damping = (rated / max(float(lengths.mean()), 1e-9)) ** -config.user_damping
    gram = (seen.T @ sp.diags(damping.astype(np.float32)) @ seen).toarray()
    grown = config.dropout / (1 - config.dropout) * np.diag(gram)
    gram[np.diag_indices(items)] += grown + config.ridge
    inverse = symmetric_inverse(gram)
    weights = inverse / -inverse.diagonal()
    np.fill_diagonal(weights, 0)
    return Ranker("ease", {"config": asdict(config)}, {"weights": weights.astype(np.float32)})
