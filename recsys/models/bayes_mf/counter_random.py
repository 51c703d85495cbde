"""Random numbers by counter: number ``i`` of a stream is a hash of the stream's key and ``i``.

SplitMix64 (Steele, Lea & Flood 2014) in 64-bit integers, so that CPU and CUDA have the same bits, and so that
neither the number of threads nor the size of batches changes what a rating or a row draws.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
FIRST = 0xBF58476D1CE4E5B9 - (1 << 64)
SECOND = 0x94D049BB133111EB - (1 << 64)
BITS = 23  # a uniform's: its distance to 0 and to 1 is then exact in single precision


def uniforms(key: int, counters: Tensor) -> Tensor:
    """Single precision numbers in (0, 1), both ends left out, in the shape of ``counters`` (int64)."""
    mixed = counters * GOLDEN
    mixed += key
    mixed = (mixed ^ _shifted(mixed, 30)) * FIRST
    mixed = (mixed ^ _shifted(mixed, 27)) * SECOND
    mixed = mixed ^ _shifted(mixed, 31)
    return _shifted(mixed, 64 - BITS).to(torch.float32).mul_(2.0**-BITS).add_(2.0 ** -(BITS + 1))


def normals(key: int, counters: Tensor) -> Tensor:
    """Standard normal numbers, at most 5.2 from 0, in the shape of ``counters`` (int64)."""
    return uniforms(key, counters).mul_(2).sub_(1).erfinv_().mul_(math.sqrt(2))


def _shifted(words: Tensor, places: int) -> Tensor:
    """To the right, zeros from the left."""
    return (words >> places).bitwise_and_((1 << (64 - places)) - 1)
