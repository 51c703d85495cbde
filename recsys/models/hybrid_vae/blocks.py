"""Layers of encoder and decoder: blocks of linear, normalisation, ReLU and dropout, and stacks of them."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from recsys.models.hybrid_vae.config import Normalisation
from recsys.models.hybrid_vae.noise import Noise, dropout


def linear(inputs: int, outputs: int) -> nn.Linear:
    """A linear layer with Xavier-normal weights and zero bias, of ``inputs`` and ``outputs`` units."""
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_normal_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class Block(nn.Module):
    """Linear - normalisation - ReLU - dropout of ``share``; (batch, inputs) to (batch, outputs)."""

    def __init__(self, inputs: int, outputs: int, *, normalisation: Normalisation, share: float) -> None:
        super().__init__()
        self.linear = linear(inputs, outputs)
        self.norm: nn.Module | None = None
        if normalisation in ("batch", "batch_recalibrated"):
            self.norm = nn.BatchNorm1d(outputs)
        elif normalisation == "layer":
            self.norm = nn.LayerNorm(outputs)
        self.share = share

    def forward(self, x: Tensor, noise: Noise | None) -> Tensor:
        x = self.linear(x)
        if self.norm is not None:
            x = self.norm(x)
        return dropout(x, self.share, noise, rectify=True)


class Stack(nn.Module):
    """Blocks of ``widths`` in sequence."""

    def __init__(
        self, inputs: int, widths: Sequence[int], *, normalisation: Normalisation, share: float
    ) -> None:
        super().__init__()
        blocks = []
        for width in widths:
            blocks.append(Block(inputs, width, normalisation=normalisation, share=share))
            inputs = width
        self.blocks = nn.ModuleList(blocks)

    def outputs(self, x: Tensor, noise: Noise | None) -> list[Tensor]:
        """(batch, width) outputs of each block, in order; without ``noise`` nothing is dropped."""
        outputs = []
        for block in self.blocks:
            x = block(x, noise)
            outputs.append(x)
        return outputs

    def forward(self, x: Tensor, noise: Noise | None) -> Tensor:
        for block in self.blocks:
            x = block(x, noise)
        return x
