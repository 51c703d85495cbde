"""Layers of a packed network in numpy: forward for scores, backward for the derivatives of fold-in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.types import Arrays

Matrix = NDArray[np.float32]
EPSILON = np.float32(1e-5)  # torch's LayerNorm default
INVERSE_ROOT = np.float32(-0.5)


@dataclass(frozen=True)
class Trace:
    """What a layer's derivative needs: where ReLU was active, and LayerNorm's output and scale."""

    active: NDArray[np.bool_]
    normalised: Matrix | None
    inverse: Matrix | None


class NumpyLayers:
    """Everything after the first linear layer of the encoder, whose sum is the input.

    Batches are ten to a hundred rows, where overheads cost as much as the arithmetic. So weights are stored
    transposed, (in, out), which halves the time of a product of 16 rows, and those before a LayerNorm are
    centred over their outputs, so that its input has mean 0.
    """

    def __init__(self, arrays: Arrays, depth: int) -> None:
        """
        Args:
            arrays: Of the packed network.
            depth: Hidden layers of the encoder, and of the decoder.
        """
        self.depth = depth
        # Layer 0 has no weight here: its sum is the input.
        self.gains = [arrays.get(f"layer.{index}.gain") for index in range(2 * depth)]
        self.shifts = [arrays.get(f"layer.{index}.shift") for index in range(2 * depth)]
        # By decoder layer: the gain of the encoder's output of that width (skip connections).
        self.skips = [arrays.get(f"skip.{index}") for index in range(depth)]
        self.weights: list[Matrix] = []
        self.biases: list[Matrix] = []
        for index in range(1, 2 * depth):
            weight, bias = arrays[f"layer.{index}.weight"], arrays[f"layer.{index}.bias"]
            if self.gains[index] is not None:
                weight, bias = weight - weight.mean(axis=0), bias - bias.mean()
            self.weights.append(weight)
            self.biases.append(bias)
        self.transposed = [_transposed(weight) for weight in self.weights]
        # A row's mean as a product with these, which is several times as fast as a sum for so few rows.
        self.shares = None if self.gains[0] is None else np.full_like(self.gains[0], 1 / len(self.gains[0]))
        self.mean_weight, self.mean_bias = arrays["mean.weight"], arrays["mean.bias"]
        self.mean_transposed = _transposed(self.mean_weight)
        self.draws = arrays.get("draws")
        self.has_log_variance = "log_variance.weight" in arrays  # not in older members without draws
        if self.has_log_variance:
            self.log_variance_transposed = _transposed(arrays["log_variance.weight"])
            self.log_variance_bias = arrays["log_variance.bias"]
        self.output_weight, self.output_bias = arrays["output.weight"], arrays["output.bias"]

    def forward(self, x: Matrix, traces: list[Trace] | None = None) -> Matrix:
        """Decoder output at z = mean.

        Args:
            x: (n, width) sums of the first layer; may be overwritten.
            traces: Filled for ``backward``; None: not needed.

        Returns:
            (n,).
        """
        encoded: list[Matrix] = []
        x = self._run(x, range(self.depth), traces, encoded)
        return self._decode(x @ self.mean_transposed + self.mean_bias, traces, encoded)

    def forward_draws(self, x: Matrix) -> Matrix:
        """(draws, n) decoder outputs at each packed draw of z; ``x`` as for ``forward``."""
        assert self.draws is not None
        mean, log_variance, encoded = self._latent(x)
        deviation = np.exp(np.float32(0.5) * log_variance)
        return np.stack([self._decode(mean + deviation * draw, None, encoded) for draw in self.draws])

    def kl(self, x: Matrix) -> Matrix:
        """(n,) KL to the standard normal, nats, mean over latent dimensions; ``x`` as for ``forward``."""
        mean, log_variance, _ = self._latent(x)
        kl: Matrix = np.float32(-0.5) * (1 + log_variance - mean**2 - np.exp(log_variance)).mean(axis=1)
        return kl

    def _latent(self, x: Matrix) -> tuple[Matrix, Matrix, list[Matrix]]:
        """Mean and log variance (n, latent) of z, and the outputs of the encoder's layers."""
        encoded: list[Matrix] = []
        x = self._run(x, range(self.depth), None, encoded)
        mean = x @ self.mean_transposed + self.mean_bias
        return mean, x @ self.log_variance_transposed + self.log_variance_bias, encoded

    def _decode(self, z: Matrix, traces: list[Trace] | None, encoded: list[Matrix]) -> Matrix:
        """(n,) decoder output for ``z`` (n, latent)."""
        link: Matrix = self._run(z, range(self.depth, 2 * self.depth), traces, encoded) @ self.output_weight
        return link + self.output_bias

    def _run(self, x: Matrix, layers: range, traces: list[Trace] | None, encoded: list[Matrix]) -> Matrix:
        """(n, width) after ``layers``; those of the encoder append to ``encoded``, the decoder's read it."""
        for index in layers:
            if index > 0:
                x = x @ self.transposed[index - 1]
                x += self.biases[index - 1]
            elif self.shares is not None:
                x -= np.vecdot(x, self.shares)[:, None]
            normalised = inverse = None
            gain, shift = self.gains[index], self.shifts[index]
            if gain is not None and shift is not None:
                inverse = (np.vecdot(x, x) / np.float32(x.shape[1]) + EPSILON)[:, None] ** INVERSE_ROOT
                x *= inverse
                normalised = None if traces is None else x.copy()
                x *= gain
                x += shift
            if traces is not None:
                traces.append(Trace(x > 0, normalised, inverse))
            np.maximum(x, 0, out=x)
            if index < self.depth:
                encoded.append(x)
            elif (skip := self.skips[index - self.depth]) is not None:
                x += skip * encoded[2 * self.depth - 1 - index]
        return x

    def backward(self, traces: list[Trace]) -> Matrix:
        """(n, width) derivatives of the output by the first layer's sums, from ``traces`` of ``forward``."""
        slope: Any = self.output_weight[None, :]
        skipped: dict[int, Any] = {}  # derivatives by encoder layers through skip connections
        for index in reversed(range(2 * self.depth)):
            trace, gain = traces[index], self.gains[index]
            if index in skipped:
                slope = slope + skipped[index]
            elif index >= self.depth and (skip := self.skips[index - self.depth]) is not None:
                skipped[2 * self.depth - 1 - index] = slope * skip
            slope = slope * trace.active
            if gain is not None:
                assert trace.normalised is not None
                slope *= gain
                projection = np.vecdot(slope, trace.normalised) / np.float32(len(gain))
                slope -= trace.normalised * projection[:, None]
                slope *= trace.inverse
            if index > 0:
                slope = slope @ self.weights[index - 1]
            if index == self.depth:
                slope = slope @ self.mean_weight
        if self.shares is not None:  # the weights of later layers are centred already
            slope -= np.vecdot(slope, self.shares)[:, None]
        result: Matrix = slope
        return result


def _transposed(weight: Matrix) -> Matrix:
    return np.ascontiguousarray(weight.T)
