"""Registry entry of the hybrid VAE: config, search ranges; trainer and scorer are imported when needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys import bounds
from recsys.data.split import TrainingData
from recsys.errors import InputError
from recsys.models.base import History, ModelArtifact, ModelFamily, Scorer, require_two_ratings
from recsys.models.bayes_mf.observation import MOST_LEVELS, rating_levels
from recsys.models.hybrid_vae.config import HybridVaeConfig
from recsys.models.ranges import Categorical, FloatRange, IntRange, Range
from recsys.types import Arrays

if TYPE_CHECKING:
    import torch

    from recsys.models.hybrid_vae.trainer import HybridVaeTrainer
    from recsys.models.hybrid_vae.warm_start import WarmStart

HIDDEN = {
    "128-64": (128, 64),
    "256-128": (256, 128),
    "512-256-128": (512, 256, 128),
    "640-384-192": (640, 384, 192),
}
# Ranges that do not depend on the bounds.
FREE_RANGES: dict[str, Range] = {
    "biases": Categorical({"on": True, "off": False}),
    "dot_product": Categorical({"8": 8, "16": 16, "32": 32}),
    "history": Categorical(
        {"none": "none", "implicit": "implicit", "ratings": "ratings", "attended": "attended"}
    ),
    "time": Categorical({"none": "none", "levels": "levels"}),
    "samples": Categorical({"off": 0, "4": 4}),  # more would be too slow for serving
    "output": Categorical(
        {"gaussian": "gaussian", "ordinal": "ordinal", "ordinal_by_user": "ordinal_by_user"}
    ),
    "latent_prior": Categorical({"standard": "standard", "features": "features"}),
    "start": Categorical({"random": "random", "factorisation": "factorisation"}),
    "normalisation": Categorical(
        {"batch": "batch", "batch_recalibrated": "batch_recalibrated", "layer": "layer", "none": "none"}
    ),
    "embedding_scale": FloatRange(0.003, 0.1, log=True),
    "dropout": FloatRange(0.2, 0.6),
    "weight_decay": FloatRange(1e-6, 1e-3, log=True),
    "free_bits": FloatRange(0.0, 4.0),
    "learning_rate": FloatRange(2e-4, 4e-3, log=True),
    "learning_rate_schedule": Categorical({"plateau": "plateau", "cosine": "cosine"}),
}


def search_ranges() -> dict[str, Range]:
    """What the search varies. The upper ends of bounded fields are read from ``recsys.bounds`` at each call;
    the number of parameters, which depends on the data, is bounded there as well."""
    hidden = {
        name: widths
        for name, widths in HIDDEN.items()
        if all(width <= bounds.widest(layer) for layer, width in enumerate(widths))
    }
    factors, latent, kl = bounds.largest("factors"), bounds.largest("latent"), bounds.HIGHEST_KL_WEIGHT
    bounded: dict[str, Range] = {
        "factors": IntRange(min(32, factors), factors),
        "hidden": Categorical(hidden or {"128-64": HIDDEN["128-64"]}),
        "latent": IntRange(min(16, latent), max(latent // 16 * 16, min(16, latent)), 16),
        "kl_weight": FloatRange(min(0.001, kl), kl, log=True),
    }
    ranges = bounded | FREE_RANGES
    return {name: ranges[name] for name in ORDER}


# The order in which fields are drawn: a seed draws the same configs again only in the same order.
ORDER = (
    "factors",
    "hidden",
    "latent",
    *(name for name in FREE_RANGES if name not in ("free_bits", "learning_rate", "learning_rate_schedule")),
    "kl_weight",
    "free_bits",
    "learning_rate",
    "learning_rate_schedule",
)


def build(
    config: HybridVaeConfig,
    data: TrainingData,
    *,
    epochs: int,
    seed: int,
    device: torch.device,
    start: WarmStart | None = None,
) -> HybridVaeTrainer:
    """Makes the trainer, as ``ModelFamily.build``; ``start`` is the factorisation of a checkpoint, which is
    then not fitted again."""
    from recsys.models.hybrid_vae.trainer import HybridVaeTrainer

    return HybridVaeTrainer(config, data, epochs=epochs, seed=seed, device=device, start=start)


def make_scorer(member: ModelArtifact, histories: Callable[[int], History]) -> Scorer:
    """Makes the scorer, as ``ModelFamily.scorer``."""
    from recsys.models.hybrid_vae.scorer import HybridVaeScorer

    return HybridVaeScorer(member, histories)


def check(config: HybridVaeConfig, data: TrainingData) -> None:
    """Checks a trial's data, as ``ModelFamily.check``.

    Raises:
        InputError: Too few ratings, or an option of ``config`` that ``data`` does not support.
    """
    require_two_ratings("hybrid_vae", data)
    default = HybridVaeConfig()
    for name, reason in unsupported_options(data).items():
        value, off = getattr(config, name), getattr(default, name)
        if value != off:
            raise InputError(f"hybrid_vae.{name} is {value!r} but {reason}; set {name} to {off}")


def unsupported_options(data: TrainingData) -> dict[str, str]:
    """The options that ``data`` does not support, and why; as ``ModelFamily.unsupported_options``."""
    train, result = data.train, {}
    if len(train) <= max(train.user_count, 1):
        result["history"] = (
            f"train holds {len(train)} ratings of {train.user_count} users, about one each: nothing is left "
            "once the target is taken out"
        )
    if train.times is None:
        result["time"] = "the ratings have no timestamps"
    if not len(rating_levels(train.values, "ordinal")):
        result["output"] = (
            f"train holds {len(np.unique(train.values))} distinct ratings, expected 2 to {MOST_LEVELS} levels"
        )
    if data.user_features is None and data.item_features is None:
        result["latent_prior"] = "the data has neither genres nor demographics"
    return result


def restorable_inputs(state: Arrays) -> dict[str, Any]:
    """The factorisation that a saved state started from; as ``ModelFamily.restorable_inputs``."""
    from recsys.models.hybrid_vae.states import saved_start

    start = saved_start(state)
    return {} if start is None else {"start": start}


FAMILY = ModelFamily(
    name="hybrid_vae",
    config_type=HybridVaeConfig,
    build=build,
    scorer=make_scorer,
    search_ranges=search_ranges,
    check=check,
    unsupported_options=unsupported_options,
    restorable_inputs=restorable_inputs,
    uses_gpu=True,
)
