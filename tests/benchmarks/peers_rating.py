"""Peers that predict ratings: each is fitted on ratings and gives stars for pairs.

Every peer has a short list of settings, its own defaults first; ``peers.py`` picks one on valid.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sparse

from recsys.data.ratings import Ratings
from recsys.data.split import TrainingData

Fit = Callable[..., np.ndarray]


@dataclass(frozen=True)
class RatingPeer:
    """``fit(data, test, seed=, **settings)`` trains on data.train and gives (len(test),) stars."""

    name: str
    fit: Fit
    settings: tuple[dict[str, Any], ...]


def myfm_probit(data: TrainingData, test: Ratings, *, seed: int, rank: int, iterations: int) -> np.ndarray:
    """Ordered probit FM with implicit, flipped and side features, as its author's MovieLens example."""
    import myfm

    train = data.train
    users, items = train.user_count, train.item_count
    rated = sparse.csr_matrix((np.ones(len(train)), (train.users, train.items)), shape=(users, items))
    of_users = np.maximum(np.asarray(rated.sum(axis=1)).ravel(), 1) ** -0.5
    of_items = np.maximum(np.asarray(rated.sum(axis=0)).ravel(), 1) ** -0.5
    user_parts = [sparse.eye(users), sparse.diags(of_users) @ rated]
    item_parts = [sparse.eye(items), sparse.diags(of_items) @ rated.T]
    for parts, features in ((user_parts, data.user_features), (item_parts, data.item_features)):
        if features is not None:
            parts.append(sparse.csr_matrix(features))
    blocks = (sparse.hstack(user_parts).tocsr(), sparse.hstack(item_parts).tocsr())
    shapes = [part.shape[1] for part in (*user_parts, *item_parts)]

    def relations(pairs: Ratings) -> list[Any]:
        found = []
        for rows, block in zip((pairs.users, pairs.items), blocks, strict=True):
            unique, inverse = np.unique(rows, return_inverse=True)
            found.append(myfm.RelationBlock(inverse, block[unique]))
        return found

    levels = np.unique(train.values)
    model = myfm.MyFMOrderedProbit(rank=rank, random_seed=seed)
    model.fit(
        None,
        np.searchsorted(levels, train.values),
        X_rel=relations(train),
        n_iter=iterations,
        n_kept_samples=int(iterations * 0.8),
        group_shapes=shapes,
    )
    return model.predict_proba(None, X_rel=relations(test)) @ levels


def surprise_model(
    data: TrainingData, test: Ratings, *, seed: int, model: str, **settings: Any
) -> np.ndarray:
    import surprise

    train, scale = data.train, data.train.scale
    frame = pd.DataFrame({"user": train.users, "item": train.items, "rating": train.values})
    reader = surprise.Reader(rating_scale=(scale.low, scale.high))
    whole = surprise.Dataset.load_from_df(frame, reader).build_full_trainset()
    if model == "KNNBaseline":
        similarity = {"name": "pearson_baseline", "user_based": False}
        fitted = surprise.KNNBaseline(sim_options=similarity, verbose=False, **settings)
    else:
        fitted = getattr(surprise, model)(random_state=seed, **settings)
    fitted.fit(whole)
    return np.array([fitted.predict(u, i).est for u, i in zip(test.users, test.items, strict=True)])


def cornac_mf(data: TrainingData, test: Ratings, *, seed: int, **settings: Any) -> np.ndarray:
    import cornac

    train = data.train
    triples = list(zip(train.users.tolist(), train.items.tolist(), train.values.tolist(), strict=True))
    whole = cornac.data.Dataset.from_uir(triples, seed=seed)
    model = cornac.models.MF(use_bias=True, early_stop=False, verbose=False, seed=seed, **settings)
    model.fit(whole)
    mean = float(train.values.mean())
    stars = [
        model.rate(whole.uid_map[u], whole.iid_map[i]) if u in whole.uid_map and i in whole.iid_map else mean
        for u, i in zip(test.users.tolist(), test.items.tolist(), strict=True)
    ]
    return np.clip(np.array(stars), train.scale.low, train.scale.high)


def lenskit_mf(data: TrainingData, test: Ratings, *, seed: int, **settings: Any) -> np.ndarray:
    from lenskit.als import BiasedMFScorer
    from lenskit.data import ItemList, from_interactions_df
    from lenskit.training import TrainingOptions

    train = data.train
    frame = pd.DataFrame({"user_id": train.users, "item_id": train.items, "rating": train.values})
    model = BiasedMFScorer(**settings)
    model.train(from_interactions_df(frame), TrainingOptions(rng=seed))
    stars = np.full(len(test), float(train.values.mean()))
    for user in np.unique(test.users):
        rows = np.flatnonzero(test.users == user)
        scored = model(int(user), ItemList(item_ids=test.items[rows])).scores("numpy")
        stars[rows] = np.where(np.isnan(scored), stars[rows], scored)
    return np.clip(stars, train.scale.low, train.scale.high)


def settings(**options: tuple[Any, ...]) -> tuple[dict[str, Any], ...]:
    """One dict for each place in ``options``' tuples, which are of equal length."""
    names = tuple(options)
    return tuple(dict(zip(names, values, strict=True)) for values in zip(*options.values(), strict=True))


def surprise_peer(name: str, model: str, choices: tuple[dict[str, Any], ...]) -> RatingPeer:
    return RatingPeer(name, surprise_model, tuple({"model": model, **choice} for choice in choices))


PEERS = (
    RatingPeer(
        "myFM ordered probit, implicit + flipped + side",
        myfm_probit,
        settings(rank=(10, 8, 16), iterations=(300, 300, 300)),
    ),
    surprise_peer(
        "Surprise SVD",
        "SVD",
        settings(n_factors=(100, 50, 100), n_epochs=(20, 40, 60), reg_all=(0.02, 0.08, 0.1)),
    ),
    surprise_peer(
        "Surprise SVD++",
        "SVDpp",
        settings(n_factors=(20, 20, 50), n_epochs=(20, 30, 30), reg_all=(0.02, 0.08, 0.1)),
    ),
    surprise_peer("Surprise KNNBaseline, items", "KNNBaseline", settings(k=(40, 60, 100))),
    RatingPeer(
        "cornac MF",
        cornac_mf,
        settings(
            k=(10, 20, 50),
            max_iter=(20, 50, 100),
            learning_rate=(0.01, 0.01, 0.01),
            lambda_reg=(0.02, 0.05, 0.1),
        ),
    ),
    RatingPeer(
        "LensKit BiasedMF (ALS)",
        lenskit_mf,
        settings(embedding_size=(50, 16, 50), regularization=(0.1, 0.1, 0.3)),
    ),
)
