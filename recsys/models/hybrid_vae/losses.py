"""The VAE's two terms: squared error in stars, and KL to the prior (variance 1) with free bits.

Free bits (Kingma et al. 2016, arXiv:1606.04934, eq. 15): a dimension is not pushed below its share of
``free_bits``, so that the bottleneck cannot shut for a cheap prior. Taken on the batch mean of each
dimension, as there. The figure that is reported is always the plain KL.
"""

from __future__ import annotations

import torch
from torch import Tensor


def kl_by_dimension(mean: Tensor, log_variance: Tensor, prior: Tensor | None = None) -> Tensor:
    """(latent,) nats, the batch mean for each dimension. ``prior`` (batch, latent) means; None: zero."""
    off = mean if prior is None else mean - prior
    return (-0.5 * (1 + log_variance - off.square() - log_variance.exp())).mean(dim=0)


def kl_penalty(by_dimension: Tensor, free_bits: float) -> Tensor:
    """Mean over dimensions; no pull where a dimension is under its share of ``free_bits`` nats."""
    if free_bits > 0:
        by_dimension = torch.clamp(by_dimension, min=free_bits / len(by_dimension))
    return by_dimension.mean()
