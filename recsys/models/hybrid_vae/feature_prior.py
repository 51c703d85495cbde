"""Conditional prior of the latent, centred by genres and demographics: the top level of a hierarchical VAE.

p(z | pair) = N(f_user W_user + f_item W_item, 1), with W learned from 0, the standard normal (Sohn, Lee & Yan
2015, section 4). Pairs of a genre share their common part in the prior, and the KL counts only what a pair's
z adds. Prediction uses the posterior mean and does not read it.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recsys.data.split import TrainingData
from recsys.models.hybrid_vae.gather import gather


class FeaturePrior(nn.Module):
    """Prior means of pairs."""

    def __init__(self, data: TrainingData, latent: int) -> None:
        super().__init__()
        self.sides = [side for side in ("user", "item") if getattr(data, f"{side}_features") is not None]
        for side in self.sides:
            features = unit_rows(getattr(data, f"{side}_features"))
            self.register_buffer(f"{side}_rows", torch.from_numpy(features), persistent=False)
            self.register_parameter(side, nn.Parameter(torch.zeros(features.shape[1], latent)))

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """(batch, latent) prior means for the rows ``users`` (batch,) and ``items`` (batch,)."""
        rows = {"user": users, "item": items}
        terms = [
            gather(self.get_buffer(f"{side}_rows"), rows[side]) @ self.get_parameter(side)
            for side in self.sides
        ]
        return torch.stack(terms).sum(dim=0)


def unit_rows(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """``features`` (n, columns) scaled to unit length, so that a film of four genres weighs as much as one
    of a single genre; zeros stay zeros."""
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(features / np.maximum(length, 1e-6), dtype=np.float32)
