"""Normal equations against a plain loop, and draws against the Normal that they should follow."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.models.bayes_mf import equations


def test_blocks_hold_every_row_once_also_empty_and_very_long_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(equations, "RATINGS", 10)
    monkeypatch.setattr(equations, "ROWS", 4)
    counts = np.array([0, 3, 7, 25, 0, 0, 0, 0, 0, 1, 9, 2])
    starts = np.concatenate([[0], np.cumsum(counts)])
    found = list(equations.blocks(starts))
    assert [row for first, last in found for row in range(first, last)] == list(range(len(counts)))
    for first, last in found:
        assert last - first <= 4
        assert counts[first:last].sum() <= 10 or last == first + 1


def test_grams_and_pulls_are_sums_over_a_rows_ratings() -> None:
    random = np.random.default_rng(0)
    design = random.standard_normal((9, 3)).astype(np.float32)
    starts = np.array([0, 4, 4, 11])
    columns = random.integers(0, 9, 11)
    weights, target = random.random(11) + 0.1, random.standard_normal(11)
    roots = np.sqrt(weights)
    gram, pull = equations.grams(
        design, columns, roots.astype(np.float32), (roots * target).astype(np.float32), starts
    )
    for row in range(3):
        own = range(starts[row], starts[row + 1])
        expected = sum(
            (weights[n] * np.outer(design[columns[n]], design[columns[n]]) for n in own), np.zeros((3, 3))
        )
        np.testing.assert_allclose(gram[row], expected, rtol=1e-5, atol=1e-6)
        expected = sum((weights[n] * target[n] * design[columns[n]] for n in own), np.zeros(3))
        np.testing.assert_allclose(pull[row], expected, rtol=1e-5, atol=1e-6)


def test_a_draw_has_the_mean_and_the_covariance_that_it_should() -> None:
    random = np.random.default_rng(1)
    root = random.standard_normal((3, 3))
    precision, right = root @ root.T + np.eye(3), random.standard_normal(3)
    count = 20_000
    mean, drawn = equations.draw(np.tile(precision, (count, 1, 1)), np.tile(right, (count, 1)), random)
    expected = np.linalg.solve(precision, right)
    np.testing.assert_allclose(mean, np.tile(expected, (count, 1)), atol=1e-9)
    np.testing.assert_allclose(drawn.mean(axis=0), expected, atol=0.03)
    np.testing.assert_allclose(np.cov(drawn.T), np.linalg.inv(precision), atol=0.03)
