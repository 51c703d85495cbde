"""A release of ML-32M's shape, for measuring the request's path: real format, arrays that learned nothing.

The members are hybrid VAEs as they start, packed by their own family; the ranker's item factors are random
with norms that follow popularity, as a fitted one's do; histories are long-tailed on both sides.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from recsys.data.ratings import Ratings, RatingScale
from recsys.data.split import TrainingData
from recsys.models.registry import FAMILIES, make_config
from recsys.ranking.als import AlsConfig
from recsys.ranking.ranker import Ranker
from recsys.ranking.taste_vectors import unit_rows
from recsys.release.arrays import Histories, IdIndex, ItemCatalogue, Popularity, Titles
from recsys.release.manifest import (
    DatasetCard,
    FoldInCard,
    MetricsCard,
    RankingCard,
    RankingWeights,
    Scale,
    SplitCard,
)
from recsys.release.release_writer import ReleaseContents, ReleaseMember, write_release
from recsys.types import JsonObject

USERS, ITEMS, PAIRS = 200_948, 84_432, 32_000_204
USER_BLOCK = 10_000
GENRES = tuple(f"Genre {number:02}" for number in range(19))
# The formula's widths in the form that the search ends with: biases, dot product, rated history.
CONFIG: JsonObject = {
    "biases": True,
    "dot_product": 32,
    "history": "ratings",
    "normalisation": "layer",
    "embedding_scale": 0.01,
}


def make_big_release(
    folder: Path,
    *,
    users: int = USERS,
    items: int = ITEMS,
    pairs: int = PAIRS,
    members: int = 3,
    factors: int = 64,
    seed: int = 0,
    config: JsonObject | None = None,
    rating_weight: float = 0.0,
    candidates: int = 100,
) -> Path:
    """About a minute and 1.6 GB at full size. ``config`` holds the members' hybrid_vae fields."""
    random = np.random.default_rng(seed)
    liking = np.sort(random.pareto(1.1, items).astype(np.float32) + 0.01)[::-1]
    histories = _histories(random, liking, users, pairs)
    counts = np.bincount(histories.items, minlength=items).astype(np.float32)
    vectors = random.standard_normal((items, factors), dtype=np.float32)
    # As fitted on ML-1M: lengths go with the root of how often an item was rated (correlation 0.97), and the
    # shortest is 0.3% of the longest.
    vectors *= (0.001 + 0.3 * np.sqrt(counts / counts.max()))[:, None]
    als = AlsConfig(factors=factors)
    ranker = Ranker(
        family="als",
        settings={
            "config": asdict(als),
            "ridge": {"fixed": als.ridge * als.unobserved * items, "per_rating": als.ridge},
            "weight": {"typical": pairs / users, "damping": als.user_damping},
        },
        arrays={
            "factors": vectors,
            "gram": np.float32(als.unobserved) * (vectors.T @ vectors),
            "users": 0.2 * random.standard_normal((users, factors), dtype=np.float32),
        },
    )
    genres = random.random((items, len(GENRES))) < 0.12
    return write_release(
        folder,
        ReleaseContents(
            dataset=DatasetCard(
                name="random, of ML-32M's shape",
                licence="none",
                sha256="0" * 64,
                scale=Scale(low=0.5, high=5.0),
                last_timestamp=None,
                users=users,
                items=items,
            ),
            split=SplitCard(protocol="random", seed=seed, fingerprint="0" * 64, counts={"train": pairs}),
            trained_on=["train"],
            users=IdIndex.of(np.arange(1, users + 1).astype(np.str_)),
            items=ItemCatalogue(
                ids=IdIndex.of(np.arange(1, items + 1).astype(np.str_)),
                titles=Titles.of([f"Film {row} ({1920 + row % 100})" for row in range(items)]),
                genre_names=GENRES,
                member_of=genres,
                vectors=unit_rows(random.standard_normal((items, 32), dtype=np.float32)),
            ),
            histories=histories,
            popularity=Popularity(counts, counts, np.full(items, 3.5, dtype=np.float32)),
            members=[
                _member(f"vae-{number}", users, items, number, members, config) for number in range(members)
            ],
            method="mean",
            ranker=ranker,
            ranking=RankingCard(
                ranker="als",
                weights=RankingWeights(ranking=1.0, rating=rating_weight),
                candidates=candidates,
            ),
            fold_in=FoldInCard(ranker=True, members=True),
            metrics=MetricsCard(),
        ),
    )


def _histories(random: np.random.Generator, liking: np.ndarray, users: int, pairs: int) -> Histories:
    """Users' lengths are log-normal, items drawn by ``liking``, each once a user; a few fewer than pairs."""
    lengths = random.lognormal(0, 1.1, users)
    lengths = np.maximum(lengths * pairs / lengths.sum(), 1).astype(np.int64)
    bounds = np.cumsum(liking, dtype=np.float64)
    bounds /= bounds[-1]
    kept = []
    for first in range(0, users, USER_BLOCK):
        block = lengths[first : first + USER_BLOCK]
        drawn = np.searchsorted(bounds, random.random(block.sum()))
        kept.append(np.unique(np.repeat(np.arange(first, first + len(block)), block) * len(liking) + drawn))
    keys = np.concatenate(kept)
    owners, rows = keys // len(liking), (keys % len(liking)).astype(np.int32)
    ends = np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=users))])
    values = (random.integers(1, 11, len(rows), dtype=np.int8) / 2).astype(np.float16)
    return Histories(ends=ends.astype(np.int64), items=rows, values=values)


def _member(
    name: str, users: int, items: int, seed: int, members: int, config: JsonObject | None
) -> ReleaseMember:
    random = np.random.default_rng(seed)
    size = 20_000
    train = Ratings(
        users=random.integers(0, users, size, dtype=np.int32),
        items=random.integers(0, items, size, dtype=np.int32),
        values=(random.integers(1, 11, size) / 2).astype(np.float32),
        times=None,
        scale=RatingScale(0.5, 5.0),
        user_count=users,
        item_count=items,
    )
    chosen = make_config("hybrid_vae", CONFIG if config is None else config)
    data = TrainingData(train=train, valid=train)
    trainer = FAMILIES["hybrid_vae"].build(chosen, data, epochs=1, seed=seed, device=torch.device("cpu"))
    fields = asdict(chosen) | {"hidden": list(chosen.hidden)}
    return ReleaseMember(name, trainer.export(), fields, trainer.parameters, 1 / members)
