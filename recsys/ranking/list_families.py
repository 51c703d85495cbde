"""Registry of list families (top-n rankers). A new family is a file and an entry here.

Every family fits a ``Ranker``: linear in the history, so that any user is folded in and a sum of rankers is
one product when serving. None limits the number of items.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar, cast

from recsys.models.ranges import Range
from recsys.ranking import (
    decayed_popularity,
    hybrid_vae_lists,
    item_regression,
    neighbourhood,
    random_walk,
    spectral,
)
from recsys.ranking.als import ALS_RANGES, AlsConfig, fit_als
from recsys.ranking.list_data import ListData
from recsys.ranking.ranker import Ranker
from recsys.types import JsonObject

Result = TypeVar("Result")


class Fit(Protocol):
    """Fits a config to ``data``; the same seed gives the same ranker."""

    def __call__(self, data: ListData, config: Any, *, seed: int) -> Ranker: ...


class FitByEpochs(Protocol):
    """As ``Fit``, by epochs; yields the best NDCG@10 so far after each."""

    def __call__(self, data: ListData, config: Any, *, seed: int) -> Generator[float, None, Ranker]: ...


@dataclass(frozen=True)
class ListFamily:
    """A kind of ranker.

    Attributes:
        name: In plans and reports.
        config_type: Decorated by ``family_config``; its defaults are the family's.
        ranges: What a search may vary.
        fit: Fits a config.
        starts: Configs that a search tries first.
        share: Of the searched trials, relative to the other families', after every family's starts.
        needs_times: Fields that stay off where ratings have no times.
        needs_features: Fields that stay off where items have no features.
        data_powers: Fields that scale with the amount of data, and the power: the best ridge of ALS falls
            with the root of a user's ratings (on ML-100K 0.020 for three quarters, 0.017 for all).
        by_epochs: ``fit`` for a family that trains by epochs, so that a search can prune a trial between
            them; None: it fits at once.
        uses_gpu: Whether it is fitted on a GPU where there is one; a search gives the others none.
    """

    name: str
    config_type: type[Any]
    ranges: Mapping[str, Range]
    fit: Fit
    starts: tuple[Any, ...]
    share: float = 0.5
    needs_times: tuple[str, ...] = ()
    needs_features: tuple[str, ...] = ()
    data_powers: Mapping[str, float] = field(default_factory=dict)
    by_epochs: FitByEpochs | None = None
    uses_gpu: bool = False

    def forced_off(self, data: ListData) -> JsonObject:
        """The fields that ``data`` cannot support, at their off-values, by name."""
        off = () if data.has_times else self.needs_times
        if data.item_features is None or not data.item_features.shape[1]:
            off = (*off, *self.needs_features)
        return {name: type(getattr(self.starts[0], name))(0) for name in off}

    def usable(self, config: Any, data: ListData) -> Any:
        """``config`` with the fields that ``data`` cannot support switched off."""
        return replace(config, **self.forced_off(data))

    def for_share(self, config: Any, share: float) -> Any:
        """``config`` scaled by ``data_powers`` to a ``share`` (0 to 1) of the ratings that it is for."""
        powers = self.data_powers.items()
        return replace(config, **{name: getattr(config, name) * share**power for name, power in powers})


def fit_als_lists(data: ListData, config: AlsConfig, *, seed: int) -> Ranker:
    """Fits ALS to the users' ratings, and to their pages as further users where ``config`` has them on."""
    pages = data.pages if config.pages > 0 else None
    return fit_als(data.rated, config, seed=seed, scale=data.ratings.scale, pages=pages)


def train_list_head(
    data: ListData, config: hybrid_vae_lists.HybridVaeListsConfig, *, seed: int
) -> Generator[float, None, Ranker]:
    """Trains the hybrid VAE's list head by epochs; imports torch, which serving does not need."""
    from recsys.ranking.list_head_training import train_by_epochs

    return (yield from train_by_epochs(data, config, seed=seed))


def fit_list_head(data: ListData, config: hybrid_vae_lists.HybridVaeListsConfig, *, seed: int) -> Ranker:
    """Trains the hybrid VAE's list head to its last epoch."""
    return run_to_end(train_list_head(data, config, seed=seed))


def run_to_end(steps: Generator[Any, None, Result]) -> Result:
    """Runs a generator and returns what it returns; what it yields is dropped."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return cast(Result, end.value)


LIST_FAMILIES: dict[str, ListFamily] = {
    family.name: family
    for family in (
        ListFamily(
            "als",
            AlsConfig,
            ALS_RANGES,
            fit_als_lists,
            (
                AlsConfig(factors=48),
                AlsConfig(factors=24, unobserved=0.3, ridge=0.015),
                AlsConfig(factors=48, unobserved=0.3, ridge=0.01, pages=1.0),
                AlsConfig(factors=64, unobserved=0.3, ridge=0.01),
            ),
            share=5.0,
            needs_times=("pages",),
            data_powers={"ridge": -0.5},
            uses_gpu=True,
        ),
        ListFamily(
            "ease",
            item_regression.EaseTrialConfig,
            item_regression.EASE_RANGES,
            item_regression.fit_item_regression,
            (
                item_regression.EaseTrialConfig(),
                item_regression.EaseTrialConfig(ridge=100.0, user_damping=0.25, dropout=0.3),
            ),
            share=1.0,
            uses_gpu=True,
        ),
        ListFamily(
            "edlae",
            item_regression.EdlaeConfig,
            item_regression.EDLAE_RANGES,
            item_regression.fit_item_regression,
            (
                item_regression.EdlaeConfig(),
                item_regression.EdlaeConfig(closeness=0.0, features=5.0),
            ),
            share=4.0,
            needs_times=("closeness",),
            needs_features=("features",),
            uses_gpu=True,
        ),
        ListFamily(
            "item_neighbours",
            neighbourhood.ItemNeighboursConfig,
            neighbourhood.RANGES,
            neighbourhood.fit_item_neighbours,
            (neighbourhood.ItemNeighboursConfig(),),
        ),
        ListFamily(
            "random_walk",
            random_walk.RandomWalkConfig,
            random_walk.RANGES,
            random_walk.fit_random_walk,
            (random_walk.RandomWalkConfig(),),
        ),
        ListFamily(
            "spectral",
            spectral.SpectralConfig,
            spectral.SPECTRAL_RANGES,
            spectral.fit_spectral,
            (spectral.SpectralConfig(),),
        ),
        ListFamily(
            hybrid_vae_lists.NAME,
            hybrid_vae_lists.HybridVaeListsConfig,
            hybrid_vae_lists.RANGES,
            fit_list_head,
            (hybrid_vae_lists.HybridVaeListsConfig(),),
            by_epochs=train_list_head,
            share=0.0,  # only in plans that name it: ten seconds a trial on ML-100K, and no gain in the blend
        ),
        ListFamily(
            "popularity",
            decayed_popularity.PopularityConfig,
            decayed_popularity.RANGES,
            decayed_popularity.fit_popularity,
            (decayed_popularity.PopularityConfig(),),
            share=0.25,
            needs_times=("half_life_days",),
        ),
    )
}
