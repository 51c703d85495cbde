"""Schedules of KL weight and learning rate by the config (and the plateau)."""

from __future__ import annotations

from recsys.models.hybrid_vae.config import HybridVaeConfig
from recsys.models.optim.schedules import Plateau, cosine, ramp, warmup_length


def kl_weight(config: HybridVaeConfig, progress: float) -> float:
    """The KL weight at ``progress``, steps done over steps planned."""
    if config.kl_schedule == "constant":
        return config.kl_weight
    return cosine(config.kl_start, config.kl_end, progress)


def averaging_from(config: HybridVaeConfig, epochs: int) -> int:
    """First epoch (from 0) of ``epochs`` whose weights are averaged by SWA; ``epochs`` where it is off."""
    return epochs if config.swa_start >= 1 else min(round(config.swa_start * epochs), epochs - 1)


def learning_rate(config: HybridVaeConfig, *, epoch: float, epochs: int, plateau: Plateau) -> float:
    """The learning rate.

    Args:
        config: Of the training.
        epoch: Fractional, from 0.
        epochs: Planned.
        plateau: Its scale applies to the "plateau" schedule.
    """
    if epoch >= averaging_from(config, epochs):
        return config.swa_learning_rate
    rate = config.learning_rate
    if config.learning_rate_schedule == "plateau":
        rate *= plateau.scale
    elif config.learning_rate_schedule == "cosine":
        # To a hundredth, so that the last steps still have an effect.
        rate = cosine(rate, rate / 100, epoch / epochs)
    length = warmup_length(config.warmup_epochs, epochs)
    return rate * ramp(epoch, start=config.warmup_start, length=length)
