"""The bottleneck in numpy: forward for scores, backward for fold-in's derivatives."""

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
    """What a layer's derivative needs: where ReLU let through, and LayerNorm's parts."""

    open: NDArray[np.bool_]
    normalised: Matrix | None
    inverse: Matrix | None


class NumpyLayers:
    """Everything after the first linear layer of the encoder, whose sum arrives as input.

    Scores are asked for ten to a hundred rows at a time, where what surrounds the arithmetic costs as much
    as it does. So weights are kept turned, (in, out): a product of 16 rows takes half the time. And those
    before a LayerNorm are centred over their outputs, which takes the mean out of its input once for all.
    """

    def __init__(self, arrays: Arrays, depth: int) -> None:
        """``depth`` hidden layers in the encoder, and as many in the decoder."""
        self.depth = depth
        # The first layer's sum arrives finished: number 0 has no weight here.
        self.gains = [arrays.get(f"layer.{number}.gain") for number in range(2 * depth)]
        self.shifts = [arrays.get(f"layer.{number}.shift") for number in range(2 * depth)]
        # By decoder layer: the gain of the encoder's output of that width (skip connections).
        self.skips = [arrays.get(f"skip.{number}") for number in range(depth)]
        self.weights: list[Matrix] = []
        self.biases: list[Matrix] = []
        for number in range(1, 2 * depth):
            weight, bias = arrays[f"layer.{number}.weight"], arrays[f"layer.{number}.bias"]
            if self.gains[number] is not None:
                weight, bias = weight - weight.mean(axis=0), bias - bias.mean()
            self.weights.append(weight)
            self.biases.append(bias)
        self.transposed = [_transposed(weight) for weight in self.weights]
        # A row's mean is its product with these: a few times faster than a sum for so few rows.
        self.shares = None if self.gains[0] is None else np.full_like(self.gains[0], 1 / len(self.gains[0]))
        self.mean_weight, self.mean_bias = arrays["mean.weight"], arrays["mean.bias"]
        self.mean_turned = _transposed(self.mean_weight)
        self.draws = arrays.get("draws")
        self.has_log_variance = "log_variance.weight" in arrays  # older members that do not draw have none
        if self.has_log_variance:
            self.spread_turned = _transposed(arrays["log_variance.weight"])
            self.spread_bias = arrays["log_variance.bias"]
        self.output_weight, self.output_bias = arrays["output.weight"], arrays["output.bias"]

    def forward(self, x: Matrix, traces: list[Trace] | None = None) -> Matrix:
        """(n,) decoder output for first-layer sums ``x`` (n, width), which may be overwritten; z = mean."""
        encoded: list[Matrix] = []
        x = self._run(x, range(self.depth), traces, encoded)
        return self._decode(x @ self.mean_turned + self.mean_bias, traces, encoded)

    def drawn(self, x: Matrix) -> Matrix:
        """(draws, n) decoder outputs, one for each packed draw of z."""
        assert self.draws is not None
        mean, log_variance, encoded = self._latent(x)
        spread = np.exp(np.float32(0.5) * log_variance)
        return np.stack([self._decode(mean + spread * draw, None, encoded) for draw in self.draws])

    def kl(self, x: Matrix) -> Matrix:
        """(n,) nats to the standard normal, mean over latent dimensions; ``x`` as for ``forward``."""
        mean, log_variance, _ = self._latent(x)
        kl: Matrix = np.float32(-0.5) * (1 + log_variance - mean**2 - np.exp(log_variance)).mean(axis=1)
        return kl

    def _latent(self, x: Matrix) -> tuple[Matrix, Matrix, list[Matrix]]:
        """Mean and log variance (n, latent) of z, and the encoder's outputs."""
        encoded: list[Matrix] = []
        x = self._run(x, range(self.depth), None, encoded)
        return x @ self.mean_turned + self.mean_bias, x @ self.spread_turned + self.spread_bias, encoded

    def _decode(self, z: Matrix, traces: list[Trace] | None, encoded: list[Matrix]) -> Matrix:
        """(n,) for ``z`` (n, latent)."""
        link: Matrix = self._run(z, range(self.depth, 2 * self.depth), traces, encoded) @ self.output_weight
        return link + self.output_bias

    def _run(self, x: Matrix, numbers: range, traces: list[Trace] | None, encoded: list[Matrix]) -> Matrix:
        """(n, width) after the layers ``numbers``; the encoder's fill ``encoded``, the decoder's read it."""
        for number in numbers:
            if number > 0:
                x = x @ self.transposed[number - 1]
                x += self.biases[number - 1]
            elif self.shares is not None:
                x -= np.vecdot(x, self.shares)[:, None]
            normalised = inverse = None
            gain, shift = self.gains[number], self.shifts[number]
            if gain is not None and shift is not None:
                inverse = (np.vecdot(x, x) / np.float32(x.shape[1]) + EPSILON)[:, None] ** INVERSE_ROOT
                x *= inverse
                normalised = None if traces is None else x.copy()
                x *= gain
                x += shift
            if traces is not None:
                traces.append(Trace(x > 0, normalised, inverse))
            np.maximum(x, 0, out=x)
            if number < self.depth:
                encoded.append(x)
            elif (skip := self.skips[number - self.depth]) is not None:
                x += skip * encoded[2 * self.depth - 1 - number]
        return x

    def backward(self, traces: list[Trace]) -> Matrix:
        """(n, width) derivatives of the output by the first layer's sums."""
        slope: Any = self.output_weight[None, :]
        skipped: dict[int, Any] = {}  # derivatives by encoder layers, past the latent
        for number in reversed(range(2 * self.depth)):
            trace, gain = traces[number], self.gains[number]
            if number in skipped:
                slope = slope + skipped[number]
            elif number >= self.depth and (skip := self.skips[number - self.depth]) is not None:
                skipped[2 * self.depth - 1 - number] = slope * skip
            slope = slope * trace.open
            if gain is not None:
                assert trace.normalised is not None
                slope *= gain
                along = np.vecdot(slope, trace.normalised) / np.float32(len(gain))
                slope -= trace.normalised * along[:, None]
                slope *= trace.inverse
            if number > 0:
                slope = slope @ self.weights[number - 1]
            if number == self.depth:
                slope = slope @ self.mean_weight
        if self.shares is not None:  # later layers' weights are centred already
            slope -= np.vecdot(slope, self.shares)[:, None]
        result: Matrix = slope
        return result


def _transposed(weight: Matrix) -> Matrix:
    return np.ascontiguousarray(weight.T)
