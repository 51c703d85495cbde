"""Counter-based random numbers: number ``i`` of a stream is a hash of the stream's key and ``i``.

SplitMix64 (Steele, Lea & Flood 2014) in 64-bit integers, so that CPU and CUDA draw the same bits, and neither
the number of threads nor the batch size changes what a rating or a row draws.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
FIRST = 0xBF58476D1CE4E5B9 - (1 << 64)
SECOND = 0x94D049BB133111EB - (1 << 64)
BITS = 23  # of a uniform number: its distances to 0 and to 1 are then exact in single precision


def uniforms(key: int, counters: Tensor) -> Tensor:
    """Uniform numbers in (0, 1), without the ends.

    Args:
        key: Of the stream, 64 bits.
        counters: int64 of any shape.

    Returns:
        Single precision, of the shape of ``counters``.
    """
    mixed = counters * GOLDEN
    mixed += key
    mixed = (mixed ^ _shifted(mixed, 30)) * FIRST
    mixed = (mixed ^ _shifted(mixed, 27)) * SECOND
    mixed = mixed ^ _shifted(mixed, 31)
    return _shifted(mixed, 64 - BITS).to(torch.float32).mul_(2.0**-BITS).add_(2.0 ** -(BITS + 1))


def normals(key: int, counters: Tensor) -> Tensor:
    """Standard normal numbers of at most 5.2 in absolute value; arguments and shape as ``uniforms``."""
    return uniforms(key, counters).mul_(2).sub_(1).erfinv_().mul_(math.sqrt(2))


def _shifted(words: Tensor, bits: int) -> Tensor:
    """Logical right shift: zeros enter from the left."""
    return (words >> bits).bitwise_and_((1 << (64 - bits)) - 1)
