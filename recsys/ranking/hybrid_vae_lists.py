"""Config of the hybrid VAE's list head (Mult-VAE): an encoder of a user's history, a decoder of all items.

Liang et al. 2018 ("Variational autoencoders for collaborative filtering") with the three changes that gained
most here: the encoder's mean is implicit ALS's exact half step plus a residual layer, and the decoder starts
at the ALS factors; the encoder reads random ratings of a history and is trained on the others; the ratings
that it reads are masked in the softmax. The multinomial likelihood is per rating; KL is the mean over the
latent dimensions, its weight inside the owner's bounds. Scores are inner products with the decoder's rows, so
a user is a vector and retrieval stays exact. Early stopping by NDCG@10 on ratings that neither the
factorisation nor the training has read.

Training is in ``list_head_training.py``, which alone needs torch.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from recsys.bounds import HIGHEST_KL_WEIGHT, DataShape, largest, parameter_limit, widest
from recsys.errors import InputError
from recsys.models.family_config import family_config
from recsys.models.ranges import Categorical, FloatRange, Range

NAME = "hybrid_vae_lists"


@family_config(NAME)
class HybridVaeListsConfig:
    """Hyperparameters of the list head. Those of ALS are of the factorisation that it starts from."""

    latent: Annotated[int, Field(ge=1, le=largest("latent"))] = 48
    hidden: Annotated[int, Field(ge=1, le=widest(0))] = 64  # of the residual layer
    kl_weight: Annotated[float, Field(ge=0, le=HIGHEST_KL_WEIGHT)] = 0.01
    dropped: Annotated[float, Field(gt=0, lt=1)] = 0.5  # share of a history to be predicted from the rest
    learning_rate: PositiveFloat = 0.003
    epochs: PositiveInt = 30
    batch_size: Literal[2048, 1536] = 2048  # users
    unobserved: NonNegativeFloat = 0.15
    ridge: NonNegativeFloat = 0.025
    user_damping: NonNegativeFloat = 0.4
    liking: NonNegativeFloat = 1.0


RANGES: dict[str, Range] = {
    "latent": Categorical({str(count): count for count in (24, 32, 48, 64, 96)}),
    "hidden": Categorical({str(count): count for count in (32, 64, 128)}),
    "kl_weight": FloatRange(0.001, HIGHEST_KL_WEIGHT, log=True),
    "dropped": FloatRange(0.2, 0.7),
    "learning_rate": FloatRange(0.0005, 0.01, log=True),
    "unobserved": FloatRange(0.02, 1.0, log=True),
    "ridge": FloatRange(0.002, 0.2, log=True),
}


def parameter_count(config: HybridVaeListsConfig, items: int) -> int:
    """Trainable parameters for a catalogue of ``items``: decoder, offsets, residual layer and variance."""
    layer = config.latent * config.hidden + config.hidden
    return items * (config.latent + 1) + layer + 2 * config.hidden * config.latent + config.latent


def require_safe_lists(config: HybridVaeListsConfig, shape: DataShape) -> None:
    """Checks the bound on all parameters; the others are checked whenever a config is made.

    Args:
        config: Of the head.
        shape: Of the data.

    Raises:
        InputError: More than 1.5 x the formula's parameters.
    """
    count, limit = parameter_count(config, shape.items), parameter_limit(shape)
    if count > limit:
        raise InputError(f"{NAME}: {count} parameters are above {limit}; lower latent or hidden")
