"""A trained network as plain arrays, arranged for answering in numpy.

BatchNorm is folded into the linear layer before it. The first layer is split: what it says of an item
(``item_half``) is worked out here for every item, so that a request pays for one user's half and for
hidden layers only; user halves would be several times the embeddings and are made on demand.
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
    # A copy: numpy would share memory with weights that go on training.
    return np.array(tensor.detach().float().cpu().numpy(), order="C")


def _folded(block: Block) -> tuple[Tensor, Tensor]:
    """Weight (outputs, inputs) and bias with the block's BatchNorm, if any, multiplied in."""
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
    """``noise_variance`` is the squared error that fold-in expects of a rating, stars squared."""
    config, k = network.config, network.config.dot_product
    factors = config.factors
    sums = network.sums()
    arrays: Arrays = {"user_embedding": _array(network.user_embedding)}
    first: Block = network.bottleneck.encoder.blocks[0]  # type: ignore[assignment]
    weight, bias = _folded(first)
    # Columns in the order of HybridVae.forward: user, item, h, g, product, start.
    at = 2 * factors
    item_half = network.item_embedding @ weight[:, factors:at].T + bias
    item_factors = network.item_embedding[:, :k]
    arrays["first.user"] = _array(weight[:, :factors])
    if sums is not None:
        user_history, item_history = _whole_histories(network, sums)
        arrays["user_history"] = _array(user_history)
        arrays["first.user_history"] = _array(weight[:, at : at + k])
        item_half = item_half + item_history @ weight[:, at + k : at + 2 * k].T
        item_factors = item_factors + item_history
        at += 2 * k
        _add_history(arrays, network.user_history)
    if k > 0:
        arrays["item_factors"] = _array(item_factors)
        arrays["first.product"] = _array(weight[:, at : at + k])
        at += k
    if config.start != "random":
        arrays["start_users"] = _array(network.start_users)
        arrays["start_items"] = _array(network.start_items)
        arrays["first.start"] = _array(weight[:, at])
    arrays["item_half"] = _array(item_half)
    _add_biases(arrays, network)
    _add_layers(arrays, network)
    seen = np.bincount(train.users, minlength=train.user_count) > 0
    _add_prior(arrays, seen)
    sharpness = 1.0
    if network.ordinal is not None:
        sharpness = _add_ordinal(arrays, network.ordinal, seen)
    # The two tables that make a release big, at half width: a contract test bounds what rounding costs.
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


def _whole_histories(network: HybridVae, sums: Sums) -> tuple[Tensor, Tensor]:
    """h of every user and g of every item, nothing left out."""
    sides = ((network.user_history, sums.users), (network.item_history, sums.items))
    user, item = (side.pooled(total, side.count) for side, total in sides)
    return user, item


def _add_history(arrays: Arrays, side: SideHistory) -> None:
    """What each item adds to the h of somebody who rates it; attention's weights are multiplied in."""
    tables: list[Tensor] = list(side.tables)
    if side.attention is not None:
        weights = side.attention.weights()
        tables = [side.attention.by(table, weights) for table in tables]
        arrays["history.squares"] = _array(weights.square())
    for number, table in enumerate(tables):
        arrays[f"history.{number}"] = _array(table)


def _add_biases(arrays: Arrays, network: HybridVae) -> None:
    """Those of now, where time has levels; none without either."""
    parts: dict[str, list[Tensor]] = {"user_bias": [], "item_bias": []}
    if network.config.biases:
        parts["user_bias"].append(network.user_bias)
        # The constant goes with the items: one addition less.
        parts["item_bias"].append(network.item_bias + network.offset)
    if network.levels is not None:
        parts["user_bias"].append(network.levels.users.at(network.levels.now))
        parts["item_bias"].append(network.levels.items.at(network.levels.now))
    arrays |= {name: _array(torch.stack(result).sum(dim=0)) for name, result in parts.items() if result}


def _add_layers(arrays: Arrays, network: HybridVae) -> None:
    """Everything after the first linear layer, numbered in the order it is applied."""
    bottleneck = network.bottleneck
    encoder, decoder = list(bottleneck.encoder.blocks), list(bottleneck.decoder.blocks)
    for number, block in enumerate(encoder + decoder):
        assert isinstance(block, Block)
        if number > 0:
            weight, bias = _folded(block)
            arrays[f"layer.{number}.weight"], arrays[f"layer.{number}.bias"] = _array(weight), _array(bias)
        if isinstance(block.norm, nn.LayerNorm):
            arrays[f"layer.{number}.gain"] = _array(block.norm.weight)
            arrays[f"layer.{number}.shift"] = _array(block.norm.bias)
    arrays["mean.weight"], arrays["mean.bias"] = _array(bottleneck.mean.weight), _array(bottleneck.mean.bias)
    # Also where nothing is drawn: the KL of any pairs can be told from a packed model.
    arrays["log_variance.weight"] = _array(bottleneck.log_variance.weight)
    arrays["log_variance.bias"] = _array(bottleneck.log_variance.bias)
    if bottleneck.draws is not None:
        arrays["draws"] = _array(bottleneck.draws)
    for number, gain in enumerate(bottleneck.gains or ()):
        arrays[f"skip.{number}"] = _array(gain)
    arrays["output.weight"] = _array(bottleneck.output.weight[0])
    arrays["output.bias"] = _array(bottleneck.output.bias)


def _add_prior(arrays: Arrays, seen: BoolArray) -> None:
    """Mean and variance of the trained users' own parameters: what a new user is before any rating."""
    own = arrays["user_embedding"]
    if "start_users" in arrays:
        own = np.concatenate([arrays["start_users"], own], axis=1)
    if "user_bias" in arrays:
        own = np.concatenate([arrays["user_bias"][:, None], own], axis=1)
    own = own[seen]
    arrays["prior.mean"] = own.mean(axis=0).astype(np.float32)
    arrays["prior.variance"] = np.maximum(own.var(axis=0), 1e-8).astype(np.float32)


def _add_ordinal(arrays: Arrays, ordinal: OrdinalOutput, seen: BoolArray) -> float:
    """Levels, cutpoints and each user's sharpness; returns that of a new user."""
    arrays["ordinal.levels"], arrays["ordinal.cuts"] = _array(ordinal.levels), _array(ordinal.cuts())
    if ordinal.spread is None:
        return 1.0
    arrays["ordinal.sharpness"] = _array(ordinal.spread.exp())
    return float(np.exp(_array(ordinal.spread)[seen].mean()))
