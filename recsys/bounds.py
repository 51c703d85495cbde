"""The safe bounds of the owner's plan, for every hybrid VAE: pure arithmetic on a config and a shape.

KL weight at most 0.015 at every step; all parameters, and each of factors, hidden widths and latent, at
most 1.5 times the formula's on the same data; batch 2048, or 1536 where the out-of-memory contingency or
the GPU's own row chose it. One function answers at all three doors: reading a plan, starting a trial,
packing a release. Other families, rankers and ensembles are not bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from recsys.data.split import TrainingData
from recsys.errors import InputError
from recsys.models.bayes_mf.observation import MOST_LEVELS, rating_levels
from recsys.models.hybrid_vae import capacity
from recsys.models.hybrid_vae.config import HybridVaeConfig

FORMULA = HybridVaeConfig()
HIGHEST_KL_WEIGHT = 0.015
LARGEST_SHARE = 1.5
BATCH_SIZE = FORMULA.batch_size
SMALL_BATCH_SIZE = 1536


@dataclass(frozen=True)
class DataShape:
    """What a model's capacity depends on.

    Attributes:
        users: Rows.
        items: Rows.
        user_features: Columns.
        item_features: Columns.
        levels: Distinct ratings; by default the most that an ordinal output supports.
    """

    users: int
    items: int
    user_features: int = 0
    item_features: int = 0
    levels: int = MOST_LEVELS

    @classmethod
    def of(cls, data: TrainingData) -> DataShape:
        """The shape of training data.

        Args:
            data: Of a trial.
        """
        return cls(
            users=data.train.user_count,
            items=data.train.item_count,
            user_features=0 if data.user_features is None else data.user_features.shape[1],
            item_features=0 if data.item_features is None else data.item_features.shape[1],
            levels=len(rating_levels(data.train.values, "ordinal")) or MOST_LEVELS,
        )


@dataclass(frozen=True)
class Violation:
    """One broken bound: the field, its value, the limit, and what the formula has."""

    field: str
    value: float
    limit: float
    formula: float

    def __str__(self) -> str:
        return f"{self.field} {self.value:g} is above {self.limit:g} (the formula has {self.formula:g})"


def parameter_count(config: HybridVaeConfig, shape: DataShape) -> int:
    """Trainable parameters, embedding tables included.

    Args:
        config: Of the model.
        shape: Of its data.
    """
    return capacity.parameter_count(
        config,
        users=shape.users,
        items=shape.items,
        user_features=shape.user_features,
        item_features=shape.item_features,
        levels=shape.levels,
    )


def parameter_limit(shape: DataShape) -> int:
    """The most parameters that the bounds allow.

    Args:
        shape: Of the data.
    """
    return int(LARGEST_SHARE * parameter_count(FORMULA, shape))


def largest(field: str) -> int:
    """The largest ``factors`` or ``latent`` that the bounds allow.

    Args:
        field: Either name.
    """
    return int(LARGEST_SHARE * getattr(FORMULA, field))


def widest(layer: int) -> int:
    """The greatest width of a hidden layer.

    Args:
        layer: From 0; layers beyond the formula's have its last one's limit.
    """
    return int(LARGEST_SHARE * FORMULA.hidden[min(layer, len(FORMULA.hidden) - 1)])


def violations(
    config: HybridVaeConfig, shape: DataShape, *, small_batch_allowed: bool = False
) -> list[Violation]:
    """The bounds that a config breaks.

    Args:
        config: Of the model.
        shape: Of its data.
        small_batch_allowed: Whether batch 1536 is allowed as well.

    Returns:
        Empty where it is safe.
    """
    broken = []

    def bound(field: str, value: float, limit: float, formula: float) -> None:
        if value > limit:
            broken.append(Violation(field, value, limit, formula))

    bound("kl_weight", config.highest_kl_weight(), HIGHEST_KL_WEIGHT, FORMULA.kl_weight)
    for field in ("factors", "latent"):
        formula = getattr(FORMULA, field)
        bound(field, getattr(config, field), LARGEST_SHARE * formula, formula)
    for index, width in enumerate(config.hidden):
        formula = FORMULA.hidden[min(index, len(FORMULA.hidden) - 1)]
        bound(f"hidden[{index}]", width, LARGEST_SHARE * formula, formula)
    bound(
        "parameters", parameter_count(config, shape), parameter_limit(shape), parameter_count(FORMULA, shape)
    )
    allowed = {BATCH_SIZE, SMALL_BATCH_SIZE} if small_batch_allowed else {BATCH_SIZE}
    if config.batch_size not in allowed:
        broken.append(Violation("batch_size", config.batch_size, BATCH_SIZE, BATCH_SIZE))
    return broken


def require_safe(
    config: HybridVaeConfig, shape: DataShape, *, small_batch_allowed: bool = False, where: str = "config"
) -> None:
    """Refuses a config outside the safe bounds.

    Args:
        config: Of the model.
        shape: Of its data.
        small_batch_allowed: Whether batch 1536 is allowed as well.
        where: The config's origin, for the error.

    Raises:
        InputError: It lists every broken bound.
    """
    broken = violations(config, shape, small_batch_allowed=small_batch_allowed)
    if not broken:
        return
    lines = [
        str(violation)
        if violation.field != "batch_size"
        else f"batch_size {violation.value:g} is not {BATCH_SIZE} (the formula's; {SMALL_BATCH_SIZE} only by "
        "the out-of-memory contingency or for a small GPU)"
        for violation in broken
    ]
    raise InputError(f"{where} is outside the safe bounds: {'; '.join(lines)}; lower what is named")


def most_factors(fields: Mapping[str, Any], shape: DataShape) -> int:
    """The most factors that keep a config inside the parameter bound.

    Args:
        fields: Of the config, without ``factors``.
        shape: Of the data.

    Returns:
        0 where no number of factors does.
    """
    lowest = max(1, int(fields.get("dot_product", 0)))
    low, high = lowest - 1, int(LARGEST_SHARE * FORMULA.factors)
    while low < high:
        middle = (low + high + 1) // 2
        config = HybridVaeConfig(**{**fields, "factors": middle})
        if parameter_count(config, shape) <= parameter_limit(shape):
            low = middle
        else:
            high = middle - 1
    return low if low >= lowest else 0


def scale_into_bounds(config: HybridVaeConfig, shape: DataShape) -> HybridVaeConfig:
    """``config`` with as few factors less as bring its parameters inside; itself where it fits.

    Raises InputError where no number of factors does.
    """
    if parameter_count(config, shape) <= parameter_limit(shape):
        return config
    fields = {name: getattr(config, name) for name in config.__dataclass_fields__ if name != "factors"}
    most = most_factors(fields, shape)
    if most < 1:
        require_safe(config, shape)
    return replace(config, factors=min(config.factors, most))
