"""Encoder to mu and log variance, a draw of z, decoder mirrored to one number (Kingma & Welling 2014)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from recsys.models.hybrid_vae.blocks import Stack, linear
from recsys.models.hybrid_vae.config import HybridVaeConfig
from recsys.models.hybrid_vae.noise import Noise


class Decoded(NamedTuple):
    """``link`` (batch,) before the sigmoid; ``mean`` and ``log_variance`` (batch, latent), float32."""

    link: Tensor
    mean: Tensor
    log_variance: Tensor


class Bottleneck(nn.Module):
    def __init__(self, inputs: int, config: HybridVaeConfig) -> None:
        super().__init__()
        norm, share = config.normalisation, config.dropout
        self.encoder = Stack(inputs, config.hidden, normalisation=norm, share=share)
        self.mean = linear(config.hidden[-1], config.latent)
        self.log_variance = linear(config.hidden[-1], config.latent)
        self.decoder = Stack(config.latent, config.hidden[::-1], normalisation=norm, share=share)
        self.output = linear(config.hidden[0], 1)

    def forward(self, x: Tensor, noise: Noise | None) -> Decoded:
        """``x`` (batch, inputs). Without ``noise``: no dropout, z = mu."""
        encoded = self.encoder(x, noise)
        mean, log_variance = self.mean(encoded).float(), self.log_variance(encoded).float()
        z = mean if noise is None else mean + noise.normal(mean) * torch.exp(0.5 * log_variance)
        link = self.output(self.decoder(z, noise)).float().squeeze(1)
        return Decoded(link, mean, log_variance)
