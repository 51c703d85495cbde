"""Every dial of the hybrid VAE. The defaults are the owner's proven formula, exactly.

An option that the formula does not have is off by default; each field says meaning, unit, off-value.
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
    # Capacity.
    factors: PositiveInt = 150  # width of a user's and of an item's embedding
    hidden: Widths = (512, 256, 128)  # encoder widths; the decoder mirrors them
    latent: PositiveInt = 64  # width of mu, log variance and z

    # Structure: the repaired form.
    biases: bool = False  # add offset + user bias + item bias before the sigmoid
    dot_product: NonNegativeInt = 0  # add (p + h).(q + g) over the first so many dimensions; 0 = off
    history: HistoryKind = "none"  # h and g: sums over a user's other items and an item's other users
    history_limit: NonNegativeInt = 0  # at most so many ratings of a row in its history, the newest; 0 = all
    attention_heads: int = 4  # of an "attended" history (``attention.py``); they share dot_product evenly
    skip_connections: bool = False  # each encoder layer to the decoder's of its width (``bottleneck.py``)
    normalisation: Normalisation = "batch"  # after each hidden linear layer
    embedding_scale: NonNegativeFloat = 0.1  # standard deviation of the embeddings' start

    # How old the item and how long here the user is, when the rating is given (``levels.py``). "none" = off.
    time: Time = "none"

    # What a rating is: a squared error in stars, or the likelihood of ordered levels (``ordinal.py``);
    # ``ordinal_by_user`` also learns how widely each user spreads their ratings. ``gaussian`` = off.
    output: OutputKind = "gaussian"

    # The latent's prior: a standard normal, or centred by the pair's genres and demographics (``prior.py``).
    latent_prior: Prior = "standard"

    # Draws of z whose stars a prediction averages, in place of z = mean (``draws.py``); even; 0 = off.
    samples: NonNegativeInt = 0

    # Initialisation from a factorisation (Bayesian MF on train); the VAE learns what it leaves over.
    start: Start = "random"
    start_factors: PositiveInt = 20  # of the sampler's vectors
    start_rank: PositiveInt = 32  # columns of the tables that hold its posterior mean, biases included
    start_sweeps: Annotated[int, Field(ge=4)] = 160  # of the sampler

    # Regularisation.
    dropout: Share = 0.4  # after hidden layers; half of it on the embeddings; 0 = off
    weight_decay: NonNegativeFloat = 3e-5  # coupled into Adam's gradient; 0 = off

    # The KL term (mean over latent dimensions, nats).
    kl_weight: NonNegativeFloat = 0.01  # of the constant schedule
    kl_schedule: KlSchedule = "constant"
    kl_start: NonNegativeFloat = 0.005  # cosine schedule: weight at the first step
    kl_end: NonNegativeFloat = 0.012  # cosine schedule: weight at the last step
    free_bits: NonNegativeFloat = 0.0  # nats, total over the latent, below which KL is not pushed; 0 = off

    # Optimisation.
    batch_size: Annotated[int, Field(ge=2)] = 2048
    learning_rate: NonNegativeFloat = 5e-4
    learning_rate_schedule: RateSchedule = "plateau"
    plateau_patience: NonNegativeInt = 5  # epochs without a better valid loss before the rate is halved
    warmup_epochs: NonNegativeInt = 0  # of linear ramp, at most a quarter of the run; 0 = off
    warmup_start: NonNegativeInt = 0  # epoch at which that ramp begins (moved by a contingency)
    gradient_clip: NonNegativeFloat = 1.0  # largest gradient norm; 0 = off
    patience: PositiveInt = 15  # epochs without a better valid rmse before the trial stops

    # Weight averaging.
    swa_start: Annotated[float, Field(gt=0, le=1)] = 1.0  # share of the run before averaging; 1 = off
    swa_learning_rate: NonNegativeFloat = 1e-4  # from then on
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
        """The largest KL weight that any step of the schedule uses."""
        return self.kl_weight if self.kl_schedule == "constant" else max(self.kl_start, self.kl_end)
