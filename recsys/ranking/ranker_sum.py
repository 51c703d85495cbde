"""Weighted sum of rankers as a single ranker: matrices are added and factors concatenated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from numpy.typing import NDArray

from recsys.ranking.ranker import NETWORK, Ranker
from recsys.ranking.sparse_links import link_arrays
from recsys.types import Arrays, JsonObject


def sum_rankers(
    parts: Sequence[tuple[Ranker, float]], *, family: str, settings: JsonObject | None = None
) -> Ranker:
    """A ranker whose scores are the weighted sum of those of ``parts``.

    Args:
        parts: Rankers over the same items and users, each with a weight above 0. A prior is not summed:
            add it to the result (``with_prior``).
        family: Name of the result.
        settings: Of the result; the blocks of factors are added.

    Returns:
        The blend: at most one dense or one sparse item-to-item matrix, and all factors concatenated.

    Raises:
        ValueError: With no parts.
    """
    if not parts:
        raise ValueError("a sum of no rankers, expected at least one")
    arrays: Arrays = {}
    blocks: list[JsonObject] = []
    factors, grams, users = [], [], []
    links: sp.csr_matrix | None = None
    for ranker, weight in parts:
        if ranker.has("weights"):
            _accumulate(arrays, "weights", ranker.arrays["weights"], weight)
        if ranker.has("base"):
            _accumulate(arrays, "base", ranker.arrays["base"], weight)
        if ranker.has("links_ends"):
            scaled = ranker.links * np.float32(weight)
            links = scaled if links is None else links + scaled
        if ranker.has("factors"):
            factors.append(ranker.arrays["factors"])
            gram = ranker.arrays["gram"]
            for block in ranker.blocks:
                columns = slice(block.start, block.stop)
                grams.append(gram[columns, columns])
                scaled_block: JsonObject = {
                    "width": block.stop - block.start,
                    "share": block.share * weight,
                    "weight": block.weight,
                    "ridge": block.ridge,
                }
                if block.network is not None:
                    name = scaled_block["network"] = f"{NETWORK}{len(blocks)}"
                    network = ranker.network(block.network)
                    arrays |= {f"{name}_{key}": array for key, array in network.items()}
                blocks.append(scaled_block)
            if "users" in ranker.arrays:
                users.append(np.float32(weight) * ranker.arrays["users"])
    if links is not None:
        if "weights" in arrays:
            arrays["weights"] += links.toarray()
        else:
            links.sort_indices()
            arrays |= link_arrays(links.tocsr())
    settings = dict(settings or {})
    if factors:
        arrays["factors"] = np.concatenate(factors, axis=1)
        arrays["gram"] = scipy.linalg.block_diag(*grams).astype(np.float32)
        if len(users) == len(factors):
            arrays["users"] = np.concatenate(users, axis=1)
        settings["blocks"] = blocks
    return Ranker(family, settings, arrays)


def with_prior(ranker: Ranker, prior: Arrays, newcomers: float) -> Ranker:
    """Adds a popularity prior to a ranker that folds users in.

    Args:
        ranker: Without a prior.
        prior: ``prior`` (items,), at most 1, by name.
        newcomers: Ratings that the prior weighs as much as; 0 adds nothing.

    Returns:
        The ranker with the prior, or as it was.
    """
    if newcomers <= 0 or not ranker.folds_in:
        return ranker
    return Ranker(ranker.family, ranker.settings | {"newcomers": newcomers}, ranker.arrays | prior)


def _accumulate(arrays: Arrays, name: str, array: NDArray[np.float32], weight: float) -> None:
    scaled = np.float32(weight) * np.asarray(array, dtype=np.float32)
    arrays[name] = scaled if name not in arrays else arrays[name] + scaled
