"""A release out of a run: the dataset's ratings as histories, the chosen members, ranker and blend.

Histories hold train and valid, and whatever else the members were trained on (a refit: every slice):
they are the seen items, and what known users are folded in from.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys.bounds import DataShape, require_safe
from recsys.data.dataset import Dataset
from recsys.data.ratings import Ratings
from recsys.data.split import SLICES, SliceName, Split
from recsys.ensemble.calibration import Correction
from recsys.ensemble.rating_intervals import RatingIntervals
from recsys.models.hybrid_vae.config import HybridVaeConfig
from recsys.models.registry import make_config
from recsys.ranking import hybrid_vae_lists
from recsys.ranking.list_blend import RANKER_ONLY, ListBlend
from recsys.ranking.new_items import vectors_with_new_items, with_new_items
from recsys.ranking.ranker import Ranker
from recsys.ranking.rating_matrix import seen_matrix
from recsys.ranking.taste_vectors import item_vectors
from recsys.release.arrays import (
    TRENDING_HALF_LIFE_DAYS,
    Histories,
    IdIndex,
    ItemCatalogue,
    LoadedCorrection,
    Popularity,
    Titles,
)
from recsys.release.attribute_map import attribute_map
from recsys.release.manifest import (
    DatasetCard,
    FoldInCard,
    MetricsCard,
    RankingCard,
    RankingWeights,
    Scale,
    SplitCard,
)
from recsys.release.profile import Profile, profile_of_run
from recsys.release.release_writer import ReleaseContents, ReleaseMember, write_release
from recsys.types import JsonObject

MEAN_DAMPING = 10.0  # ratings that the overall mean counts for in an item's own
DAY_SECONDS = 86_400


def pack_release(
    folder: Path,
    *,
    dataset: Dataset,
    split: Split,
    trained_on: Sequence[SliceName],
    members: Sequence[ReleaseMember],
    method: str,
    ranker: Ranker,
    correction: Correction | None = None,
    intervals: RatingIntervals | None = None,
    mix: ListBlend = RANKER_ONLY,
    ranking_report: JsonObject | None = None,
    fold_in: JsonObject | None = None,
    metrics: MetricsCard | None = None,
    valid_predictions: NDArray[np.float32] | None = None,
    valid_deviations: NDArray[np.float32] | None = None,
    profile: Profile | None = None,
) -> Path:
    """``folder``, written whole or not at all. ``method``, ``correction`` and the members' weights
    are the Blend's; ``intervals`` go around its stars.

    ``trained_on`` names the slices that the members learned from; ``valid_predictions`` (valid,) are the
    ensemble's before any refit, ``valid_deviations`` (valid,) those of the ratings around them, for the
    reference profile that drift is measured against (or ``profile``, made before).
    Raises InputError where the folder exists, the parts do not fit together, or a hybrid VAE is outside
    the safe bounds."""
    ratings = dataset.ratings
    require_safe_members(dataset, members)
    require_safe_ranker(dataset, ranker)
    known = ratings.take(kept_rows(split, trained_on))
    times = known.times
    vectors = item_vectors(seen_matrix(known))
    items = make_item_catalogue(dataset, known, vectors)
    return write_release(
        folder,
        ReleaseContents(
            dataset=DatasetCard(
                name=dataset.name,
                licence=dataset.licence,
                sha256=dataset.sha256,
                scale=Scale(low=ratings.scale.low, high=ratings.scale.high),
                last_timestamp=None if times is None or not len(times) else int(times.max()),
                users=ratings.user_count,
                items=ratings.item_count,
                lineage=dataset.lineage,
            ),
            split=SplitCard(
                protocol=split.protocol,
                seed=split.seed,
                fingerprint=split.fingerprint,
                counts=split.counts(),
            ),
            trained_on=list(trained_on),
            users=IdIndex.of(dataset.user_ids),
            user_groups=dataset.user_groups,
            items=items,
            histories=make_histories(known),
            popularity=make_popularity(known),
            members=members,
            method=method,
            correction=None if correction is None else LoadedCorrection.of(correction, known),
            intervals=intervals,
            attributes=attribute_map(dataset, known, vectors),
            ranker=ranker_with_new_items(dataset, ranker, known, vectors),
            ranking=RankingCard(
                ranker=ranker.family,
                weights=RankingWeights(ranking=mix.ranking_weight, rating=mix.rating_weight),
                candidates=mix.candidates,
                report=(ranking_report or {}) | {"mix": mix.report},
            ),
            fold_in=FoldInCard(ranker=ranker.folds_in, members=True, figures=fold_in or {}),
            metrics=metrics or MetricsCard(),
            profile=(
                profile or profile_of_run(dataset, split, valid_predictions, intervals, valid_deviations)
            ).pack(),
        ),
    )


def require_safe_members(dataset: Dataset, members: Sequence[ReleaseMember]) -> None:
    """The third door of the bounds: no hybrid VAE outside them is ever packed."""
    features = (dataset.user_features, dataset.item_features)
    columns = [0 if array is None else array.shape[1] for array in features]
    shape = DataShape(dataset.ratings.user_count, dataset.ratings.item_count, *columns)
    for member in members:
        config = make_config(member.packed.family, member.config)
        if isinstance(config, HybridVaeConfig):
            require_safe(config, shape, small_batch_allowed=True, where=member.name)


def require_safe_ranker(dataset: Dataset, ranker: Ranker) -> None:
    """The same door for a ranker's list heads. Raises InputError."""
    shape = DataShape(dataset.ratings.user_count, dataset.ratings.item_count)
    for member in ranker.settings.get("members", ()):
        if member["family"] == hybrid_vae_lists.NAME:
            hybrid_vae_lists.require_safe_lists(
                hybrid_vae_lists.HybridVaeListsConfig(**member["config"]), shape
            )


def kept_rows(split: Split, trained_on: Sequence[SliceName]) -> NDArray[np.int64]:
    """Rows whose ratings the release keeps: train, valid and all that was trained on."""
    names = [name for name in SLICES if name in ("train", "valid") or name in trained_on]
    return split.joined(*names)


def make_histories(ratings: Ratings) -> Histories:
    """By user, oldest first; without times in the order of the rows. Stars as float16 where that is exact."""
    if ratings.times is None:
        order = np.argsort(ratings.users, kind="stable")
    else:
        order = np.lexsort((ratings.times, ratings.users))
    counts = np.bincount(ratings.users, minlength=ratings.user_count)
    values = ratings.values[order]
    short = values.astype(np.float16)
    return Histories(
        ends=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        items=ratings.items[order].astype(np.int32),
        values=short if np.array_equal(short.astype(np.float32), values) else values.astype(np.float32),
    )


def make_popularity(ratings: Ratings) -> Popularity:
    count = ratings.item_count
    counts = np.bincount(ratings.items, minlength=count)
    trending = counts
    if ratings.times is not None and len(ratings):
        age_days = (ratings.times.max() - ratings.times) / DAY_SECONDS
        trending = np.bincount(
            ratings.items, weights=0.5 ** (age_days / TRENDING_HALF_LIFE_DAYS), minlength=count
        )
    mean = float(ratings.values.mean(dtype=np.float64)) if len(ratings) else ratings.scale.low
    sums = np.bincount(ratings.items, weights=ratings.values, minlength=count)
    means = (sums + MEAN_DAMPING * mean) / (counts + MEAN_DAMPING)
    return Popularity(*(array.astype(np.float32) for array in (counts, trending, means)))


def make_item_catalogue(dataset: Dataset, ratings: Ratings, vectors: NDArray[np.float32]) -> ItemCatalogue:
    """``vectors`` (items, k) are of who rated what."""
    catalogue, features = dataset.catalogue, dataset.item_features
    if features is not None and dataset.has_new_items:
        counts = np.bincount(ratings.items, minlength=ratings.item_count)
        vectors = vectors_with_new_items(vectors, features=features, counts=counts)
    return ItemCatalogue(
        ids=IdIndex.of(catalogue.ids),
        titles=Titles.of(catalogue.titles),
        genre_names=catalogue.genre_names(),
        member_of=catalogue.genre_matrix(),
        vectors=vectors,
    )


def ranker_with_new_items(
    dataset: Dataset, ranker: Ranker, known: Ratings, vectors: NDArray[np.float32]
) -> Ranker:
    """``ranker``, fitted on ``known``, with scores from features where nobody has rated some of the items."""
    features = dataset.item_features
    if features is None or not dataset.has_new_items:
        return ranker
    counts = np.bincount(known.items, minlength=known.item_count)
    return with_new_items(ranker, features=features, counts=counts, vectors=vectors)
