"""The hybrid VAE's line in the registry: config, search ranges, and lazily its trainer and scorer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys import bounds
from recsys.data.split import TrainingData
from recsys.errors import InputError
from recsys.models.base import History, ModelArtifact, ModelFamily, Scorer
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
# What the search varies, besides what ``search_ranges`` bounds.
FREE_RANGES: dict[str, Range] = {
    "biases": Categorical({"on": True, "off": False}),
    "dot_product": Categorical({"8": 8, "16": 16, "32": 32}),
    "history": Categorical(
        {"none": "none", "implicit": "implicit", "ratings": "ratings", "attended": "attended"}
    ),
    "time": Categorical({"none": "none", "levels": "levels"}),
    "samples": Categorical({"off": 0, "4": 4}),  # more than serving should pay for is not drawn
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
    """What the search varies. The upper ends of bounded fields come from ``recsys.bounds`` when asked for;
    the count of all parameters, which depends on the data, is bounded there as well."""
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
    whole = bounded | FREE_RANGES
    return {name: whole[name] for name in ORDER}


# The order of drawing: with it a seed draws the same configs again.
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
    """``start``: the factorisation to start from, where it is known already (a checkpoint's)."""
    from recsys.models.hybrid_vae.trainer import HybridVaeTrainer

    return HybridVaeTrainer(config, data, epochs=epochs, seed=seed, device=device, start=start)


def make_scorer(member: ModelArtifact, histories: Callable[[int], History]) -> Scorer:
    from recsys.models.hybrid_vae.scorer import HybridVaeScorer

    return HybridVaeScorer(member, histories)


def check(config: HybridVaeConfig, data: TrainingData) -> None:
    """Raises InputError where ``data`` cannot feed an option of ``config``."""
    if len(data.train) < 2:
        raise InputError(
            f"the training slice holds {len(data.train)} ratings, expected 2 or more; use more data"
        )
    default = HybridVaeConfig()
    for name, reason in unsupported_options(data).items():
        value, off = getattr(config, name), getattr(default, name)
        if value != off:
            raise InputError(f"hybrid_vae.{name} is {value!r} but {reason}; set {name} to {off}")


def unsupported_options(data: TrainingData) -> dict[str, str]:
    """The options that ``data`` cannot feed, and why."""
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
    """The factorisation that a saved state started from."""
    from recsys.models.hybrid_vae.states import start_of

    start = start_of(state)
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
