"""Parameter count of a hybrid VAE, every table counted, without building it.

A contract test compares it with the sum of the real tensors.
"""

from __future__ import annotations

import itertools

from recsys.models.bayes_mf.observation import MOST_LEVELS
from recsys.models.hybrid_vae.config import HybridVaeConfig
from recsys.models.hybrid_vae.time_bins import ITEM_BINS, USER_BINS


def encoder_inputs(config: HybridVaeConfig) -> int:
    """Width of the encoder's input: user, item, then h, g, the product and the start's score, if any."""
    k = config.dot_product
    extra = k + (2 * k if config.history != "none" else 0)
    return 2 * config.factors + extra + int(config.start != "random")


def parameter_count(
    config: HybridVaeConfig,
    *,
    users: int,
    items: int,
    user_features: int = 0,
    item_features: int = 0,
    levels: int = MOST_LEVELS,
) -> int:
    """Number of trainable parameters.

    Args:
        config: Of the network.
        users: Rows of the users' tables.
        items: Rows of the items' tables.
        user_features: Columns; they count where an option reads them.
        item_features: Columns; they count where an option reads them.
        levels: Distinct ratings; they count for an ordinal output.

    Returns:
        The parameters of all tables and layers.
    """
    rows = users + items
    total = rows * config.factors
    if config.biases:
        total += rows + 1
    tables = {"none": 0, "implicit": 1, "ratings": 2, "attended": 2}[config.history]
    total += tables * rows * config.dot_product
    if config.history == "attended":
        total += rows * config.attention_heads
    if config.time == "levels":
        total += (users + 1) * USER_BINS + (items + 1) * ITEM_BINS
    if config.output != "gaussian":
        total += levels - 1
    if config.output == "ordinal_by_user":
        total += users
    if config.start != "random":
        total += rows * config.start_rank + 2
    if config.latent_prior == "features":
        total += (user_features + item_features) * config.latent
    norm = 0 if config.normalisation == "none" else 2
    encoder = [encoder_inputs(config), *config.hidden]
    decoder = [config.latent, *config.hidden[::-1]]
    for widths in (encoder, decoder):
        for inputs, outputs in itertools.pairwise(widths):
            total += outputs * (inputs + 1 + norm)
    total += 2 * config.latent * (config.hidden[-1] + 1)
    if config.skip_connections:
        total += sum(config.hidden)
    total += config.hidden[0] + 1
    return total
