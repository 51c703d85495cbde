"""Hyperparameters of the hybrid VAE. The defaults are exactly the owner's proven formula.

Options that the formula lacks are off by default; each field states its meaning, unit and off-value.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from recsys.models.family_config import Share, family_config, require

Normalisation = Literal["batch", "batch_recalibrated", "layer", "none"]
HistoryKind = Literal["none", "implicit", "ratings", "attended"]
KlSchedule = Literal["constant", "cosine"]
Start = Literal["random", "factorisation"]
RateSchedule = Literal["plateau", "cosine", "constant"]
OutputKind = Literal["gaussian", "ordinal", "ordinal_by_user"]
Prior = Literal["standard", "features"]
Time = Literal["none", "levels"]
Widths = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]


@family_config("hybrid_vae")
class HybridVaeConfig:
    """Hyperparameters by topic."""

    # Capacity.
    factors: PositiveInt = 150  # width of a user's and of an item's embedding
    hidden: Widths = (512, 256, 128)  # encoder widths; the decoder mirrors them
    latent: PositiveInt = 64  # width of mu, log variance and z

    # Structure: the repaired form.
    biases: bool = False  # add offset + user bias + item bias before the sigmoid
    dot_product: NonNegativeInt = 0  # dimensions over which (p + h).(q + g) is added; 0 = off
    history: HistoryKind = "none"  # h and g: sums over a user's other items and an item's other users
    history_limit: NonNegativeInt = 0  # newest ratings of a row in its history, at most; 0 = all
    attention_heads: int = 4  # of an "attended" history (``attention.py``); they share dot_product evenly
    skip_connections: bool = False  # encoder layers to decoder layers of their width (``bottleneck.py``)
    normalisation: Normalisation = "batch"  # after each hidden linear layer
    embedding_scale: NonNegativeFloat = 0.1  # standard deviation of the initial embeddings

    # Ages of the item and of the user's membership when a rating is given (``time_levels.py``). "none" = off.
    time: Time = "none"

    # Observation model: squared error in stars, or the likelihood of ordered levels (``ordinal.py``);
    # ``ordinal_by_user`` also learns the width of each user's ratings. ``gaussian`` = off.
    output: OutputKind = "gaussian"

    # The latent's prior: a standard normal, or centred by genres and demographics (``feature_prior.py``).
    latent_prior: Prior = "standard"

    # Draws of z that a prediction averages over, instead of z = mean (``monte_carlo.py``); even; 0 = off.
    samples: NonNegativeInt = 0

    # Initialisation from a factorisation (Bayesian MF on train); the VAE learns its residuals.
    start: Start = "random"
    start_factors: PositiveInt = 20  # of the sampler's vectors
    start_rank: PositiveInt = 32  # columns of the tables of its posterior mean, biases included
    start_sweeps: Annotated[int, Field(ge=4)] = 160  # of the sampler

    # Regularisation.
    dropout: Share = 0.4  # after hidden layers; half of it on the embeddings; 0 = off
    weight_decay: NonNegativeFloat = 3e-5  # coupled into Adam's gradient; 0 = off

    # The KL term (mean over latent dimensions, nats).
    kl_weight: NonNegativeFloat = 0.01  # of the constant schedule
    kl_schedule: KlSchedule = "constant"
    kl_start: NonNegativeFloat = 0.005  # cosine schedule: weight at the first step
    kl_end: NonNegativeFloat = 0.012  # cosine schedule: weight at the last step
    free_bits: NonNegativeFloat = 0.0  # nats, total over the latent, below which KL is not reduced; 0 = off

    # Optimisation.
    batch_size: Annotated[int, Field(ge=2)] = 2048
    learning_rate: NonNegativeFloat = 5e-4
    learning_rate_schedule: RateSchedule = "plateau"
    plateau_patience: NonNegativeInt = 5  # epochs without a better valid loss before the rate is halved
    warmup_epochs: NonNegativeInt = 0  # of linear ramp, at most a quarter of the run; 0 = off
    warmup_start: NonNegativeInt = 0  # epoch at which that ramp begins (set by a recovery)
    gradient_clip: NonNegativeFloat = 1.0  # largest gradient norm; 0 = off
    patience: PositiveInt = 15  # epochs without a better valid rmse before the trial stops

    # Weight averaging.
    swa_start: Annotated[float, Field(gt=0, le=1)] = 1.0  # share of the run before averaging; 1 = off
    swa_learning_rate: NonNegativeFloat = 1e-4  # during averaging
    ema_decay: Share = 0.0  # of an exponential average over steps; 0 = off

    def __post_init__(self) -> None:
        require(
            self.dot_product <= self.factors,
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
            self.samples % 2 == 0,
            f"hybrid_vae.samples is {self.samples}, expected 0 (off) or an even number: draws come in pairs",
        )

    @property
    def averages(self) -> bool:
        """Whether prediction uses averaged weights."""
        return self.swa_start < 1 or self.ema_decay > 0

    def highest_kl_weight(self) -> float:
        """The largest KL weight of the schedule."""
        return self.kl_weight if self.kl_schedule == "constant" else max(self.kl_start, self.kl_end)
