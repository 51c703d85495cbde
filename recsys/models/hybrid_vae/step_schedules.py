"""KL weight and learning rate at any point of a training, from the config alone (and the plateau)."""

from __future__ import annotations

from recsys.models.hybrid_vae.config import HybridVaeConfig
from recsys.models.optim.schedules import Plateau, cosine, ramp, warmup_length


def kl_weight(config: HybridVaeConfig, progress: float) -> float:
    """At ``progress`` (steps done over steps planned)."""
    if config.kl_schedule == "constant":
        return config.kl_weight
    return cosine(config.kl_start, config.kl_end, progress)


def averaging_from(config: HybridVaeConfig, epochs: int) -> int:
    """First epoch (from 0) whose weights enter the SWA mean; ``epochs`` where it is off."""
    return epochs if config.swa_start >= 1 else min(round(config.swa_start * epochs), epochs - 1)


def learning_rate(config: HybridVaeConfig, *, epoch: float, epochs: int, plateau: Plateau) -> float:
    """At ``epoch`` (fractional, from 0) of ``epochs``."""
    if epoch >= averaging_from(config, epochs):
        return config.swa_learning_rate
    rate = config.learning_rate
    if config.learning_rate_schedule == "plateau":
        rate *= plateau.scale
    elif config.learning_rate_schedule == "cosine":
        # Down to a hundredth: the last steps still move.
        rate = cosine(rate, rate / 100, epoch / epochs)
    length = warmup_length(config.warmup_epochs, epochs)
    return rate * ramp(epoch, start=config.warmup_start, length=length)
