"""Recommendations of items that were added after the release was made, from their features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from recsys.errors import InputError
from recsys.ranking.top_k import top_k
from recsys.release.loaded_release import Release
from recsys.release.queries import Query, Recommendation
from recsys.release.recommender import Recommender
from recsys.types import BoolArray, FloatArray


def recommend_added(
    recommender: Recommender, query: Query, features: FloatArray, *, item_numbers: Sequence[int]
) -> list[Recommendation]:
    """The best of items that were added after the release was made.

    Their scores are on the scale of the person's list: 1 is the best score of the release's own items. Their
    stars are the mean rating that their features suggest, the same for everyone.

    Args:
        recommender: Of a release with an ``AttributeMap``.
        query: Who asks and for how many; what narrows the catalogue has been applied to ``item_numbers``.
        features: (n, 1 + columns) of the items, from ``AttributeMap.features``.
        item_numbers: (n,) what each is called in the answer.

    Returns:
        At most ``query.count``, best first.

    Raises:
        InputError: The release has no map.
    """
    release = recommender.release
    attributes = release.attributes
    if attributes is None:
        raise InputError(f"{release.folder} has no map from features to items: pack it again")
    known_scores = _scores_of_known(recommender, query)
    best = max(float(known_scores.max()), 1e-9)
    scale = release.manifest.dataset.scale
    stars = added_stars(release, features)
    weights = release.manifest.ranking.weights
    scores = weights.ranking * attributes.mapped(features, known_scores) / best
    scores += weights.rating * (stars - scale.low) / (scale.high - scale.low)
    return [
        Recommendation(item_numbers[row], float(scores[row]), float(stars[row]))
        for row in top_k(scores.astype(np.float32), query.count).tolist()
    ]


def similar_to_added(
    recommender: Recommender, features: FloatArray, count: int, *, allowed: BoolArray | None = None
) -> list[Recommendation]:
    """The release's items most like one that was added after it was made.

    Args:
        recommender: Of a release with an ``AttributeMap``.
        features: (1 + columns,) of the added item.
        count: Of items.
        allowed: (items,) narrows the catalogue.

    Returns:
        At most ``count``, best first; none where the features suggest nothing of who would rate it.
    """
    release = recommender.release
    assert release.attributes is not None
    vector = release.attributes.mapped(features, release.items.vectors)
    length = float(np.linalg.norm(vector))
    return recommender.similar_to_vector(vector / length, count, allowed=allowed) if length > 0 else []


def added_stars(release: Release, features: FloatArray) -> NDArray[np.float32]:
    """Predicted mean ratings of added items, the same for every user.

    Args:
        release: With an ``AttributeMap``.
        features: (n, 1 + columns) of the items.

    Returns:
        (n,) stars inside the scale.
    """
    assert release.attributes is not None
    scale = release.manifest.dataset.scale
    stars = np.clip(release.attributes.mapped(features, release.popularity.means), scale.low, scale.high)
    return np.asarray(stars, dtype=np.float32)


def _scores_of_known(recommender: Recommender, query: Query) -> NDArray[np.float32]:
    """(items,) of the release's own items for a person; popularity where the ranker has nothing to go on."""
    release, user_state = recommender.release, recommender.user_state(query)
    ranker = release.ranker
    if not len(user_state.history.items) or not ranker.folds_in:
        return np.asarray(release.popularity.counts, dtype=np.float32)
    parts = {name: array for name, array in ranker.arrays.items() if name != "prior"}
    user = None if user_state.needs_fold_in else user_state.user
    scores = replace(ranker, arrays=parts).scores([user_state.history], users=[user])[0]
    return np.asarray(scores, dtype=np.float32)
