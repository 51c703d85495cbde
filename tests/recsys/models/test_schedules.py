"""Schedules and averages against hand-worked cases and torch's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recsys.models.hybrid_vae.config import HybridVaeConfig
from recsys.models.hybrid_vae.step_schedules import averaging_from, kl_weight, learning_rate
from recsys.models.optim.averaging import Average
from recsys.models.optim.schedules import Plateau, cosine, ramp, warmup_length


def test_plateau_is_torchs() -> None:
    losses = np.concatenate([np.linspace(2, 1, 8), np.ones(30), [0.5], np.full(15, 0.49999)])
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    reference = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=4)
    ours = Plateau(patience=4)
    for loss in losses:
        reference.step(loss)
        ours.on_validation(float(loss))
        assert ours.scale == optimizer.param_groups[0]["lr"]
    assert ours.scale < 0.1


def test_cosine_and_ramp_by_hand() -> None:
    assert [cosine(4, 0, progress) for progress in (0, 0.5, 1, 2)] == pytest.approx([4, 2, 0, 0])
    assert [ramp(epoch, start=2, length=4) for epoch in (1.9, 2, 4, 6)] == [1, 0, 0.5, 1]
    assert (warmup_length(5, 150), warmup_length(5, 8)) == (5, 2)


@given(st.floats(0, 1), st.floats(0, 0.015), st.floats(0, 0.015))
def test_the_kl_weight_stays_between_its_ends(progress: float, start: float, end: float) -> None:
    config = HybridVaeConfig(kl_schedule="cosine", kl_start=start, kl_end=end)
    low, high = sorted((start, end))
    assert low - 1e-12 <= kl_weight(config, progress) <= high + 1e-12
    assert kl_weight(config, progress) <= config.highest_kl_weight() + 1e-12


def test_the_learning_rate_of_the_optimised_template() -> None:
    config = HybridVaeConfig(
        learning_rate=4e-4,
        learning_rate_schedule="cosine",
        warmup_epochs=5,
        swa_start=0.8,
        swa_learning_rate=1e-4,
    )
    plateau = Plateau(5)
    rates = [
        learning_rate(config, epoch=epoch, epochs=150, plateau=plateau) for epoch in (0, 2.5, 75, 120, 149)
    ]
    assert rates == pytest.approx([0, 2e-4, 2.02e-4, 1e-4, 1e-4], rel=0.01)
    assert averaging_from(config, 150) == 120
    assert averaging_from(HybridVaeConfig(), 150) == 150


def test_averages_by_hand() -> None:
    points = [torch.tensor([value]) for value in (1.0, 2.0, 6.0)]
    plain = Average([torch.zeros(1)])
    for point in points:
        plain.add([point])
    assert plain.tensors[0].item() == pytest.approx(3)
    expected, following = 0.0, Average([torch.zeros(1)])
    for step, point in enumerate(points):
        following.follow([point], 0.999)
        decay = min(0.999, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * point.item()
    assert following.tensors[0].item() == pytest.approx(expected)
