"""Groups of rows, draws and streams of the batched sampler against plain loops and exact distributions."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
import scipy.stats as stats
import torch

from recsys.models.bayes_mf import basis, equations, row_groups
from recsys.models.bayes_mf.counter_random import normals, uniforms
from recsys.models.bayes_mf.cutpoints import interval_ends, interval_mass, standard_ends, truncated_normal

CPU = torch.device("cpu")


def test_every_row_and_rating_is_in_one_group_also_empty_and_very_long_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(row_groups.ENTRIES, "cpu", 12)
    monkeypatch.setitem(row_groups.ROWS, "cpu", 4)
    counts = np.array([0, 3, 7, 25, 0, 0, 0, 0, 0, 1, 9, 2])
    random = np.random.default_rng(0)
    rows = random.permutation(np.repeat(np.arange(len(counts)), counts))
    columns = random.integers(0, 30, len(rows))
    result = row_groups.group_rows(rows, columns, (len(counts), 30), CPU)
    seen: list[int] = []
    for group in result.groups:
        entries = result.columns[group.first : group.last].view(len(group.rows), group.longest)
        assert len(group.rows) <= 4
        assert entries.numel() <= 12 or len(group.rows) == 1
        for row, line in zip(group.rows.tolist(), entries, strict=True):
            seen.append(row)
            assert sorted(line[line < 30].tolist()) == sorted(columns[rows == row].tolist())
    assert sorted(seen) == list(range(len(counts)))
    assert result.columns[result.entry_index].tolist() == columns.tolist()
    assert result.starts.tolist() == (np.cumsum(counts) - counts).tolist()


def test_a_draw_has_the_mean_and_the_covariance_that_it_should() -> None:
    random = np.random.default_rng(1)
    count, design = 20_000, random.standard_normal((5, 4)).astype(np.float32)
    prior, mean = 2.0 * np.eye(3), random.standard_normal(3)
    x, y = design[:, :3].astype(np.float64), design[:, 3].astype(np.float64)
    precision = prior + 0.7 * x.T @ x
    expected = np.linalg.solve(precision, prior @ mean + 0.7 * x.T @ y)
    padded = np.concatenate([design, np.zeros((2, 4), np.float32)])
    means, drawn = equations.draw(
        torch.from_numpy(padded).expand(count, 7, 4),
        torch.full((count,), 0.7),
        torch.from_numpy(mean.astype(np.float32)).expand(count, 3),
        torch.from_numpy(prior.astype(np.float32)),
        normals(5, torch.arange(3 * count).view(count, 3)),
    )
    np.testing.assert_allclose(means.numpy(), np.tile(expected, (count, 1)), atol=1e-5)
    np.testing.assert_allclose(drawn.numpy().mean(axis=0), expected, atol=0.02)
    np.testing.assert_allclose(np.cov(drawn.numpy().T), np.linalg.inv(precision), atol=0.02)


def test_streams_are_splitmix64_and_follow_their_distributions() -> None:
    # The first word of seed 0 is published: 0xE220A8397B1DCDAF.
    assert uniforms(0, torch.tensor([1])).item() == (0xE220A8397B1DCDAF >> 41) * 2.0**-23 + 2.0**-24
    counters = torch.arange(100_000)
    assert stats.kstest(uniforms(7, counters).numpy(), "uniform").pvalue > 0.001
    assert stats.kstest(normals(8, counters).numpy(), "norm").pvalue > 0.001
    parts = torch.cat([normals(8, counters[:333]), normals(8, counters[333:])])
    assert torch.equal(parts, normals(8, counters))
    neighbours = np.corrcoef(uniforms(7, counters).numpy(), uniforms(8, counters).numpy())[0, 1]
    assert abs(neighbours) < 0.015


def test_truncated_normals_are_scipys_also_far_from_the_score() -> None:
    ends = interval_ends(np.array([-1.0, 0.3, 2.0]), CPU)
    labels = torch.tensor([0, 1, 2, 3, 3, 0], dtype=torch.int32)
    score = torch.tensor([0.2, -0.5, 2.2, 0.1, -2.0, 2.5])
    scale = torch.tensor([1.0, 0.8, 1.3, 1.0, 1.0, 1.0])
    ends_in = standard_ends(ends, labels, score, scale)
    low, high = (end.numpy() for end in ends_in)
    mass = stats.norm.sf(low) - stats.norm.sf(high)
    np.testing.assert_allclose(interval_mass(*ends_in).numpy(), mass, rtol=2e-3)
    share = np.array([0.1, 0.5, 0.9, 0.2, 0.7, 0.4])
    drawn = truncated_normal(*ends_in, torch.from_numpy(share.astype(np.float32))).numpy()
    bounds = np.where(np.abs(low) > 1e5, -np.inf, low), np.where(np.abs(high) > 1e5, np.inf, high)
    quantiles = np.where(low > 0, 1 - share, share)  # an interval above the score is mirrored
    np.testing.assert_allclose(drawn, stats.truncnorm.ppf(quantiles, *bounds), atol=0.02)
    assert np.all((drawn >= low) & (drawn <= high))
    far = truncated_normal(torch.tensor([9.0]), torch.tensor([10.0]), torch.tensor([0.5]))
    assert 9 <= far.item() <= 10
    # Beyond where erfc underflows, an interval has no mass and draws stay inside.
    first, last = torch.tensor([-40.0, 20.0, -1e6]), torch.tensor([-30.0, 21.0, 1e6])
    assert interval_mass(first, last).tolist() == [0, 0, 1]
    inside = truncated_normal(first, last, torch.full((3,), 0.5))
    assert bool(((first <= inside) & (inside <= last)).all())


def test_a_large_history_keeps_its_leading_singular_values(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(2)
    rows, columns = np.nonzero(random.random((90, 70)) < random.random(70) ** 3)
    dense = scipy.sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(90, 70)).toarray()
    dense /= np.sqrt(np.maximum(dense.sum(axis=1, keepdims=True), 1))
    monkeypatch.setattr(basis, "EXACT", 10)
    result = basis.history_basis(rows, columns, (90, 70), rank=12, seed=0)
    assert result is not None
    values = np.linalg.svd(dense, compute_uv=False)[:12]
    np.testing.assert_allclose(result.values[:8], values[:8], rtol=1e-3)
    np.testing.assert_allclose(result.left.T @ result.left, np.eye(12), atol=1e-4)
