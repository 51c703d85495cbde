"""Small releases, made for real: synthetic ratings, fitted members, a fitted ranker, packed and hashed.

``tests.big_release`` makes one of ML-32M's shape for benchmarks.
"""

from __future__ import annotations

import functools
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from recsys.data.dataset import Catalogue, Dataset, Quality
from recsys.data.feature_encoding import Cells, fit_encoding
from recsys.data.item_encoder import fit_item_encoder
from recsys.data.ratings import Ratings, RatingScale
from recsys.data.split import Split, TrainingData
from recsys.ensemble.calibration import DEGREES, Correction, ProfileEffect
from recsys.ensemble.profiles import COLUMNS
from recsys.ensemble.rating_intervals import RatingIntervals
from recsys.models.registry import FAMILIES, make_config
from recsys.ranking.als import AlsConfig, fit_als
from recsys.ranking.list_blend import ListBlend
from recsys.ranking.rating_matrix import rated_matrix
from recsys.release.pack import pack_release
from recsys.release.profile import Profile, profile_of_run
from recsys.release.release_writer import ReleaseMember

GENRES = ("Action", "Comedy", "Drama", "Film-Noir", "Romance", "Sci-Fi")
DAY_SECONDS = 86_400


def make_dataset(*, users: int = 60, items: int = 40, density: float = 0.25, seed: int = 0) -> Dataset:
    """Half stars from two hidden tastes and long-tailed popularity; ids are "u7" and "i3".

    The last user has no rating at all."""
    random = np.random.default_rng(seed)
    taste, kind = random.normal(size=(users, 2)), random.normal(size=(items, 2))
    liking = taste @ kind.T
    popularity = np.sort(random.pareto(1.5, items))[::-1]
    drawn = random.random((users, items)) < np.clip(density * (0.4 + popularity + 0.3 * liking), 0.02, 0.9)
    drawn[-1] = False
    drawn[np.arange(users - 1), random.integers(0, items, users - 1)] = True
    who, what = np.nonzero(drawn)
    stars = 3.3 + 0.7 * liking[who, what] + 0.4 * random.normal(size=len(who))
    order = random.permutation(len(who))
    values = np.clip(np.round(2 * stars) / 2, 0.5, 5.0).astype(np.float32)
    ratings = Ratings(
        users=who[order].astype(np.int32),
        items=what[order].astype(np.int32),
        values=values[order],
        times=np.sort(random.integers(1_500_000_000, 1_500_000_000 + 400 * DAY_SECONDS, len(who))),
        scale=RatingScale(0.5, 5.0),
        user_count=users,
        item_count=items,
    )
    genres = [
        tuple(sorted(random.choice(GENRES, random.integers(1, 4), replace=False))) for _ in range(items)
    ]
    return Dataset(
        name="synthetic",
        ratings=ratings,
        user_ids=np.array([f"u{row}" for row in range(users)]),
        catalogue=Catalogue(
            ids=np.array([f"i{row}" for row in range(items)]),
            titles=[f"Film {row} ({1950 + row % 70})" for row in range(items)],
            genres=genres,
        ),
        sha256="0" * 64,
        licence="synthetic",
        quality=Quality(rows=len(ratings)),
    )


def without_ratings(dataset: Dataset, items: list[int]) -> Dataset:
    """``dataset`` without a rating of the rows ``items``, its genres as features."""
    kept = np.flatnonzero(~np.isin(dataset.ratings.items, items))
    features = dataset.catalogue.genre_matrix().astype(np.float32)
    return replace(dataset, ratings=dataset.ratings.take(kept), item_features=features)


def with_features(dataset: Dataset, cells: Cells | None = None) -> Dataset:
    """``dataset`` with features of its items: genres, years, and the columns of ``cells``."""
    titles, genres = dataset.catalogue.titles, dataset.catalogue.genres
    encoder = fit_item_encoder(titles, genres, fit_encoding(cells or {}, where="the test"))
    features, _ = encoder.encode(titles, genres, cells or {}, where="the test")
    return replace(dataset, item_features=features, item_encoder=encoder)


def make_cut(dataset: Dataset, *, seed: int = 0) -> Split:
    """80% train, 10% valid, 10% test, at random."""
    rows = np.random.default_rng(seed).permutation(len(dataset.ratings))
    first, second = int(0.8 * len(rows)), int(0.9 * len(rows))
    none = np.empty(0, dtype=np.int64)
    return Split(
        protocol="random",
        seed=seed,
        train=np.sort(rows[:first]),
        valid=np.sort(rows[first:second]),
        gate=none,
        test=np.sort(rows[second:]),
        future=none,
        fingerprint=f"{seed:064d}",
    )


def fit_member(
    name: str,
    data: TrainingData,
    *,
    family: str = "bias",
    weight: float = 1.0,
    epochs: int = 3,
    seed: int = 0,
) -> ReleaseMember:
    config = make_config(family, {})
    trainer = FAMILIES[family].build(config, data, epochs=epochs, seed=seed, device="cpu")
    for _ in range(epochs):
        trainer.train_epoch()
    return ReleaseMember(name, trainer.export(), asdict(config), trainer.parameters, weight)


def make_correction(seed: int = 0) -> Correction:
    """Any: slopes drawn at random, of some hundredths of a star."""
    random = np.random.default_rng(seed)

    def side(means: tuple[float, ...]) -> ProfileEffect:
        slopes = 0.03 * random.standard_normal((COLUMNS, DEGREES))
        return ProfileEffect(means, (0.5, 0.3, 0.2, 0.1, 0.1), tuple(tuple(row) for row in slopes.tolist()))

    return Correction(
        everyone=(1.0, 3.3, 12.0, 0.1, 0.05),
        centre=3.3,
        spread=0.6,
        alone=(0.01, 0.02, -0.03, -0.01),
        users=side((2.5, 3.3, 0.9, 0.1, 0.05)),
        items=side((3.0, 3.3, 0.9, 0.1, 0.05)),
    )


@functools.cache
def _profile(users: int, items: int, seed: int) -> Profile:
    dataset = make_dataset(users=users, items=items, seed=seed)
    split = make_cut(dataset, seed=seed)
    return profile_of_run(dataset, split, np.full(len(split.rows("valid")), 3.5, dtype=np.float32))


def make_release(
    folder: Path,
    *,
    users: int = 60,
    items: int = 40,
    members: tuple[str, ...] = ("bias", "mf"),
    seed: int = 0,
    rating_weight: float = 0.2,
    candidates: int = 20,
    corrected: bool = True,
    scaled: bool = False,
    dataset: Dataset | None = None,
) -> Path:
    """A real release of about ``users`` x ``items`` in well under a second; ``members`` are families,
    ``scaled`` intervals are in units of their deviations."""
    dataset = dataset or make_dataset(users=users, items=items, seed=seed)
    split = make_cut(dataset, seed=seed)
    train, valid = (dataset.ratings.take(split.rows(name)) for name in ("train", "valid"))
    data = TrainingData(train=train, valid=valid)
    fitted = [
        fit_member(f"{family}-{index}", data, family=family, weight=1 / len(members), seed=seed + index)
        for index, family in enumerate(members)
    ]
    kept = dataset.ratings.take(np.concatenate([split.train, split.valid]))
    return pack_release(
        folder,
        dataset=dataset,
        split=split,
        trained_on=["train"],
        members=fitted,
        method="mean",
        correction=make_correction(seed) if corrected else None,
        intervals=RatingIntervals(0.8, (0, 10), (-1.5, -1.0), (1.25, 0.75), scaled),
        ranker=fit_als(rated_matrix(kept), AlsConfig(factors=8, rounds=4), seed=seed, scale=kept.scale),
        mix=ListBlend(1.0, rating_weight, candidates, {}),
        profile=_profile(users, items, seed),
    )
