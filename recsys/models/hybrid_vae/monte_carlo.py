"""Prediction as an average over z, since stars are no linear function of it (Kingma & Welling 2014, eq. 8).

Without, z is its posterior's mean. With draws e_s of a standard normal, the stars of z_s = mean + sd e_s are
averaged over s. The draws are the same for every pair and packed with the member (common random numbers), so
that an answer is always the same and two items differ by what is known of them; they come in pairs of
opposite sign (antithetic: Hammersley & Morton 1956), so that what is linear in z averages to the mean's.
Training does not read them, and folding in fits a user at z = mean.

A prediction passes the decoder once for each draw, and serving pays for it: 300 candidates take 1.1 ms of
one core at z = mean, 4.0 with 8 draws, 7.5 with 16 (hidden 256-128; the formula's widths: 3.5, 14, 26). On
ML-100K u1 it moved rmse on valid by less than 0.0003 either way, with 2 to 32 draws.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SEED = 20_130_713


def antithetic(samples: int, latent: int) -> NDArray[np.float32]:
    """(samples, latent) draws whose second half is the first with opposite sign."""
    half = np.random.default_rng(SEED).standard_normal((samples // 2, latent), dtype=np.float32)
    return np.concatenate([half, -half])
