"""Variational bottleneck: encoder to mu and log variance, draw of z, decoder (Kingma & Welling 2014).

With ``skip_connections`` the decoder's layer of each width also receives the encoder's output of that width
(U-Net: Ronneberger et al. 2015), times a learned gain per unit that starts at 0 (ReZero: Bachlechner et al.
2021), so that training starts at the plain network. Skip connections bypass the latent and have no KL; they
add as many parameters as the sum of the hidden widths.

Without noise z is mu, or each of the fixed ``draws`` that a prediction averages over, if configured.
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
    """The variational autoencoder of pairs, from ``inputs`` features to a link."""

    draws: Tensor | None

    def __init__(self, inputs: int, config: HybridVaeConfig) -> None:
        super().__init__()
        norm, share = config.normalisation, config.dropout
        self.encoder = Stack(inputs, config.hidden, normalisation=norm, share=share)
        self.mean = linear(config.hidden[-1], config.latent)
        self.log_variance = linear(config.hidden[-1], config.latent)
        self.decoder = Stack(config.latent, config.hidden[::-1], normalisation=norm, share=share)
        self.output = linear(config.hidden[0], 1)
        self.gains: nn.ParameterList | None = None
        if config.skip_connections:
            self.gains = nn.ParameterList([nn.Parameter(torch.zeros(w)) for w in config.hidden[::-1]])
        draws = torch.from_numpy(antithetic(config.samples, config.latent)) if config.samples else None
        self.register_buffer("draws", draws)

    def forward(self, x: Tensor, noise: Noise | None) -> Decoded:
        """Encodes and decodes a batch.

        Args:
            x: (batch, inputs).
            noise: Of dropout and z; None in evaluation.

        Returns:
            The link, and mean and log variance of the posterior.
        """
        layers = self.encoder.outputs(x, noise)
        encoded = layers[-1]
        mean, log_variance = self.mean(encoded).float(), self.log_variance(encoded).float()
        if noise is None and self.draws is not None:
            deviation = torch.exp(0.5 * log_variance)
            link = torch.stack([self.decode(mean + deviation * draw, None, layers) for draw in self.draws])
        else:
            z = mean if noise is None else mean + noise.normal(mean) * torch.exp(0.5 * log_variance)
            link = self.decode(z, noise, layers)
        return Decoded(link, mean, log_variance)

    def decode(self, z: Tensor, noise: Noise | None, encoded: list[Tensor]) -> Tensor:
        """Decodes a latent.

        Args:
            z: (batch, latent).
            noise: Of dropout; None in evaluation.
            encoded: Outputs of the encoder's layers, for skip connections.

        Returns:
            (batch,) link.
        """
        if self.gains is None:
            return self._output(self.decoder(z, noise))
        for block, gain, layer in zip(self.decoder.blocks, self.gains, encoded[::-1], strict=True):
            z = block(z, noise) + gain * layer
        return self._output(z)

    def _output(self, decoded: Tensor) -> Tensor:
        link: Tensor = self.output(decoded).float().squeeze(1)
        return link
