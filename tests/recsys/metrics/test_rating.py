"""Rating error against scikit-learn and hand-worked figures."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, root_mean_squared_error

from recsys.metrics.rating import loss, mae, mse, rmse


def test_against_scikit_learn() -> None:
    random = np.random.default_rng(0)
    actual = random.integers(1, 11, 5000).astype(np.float32) / 2
    predicted = (actual + random.normal(0, 1, 5000)).astype(np.float32)
    assert rmse(predicted, actual) == pytest.approx(root_mean_squared_error(actual, predicted), rel=1e-6)
    assert mae(predicted, actual) == pytest.approx(mean_absolute_error(actual, predicted), rel=1e-6)


def test_float32_columns_are_summed_in_double() -> None:
    actual = np.full(20_000_000, 3.1, dtype=np.float32)
    assert mae(np.zeros(1, dtype=np.float32).repeat(len(actual)), actual) == pytest.approx(3.1, rel=1e-6)


def test_the_plans_loss_has_a_fixed_weight() -> None:
    error = mse(np.array([1.0, 2.0]), np.array([2.0, 4.0]))
    assert error == 2.5
    assert loss(mse=error, kl=3.0) == pytest.approx(2.53)


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="got 2 and 1"):
        rmse(np.zeros(2), np.zeros(1))
    with pytest.raises(ValueError, match="got 0 and 0"):
        rmse(np.zeros(0), np.zeros(0))
