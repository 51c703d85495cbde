"""KL term of the VAE, to a prior of variance 1, with free bits.

Free bits (Kingma et al. 2016, arXiv:1606.04934, eq. 15): a dimension's KL is not reduced below its share of
``free_bits``, which prevents posterior collapse. As there, on the batch mean of each dimension. Reported
figures are always the plain KL.
"""

from __future__ import annotations

import torch
from torch import Tensor


def kl_by_dimension(mean: Tensor, log_variance: Tensor, prior: Tensor | None = None) -> Tensor:
    """KL of each latent dimension, averaged over a batch.

    Args:
        mean: (batch, latent) of the posterior.
        log_variance: (batch, latent) of the posterior.
        prior: (batch, latent) means of the prior; None: zero.

    Returns:
        (latent,) nats.
    """
    distance = mean if prior is None else mean - prior
    return (-0.5 * (1 + log_variance - distance.square() - log_variance.exp())).mean(dim=0)


def kl_penalty(by_dimension: Tensor, free_bits: float) -> Tensor:
    """Mean KL over dimensions, with free bits.

    Args:
        by_dimension: (latent,) nats.
        free_bits: Nats, total; a dimension below its share has no gradient.
    """
    if free_bits > 0:
        by_dimension = torch.clamp(by_dimension, min=free_bits / len(by_dimension))
    return by_dimension.mean()
