"""ALS and EASE on the device: the equations of independent code, whatever the groups, threads or card."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from recsys.errors import InputError
from recsys.models.bayes_mf import row_groups
from recsys.ranking import item_gram as item_gram_module
from recsys.ranking.als_rows import AlsRows, alternate, solve_positive_definite
from recsys.ranking.item_gram import dense_gram, item_gram, symmetric_inverse
from tests.recsys.models.played_device import CARD, DeviceWatch

CPU = torch.device("cpu")
DIALS = {"unobserved": 0.3, "ridge": 0.02}


def weights(rows: int = 70, columns: int = 30) -> sp.csr_matrix:
    """Rows of very different lengths, one of them empty."""
    random = np.random.default_rng(0)
    board = random.random((rows, columns)) < random.random((rows, 1)) ** 2
    board[7] = False
    return sp.csr_matrix(board * random.uniform(0.5, 2, board.shape), dtype=np.float32)


def plain_half_step(weighted: sp.csr_matrix, factors: np.ndarray) -> np.ndarray:
    """Hu, Koren & Volinsky's equation 4 with a scaled ridge, a row at a time, in double precision; columns
    whose factors are 0 (they have no rating) add no ridge."""
    columns = factors.any(axis=1).sum()
    result = np.zeros((weighted.shape[0], factors.shape[1]))
    for row, weight in enumerate(weighted.toarray().astype(np.float64)):
        if not weight.any():
            continue
        confidence = np.diag(weight + DIALS["unobserved"])
        ridge = DIALS["ridge"] * (weight.sum() + DIALS["unobserved"] * columns)
        left = factors.T @ confidence @ factors + ridge * np.eye(factors.shape[1])
        result[row] = np.linalg.solve(left, factors.T @ weight)
    return result


@pytest.mark.parametrize("entries", [16_384, 40])
def test_a_half_step_solves_every_row(entries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(row_groups.ENTRIES, "cpu", entries)
    weighted = weights()
    factors = np.random.default_rng(1).normal(0, 1, (30, 6)).astype(np.float32)
    solved = AlsRows(weighted, CPU, width=6).solve(torch.from_numpy(factors), **DIALS).numpy()
    np.testing.assert_allclose(solved, plain_half_step(weighted, factors.astype(np.float64)), atol=2e-5)
    assert not solved[7].any()


def test_rounds_are_half_steps_in_turn_and_judged_people_may_be_fewer() -> None:
    weighted, start = weights(), np.random.default_rng(1).normal(0, 1, (30, 4)).astype(np.float32)
    users, items = alternate(weighted, weighted[:20], start, rounds=2, device=CPU, **DIALS)
    expected = start.astype(np.float64)
    for _ in range(2):
        expected = plain_half_step(weighted.T.tocsr(), plain_half_step(weighted, expected))
    np.testing.assert_allclose(items, expected, atol=1e-4)
    np.testing.assert_allclose(users, plain_half_step(weighted[:20], expected), atol=1e-4)


def test_what_is_not_positive_definite_is_0_and_harms_no_other_row() -> None:
    systems = torch.stack([torch.eye(3), -torch.eye(3), torch.zeros(3, 3), 2 * torch.eye(3)])
    solved = solve_positive_definite(systems, torch.ones(4, 3))
    torch.testing.assert_close(solved, torch.tensor([[1.0], [0.0], [0.0], [0.5]]).expand(4, 3))


def test_a_round_on_a_card_fetches_the_factors_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for sizes in (row_groups.ENTRIES, row_groups.ROWS):
        monkeypatch.setitem(sizes, CARD.type, sizes["cuda"])
    start = np.ones((30, 4), dtype=np.float32)
    kernels = []
    for rounds in (1, 2):
        with DeviceWatch() as watch:
            weighted = weights()
            alternate(weighted, weighted, start, rounds=rounds, device=CARD, **DIALS)
        assert watch.downloads == 2
        kernels.append(sum(watch.kernels.values()))
    groups = sum(
        len(AlsRows(side, CARD, width=4).ratings.groups) for side in (weights(), weights().T.tocsr())
    )
    assert 0 < kernels[1] - kernels[0] <= 30 * groups


def test_the_gram_matrix_is_the_weighted_product(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = (weights() > 0).astype(np.float32).tocsr()
    of_users = np.random.default_rng(2).uniform(0.2, 2, seen.shape[0]).astype(np.float32)
    wide = seen.toarray().astype(np.float64)
    expected = wide.T @ (of_users[:, None] * wide)
    np.testing.assert_allclose(item_gram(seen, of_users, CPU), expected, rtol=1e-5)
    np.testing.assert_allclose(
        symmetric_inverse((expected + np.eye(30)).astype(np.float32), CPU),
        np.linalg.inv(expected + np.eye(30)),
        atol=1e-5,
    )
    monkeypatch.setattr(item_gram_module, "USERS", 32)
    np.testing.assert_allclose(dense_gram(seen, of_users, CPU).numpy(), expected, rtol=1e-5)
    with DeviceWatch() as watch:
        assert item_gram(seen, of_users, CARD).shape == (30, 30)
    assert watch.downloads == 1
    assert sum(watch.kernels.values()) <= 3 * 5


def test_a_gram_matrix_without_an_inverse_is_refused() -> None:
    with pytest.raises(InputError, match="raise the ridge"):
        symmetric_inverse(np.array([[1.0, 2.0], [2.0, 1.0]]), CPU)
