"""Export of a trained network as plain arrays, for inference in numpy.

BatchNorm is folded into the linear layer before it. The first layer is split: its item half (``item_half``)
is precomputed for every item, so that a request computes only a user's half and the hidden layers; user
halves would be several times as large as the embeddings and are computed on demand.
"""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recsys.data.ratings import Ratings
from recsys.models.base import ModelArtifact
from recsys.models.hybrid_vae.blocks import Block
from recsys.models.hybrid_vae.history import SideHistory
from recsys.models.hybrid_vae.network import HybridVae, Sums
from recsys.models.hybrid_vae.ordinal import OrdinalOutput
from recsys.types import Arrays, BoolArray


def _array(tensor: Tensor) -> NDArray[np.float32]:
    # A copy: numpy would share memory with weights that are still trained.
    return np.array(tensor.detach().float().cpu().numpy(), order="C")


def _folded(block: Block) -> tuple[Tensor, Tensor]:
    """Weight (outputs, inputs) and bias (outputs,) of a block, its BatchNorm folded in."""
    weight, bias = block.linear.weight, block.linear.bias
    norm = block.norm
    if not isinstance(norm, nn.BatchNorm1d):
        return weight, bias
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gain = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return weight * gain[:, None], (bias - norm.running_mean) * gain + norm.bias


@torch.no_grad()
def export(network: HybridVae, train: Ratings, *, noise_variance: float) -> ModelArtifact:
    """Packs a network.

    Args:
        network: In evaluation mode.
        train: Its training slice.
        noise_variance: Squared error of a rating that fold-in assumes, stars squared.

    Returns:
        The artifact.
    """
    config, k = network.config, network.config.dot_product
    factors = config.factors
    sums = network.sums()
    arrays: Arrays = {"user_embedding": _array(network.user_embedding)}
    first: Block = network.bottleneck.encoder.blocks[0]  # type: ignore[assignment]
    weight, bias = _folded(first)
    # Columns in the order of HybridVae.forward: user, item, h, g, product, start.
    column = 2 * factors
    item_half = network.item_embedding @ weight[:, factors:column].T + bias
    item_factors = network.item_embedding[:, :k]
    arrays["first.user"] = _array(weight[:, :factors])
    if sums is not None:
        user_history, item_history = _full_histories(network, sums)
        arrays["user_history"] = _array(user_history)
        arrays["first.user_history"] = _array(weight[:, column : column + k])
        item_half = item_half + item_history @ weight[:, column + k : column + 2 * k].T
        item_factors = item_factors + item_history
        column += 2 * k
        _add_history(arrays, network.user_history)
    if k > 0:
        arrays["item_factors"] = _array(item_factors)
        arrays["first.product"] = _array(weight[:, column : column + k])
        column += k
    if config.start != "random":
        arrays["start_users"] = _array(network.start_users)
        arrays["start_items"] = _array(network.start_items)
        arrays["first.start"] = _array(weight[:, column])
    arrays["item_half"] = _array(item_half)
    _add_biases(arrays, network)
    _add_layers(arrays, network)
    seen = np.bincount(train.users, minlength=train.user_count) > 0
    _add_prior(arrays, seen)
    sharpness = 1.0
    if network.ordinal is not None:
        sharpness = _add_ordinal(arrays, network.ordinal, seen)
    # The two largest tables in half precision: a contract test bounds the rounding error.
    for name in ("user_embedding", "item_half"):
        arrays[name] = arrays[name].astype(np.float16)
    settings = {
        **asdict(config),
        "biases": "user_bias" in arrays,
        "centre": network.centre,
        "start_offset": float(network.start_offset) if config.start != "random" else 0.0,
        "start_slope": float(network.start_slope) if config.start != "random" else 0.0,
        "noise_variance": noise_variance,
        "sharpness": sharpness,
        "hidden": list(config.hidden),
    }
    return ModelArtifact(family="hybrid_vae", settings=settings, arrays=arrays, scale=network.scale)


def _full_histories(network: HybridVae, sums: Sums) -> tuple[Tensor, Tensor]:
    """h of every user and g of every item, without a target left out."""
    sides = ((network.user_history, sums.users), (network.item_history, sums.items))
    user, item = (side.pooled(total, side.count) for side, total in sides)
    return user, item


def _add_history(arrays: Arrays, side: SideHistory) -> None:
    """Each item's terms in the h of its users, times the attention weights."""
    tables: list[Tensor] = list(side.tables)
    if side.attention is not None:
        weights = side.attention.weights()
        tables = [side.attention.weighted(table, weights) for table in tables]
        arrays["history.squares"] = _array(weights.square())
    for index, table in enumerate(tables):
        arrays[f"history.{index}"] = _array(table)


def _add_biases(arrays: Arrays, network: HybridVae) -> None:
    """Biases and the newest time levels, where the network has either."""
    terms: dict[str, list[Tensor]] = {"user_bias": [], "item_bias": []}
    if network.config.biases:
        terms["user_bias"].append(network.user_bias)
        # The constant is added to the items' biases.
        terms["item_bias"].append(network.item_bias + network.offset)
    if network.levels is not None:
        terms["user_bias"].append(network.levels.users.at(network.levels.now))
        terms["item_bias"].append(network.levels.items.at(network.levels.now))
    arrays |= {name: _array(torch.stack(tables).sum(dim=0)) for name, tables in terms.items() if tables}


def _add_layers(arrays: Arrays, network: HybridVae) -> None:
    """Everything after the first linear layer, numbered in order of application."""
    bottleneck = network.bottleneck
    encoder, decoder = list(bottleneck.encoder.blocks), list(bottleneck.decoder.blocks)
    for index, block in enumerate(encoder + decoder):
        assert isinstance(block, Block)
        if index > 0:
            weight, bias = _folded(block)
            arrays[f"layer.{index}.weight"], arrays[f"layer.{index}.bias"] = _array(weight), _array(bias)
        if isinstance(block.norm, nn.LayerNorm):
            arrays[f"layer.{index}.gain"] = _array(block.norm.weight)
            arrays[f"layer.{index}.shift"] = _array(block.norm.bias)
    arrays["mean.weight"], arrays["mean.bias"] = _array(bottleneck.mean.weight), _array(bottleneck.mean.bias)
    # Also without draws, so that a packed model can compute the KL of any pairs.
    arrays["log_variance.weight"] = _array(bottleneck.log_variance.weight)
    arrays["log_variance.bias"] = _array(bottleneck.log_variance.bias)
    if bottleneck.draws is not None:
        arrays["draws"] = _array(bottleneck.draws)
    for index, gain in enumerate(bottleneck.gains or ()):
        arrays[f"skip.{index}"] = _array(gain)
    arrays["output.weight"] = _array(bottleneck.output.weight[0])
    arrays["output.bias"] = _array(bottleneck.output.bias)


def _add_prior(arrays: Arrays, seen: BoolArray) -> None:
    """Mean and variance of the trained users' parameters: the prior of a new user."""
    parameters = arrays["user_embedding"]
    if "start_users" in arrays:
        parameters = np.concatenate([arrays["start_users"], parameters], axis=1)
    if "user_bias" in arrays:
        parameters = np.concatenate([arrays["user_bias"][:, None], parameters], axis=1)
    parameters = parameters[seen]
    arrays["prior.mean"] = parameters.mean(axis=0).astype(np.float32)
    arrays["prior.variance"] = np.maximum(parameters.var(axis=0), 1e-8).astype(np.float32)


def _add_ordinal(arrays: Arrays, ordinal: OrdinalOutput, seen: BoolArray) -> float:
    """Levels, cutpoints and each user's sharpness; returns a new user's."""
    arrays["ordinal.levels"], arrays["ordinal.cuts"] = _array(ordinal.levels), _array(ordinal.cuts())
    if ordinal.spread is None:
        return 1.0
    arrays["ordinal.sharpness"] = _array(ordinal.spread.exp())
    return float(np.exp(_array(ordinal.spread)[seen].mean()))
