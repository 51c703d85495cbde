"""Encoder to mu and log variance, a draw of z, decoder mirrored to one number (Kingma & Welling 2014).

Without noise z is mu, or each of the fixed ``draws`` that the config has prediction average over.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from recsys.models.hybrid_vae.blocks import Stack, linear
from recsys.models.hybrid_vae.config import HybridVaeConfig
from recsys.models.hybrid_vae.monte_carlo import antithetic
from recsys.models.hybrid_vae.noise import Noise


class Decoded(NamedTuple):
    """``link`` (batch,) before the sigmoid, or (draws, batch) of each draw; ``mean`` and ``log_variance``
    (batch, latent), float32."""

    link: Tensor
    mean: Tensor
    log_variance: Tensor


class Bottleneck(nn.Module):
    draws: Tensor | None

    def __init__(self, inputs: int, config: HybridVaeConfig) -> None:
        super().__init__()
        norm, share = config.normalisation, config.dropout
        self.encoder = Stack(inputs, config.hidden, normalisation=norm, share=share)
        self.mean = linear(config.hidden[-1], config.latent)
        self.log_variance = linear(config.hidden[-1], config.latent)
        self.decoder = Stack(config.latent, config.hidden[::-1], normalisation=norm, share=share)
        self.output = linear(config.hidden[0], 1)
        draws = torch.from_numpy(antithetic(config.samples, config.latent)) if config.samples else None
        self.register_buffer("draws", draws)

    def forward(self, x: Tensor, noise: Noise | None) -> Decoded:
        """``x`` (batch, inputs). Without ``noise``: no dropout, z as the config says."""
        encoded = self.encoder(x, noise)
        mean, log_variance = self.mean(encoded).float(), self.log_variance(encoded).float()
        if noise is None and self.draws is not None:
            spread = torch.exp(0.5 * log_variance)
            link = torch.stack([self.decode(mean + spread * draw, None) for draw in self.draws])
        else:
            z = mean if noise is None else mean + noise.normal(mean) * torch.exp(0.5 * log_variance)
            link = self.decode(z, noise)
        return Decoded(link, mean, log_variance)

    def decode(self, z: Tensor, noise: Noise | None) -> Tensor:
        """(batch,) link of ``z`` (batch, latent)."""
        link: Tensor = self.output(self.decoder(z, noise)).float().squeeze(1)
        return link
