"""Every dial of the hybrid VAE. The defaults are the owner's proven formula, exactly.

An option that the formula does not have is off by default; each field says meaning, unit, off-value.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from recsys.models.fields import require

Normalisation = Literal["batch", "batch_recalibrated", "layer", "none"]
HistoryKind = Literal["none", "implicit", "ratings", "attended"]
KlSchedule = Literal["constant", "cosine"]
Start = Literal["random", "factorisation"]
RateSchedule = Literal["plateau", "cosine", "constant"]
OutputKind = Literal["gaussian", "ordinal", "ordinal_by_user"]
Prior = Literal["standard", "features"]
Time = Literal["none", "levels"]


@dataclass(frozen=True)
class HybridVaeConfig:
    # Capacity.
    factors: int = 150  # width of a user's and of an item's embedding
    hidden: tuple[int, ...] = (512, 256, 128)  # encoder widths; the decoder mirrors them
    latent: int = 64  # width of mu, log variance and z

    # Structure: the repaired form.
    biases: bool = False  # add offset + user bias + item bias before the sigmoid
    dot_product: int = 0  # add (p + h).(q + g) over the first so many embedding dimensions; 0 = off
    history: HistoryKind = "none"  # h and g: sums over a user's other items and an item's other users
    history_limit: int = 0  # at most so many ratings of a row in its history, the newest; 0 = all
    attention_heads: int = 4  # of an "attended" history (``attention.py``); they share dot_product evenly
    skip_connections: bool = (
        False  # add each encoder layer to the decoder layer of its width (``bottleneck.py``)
    )
    normalisation: Normalisation = "batch"  # after each hidden linear layer
    embedding_scale: float = 0.1  # standard deviation of the embeddings' start

    # How old the item and how long here the user is, when the rating is given (``levels.py``). "none" = off.
    time: Time = "none"

    # What a rating is: a squared error in stars, or the likelihood of ordered levels (``ordinal.py``);
    # ``ordinal_by_user`` also learns how widely each user spreads their ratings. ``gaussian`` = off.
    output: OutputKind = "gaussian"

    # The latent's prior: a standard normal, or centred by the pair's genres and demographics (``prior.py``).
    latent_prior: Prior = "standard"

    # Draws of z whose stars a prediction averages, in place of z = mean (``draws.py``); even; 0 = off.
    samples: int = 0

    # Initialisation from a factorisation (Bayesian MF on train); the VAE learns what it leaves over.
    start: Start = "random"
    start_factors: int = 20  # of the sampler's vectors
    start_rank: int = 32  # columns of the tables that hold its posterior mean, biases included
    start_sweeps: int = 160  # of the sampler

    # Regularisation.
    dropout: float = 0.4  # after hidden layers; half of it on the embeddings; 0 = off
    weight_decay: float = 3e-5  # coupled into Adam's gradient; 0 = off

    # The KL term (mean over latent dimensions, nats).
    kl_weight: float = 0.01  # of the constant schedule
    kl_schedule: KlSchedule = "constant"
    kl_start: float = 0.005  # cosine schedule: weight at the first step
    kl_end: float = 0.012  # cosine schedule: weight at the last step
    free_bits: float = 0.0  # nats, total over the latent, below which KL is not pushed; 0 = off

    # Optimisation.
    batch_size: int = 2048
    learning_rate: float = 5e-4
    learning_rate_schedule: RateSchedule = "plateau"
    plateau_patience: int = 5  # epochs without a better valid loss before the rate is halved
    warmup_epochs: int = 0  # of linear ramp, at most a quarter of the run; 0 = off
    warmup_start: int = 0  # epoch at which that ramp begins (moved by a contingency)
    gradient_clip: float = 1.0  # largest gradient norm; 0 = off
    patience: int = 15  # epochs without a better valid rmse before the trial stops

    # Weight averaging.
    swa_start: float = 1.0  # share of the run after which weights are averaged; 1 = off
    swa_learning_rate: float = 1e-4  # from then on
    ema_decay: float = 0.0  # of an exponential average over steps; 0 = off

    def __post_init__(self) -> None:
        require(self.factors >= 1 and self.latent >= 1, "hybrid_vae.factors and .latent must be at least 1")
        require(
            len(self.hidden) >= 1 and min(self.hidden, default=0) >= 1,
            f"hybrid_vae.hidden is {list(self.hidden)}, expected at least one width of 1 or more",
        )
        require(
            0 <= self.dot_product <= self.factors,
            f"hybrid_vae.dot_product is {self.dot_product}, expected 0 (off) to factors ({self.factors})",
        )
        require(
            self.history == "none" or self.dot_product > 0,
            f"hybrid_vae.history {self.history!r} adds to the dot product: set dot_product above 0 too",
        )
        require(
            self.history != "attended"
            or (self.attention_heads >= 1 and self.dot_product % self.attention_heads == 0),
            f"hybrid_vae.attention_heads is {self.attention_heads}, expected 1 or more that divide "
            f"dot_product ({self.dot_product})",
        )
        require(
            self.samples >= 0 and self.samples % 2 == 0,
            f"hybrid_vae.samples is {self.samples}, expected 0 (off) or an even number: draws come in pairs",
        )
        require(
            self.start_factors >= 1 and self.start_rank >= 1 and self.start_sweeps >= 4,
            "hybrid_vae.start_factors and .start_rank must be at least 1, .start_sweeps at least 4",
        )
        require(0 <= self.dropout < 1, f"hybrid_vae.dropout is {self.dropout}, expected 0 to below 1")
        require(self.batch_size >= 2, f"hybrid_vae.batch_size is {self.batch_size}, expected 2 or more")
        require(0 < self.swa_start <= 1, f"hybrid_vae.swa_start is {self.swa_start}, expected above 0 to 1")
        require(0 <= self.ema_decay < 1, f"hybrid_vae.ema_decay is {self.ema_decay}, expected 0 to below 1")
        require(self.patience >= 1 and self.plateau_patience >= 0, "hybrid_vae.patience must be at least 1")
        for name in (
            "learning_rate",
            "weight_decay",
            "kl_weight",
            "kl_start",
            "kl_end",
            "free_bits",
            "gradient_clip",
            "warmup_epochs",
            "warmup_start",
            "history_limit",
            "embedding_scale",
        ):
            value = getattr(self, name)
            require(
                math.isfinite(value) and value >= 0,
                f"hybrid_vae.{name} is {value}, expected 0 or more",
            )

    @property
    def averages(self) -> bool:
        """Whether prediction uses averaged weights."""
        return self.swa_start < 1 or self.ema_decay > 0

    def highest_kl_weight(self) -> float:
        """The largest KL weight that any step of the schedule uses."""
        return self.kl_weight if self.kl_schedule == "constant" else max(self.kl_start, self.kl_end)
