"""Steps by row are the dense optimiser's: weights, moments and averages, whatever is read and when."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from recsys.data.ratings import Ratings, RatingScale
from recsys.data.split import TrainingData
from recsys.models.hybrid_vae import trainer as trainer_module
from recsys.models.hybrid_vae.config import HybridVaeConfig
from recsys.models.hybrid_vae.trainer import HybridVaeTrainer
from recsys.models.optim import row_adam
from recsys.models.optim.averaging import Average
from recsys.models.optim.row_adam import RowAdam, cheaper_by_row

CPU = torch.device("cpu")


def assert_rounded(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-8)


class Twins:
    """The same table under a dense Adam and under RowAdam, each with its exponential average."""

    def __init__(self, rows: int, width: int, *, weight_decay: float = 3e-5) -> None:
        random = torch.Generator().manual_seed(0)
        start = torch.randn(rows, width, generator=random) * 0.1
        self.random = random
        self.dense, self.table = nn.Parameter(start.clone()), nn.Parameter(start.clone())
        self.dense_adam, self.adam = (
            torch.optim.Adam([table], lr=1.0, weight_decay=weight_decay, fused=True)
            for table in (self.dense, self.table)
        )
        self.dense_average, self.average = Average([self.dense]), Average([self.table])
        self.by_row = RowAdam(self.table, self.adam, self.average.tensors[0])

    def step(self, rate: float, batch: int = 12) -> None:
        rows = torch.randint(len(self.dense), (batch,), generator=self.random)
        weights = torch.randn(batch, self.dense.shape[1], generator=self.random) * 1e-4
        self.dense_adam.param_groups[0]["lr"] = rate
        self.dense_adam.zero_grad()
        (self.dense[rows] * weights).sum().backward()
        self.dense_adam.step()
        self.dense_average.follow([self.dense], 0.99)

        read = self.by_row.read(rows)
        (read.values[read.positions] * weights).sum().backward()
        torch.testing.assert_close(self.by_row.leaf.detach(), read.values.detach())
        self.adam.step()  # the table has no gradient: left alone
        self.by_row.step(rate, self.average.follow([self.table], 0.99, apart={0}))

    def assert_equal(self) -> None:
        assert_rounded(self.table, self.dense)
        assert_rounded(self.average.tensors[0], self.dense_average.tensors[0])
        dense, own = self.dense_adam.state[self.dense], self.adam.state[self.table]
        assert own["step"] == dense["step"]
        torch.testing.assert_close(own["exp_avg"], dense["exp_avg"], rtol=1e-5, atol=1e-11)
        torch.testing.assert_close(own["exp_avg_sq"], dense["exp_avg_sq"], rtol=1e-5, atol=0)


@pytest.mark.parametrize("block", [70, row_adam.BLOCK])
def test_weights_moments_and_average_are_the_dense_ones(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_adam, "BLOCK", block)
    twins = Twins(203, 7)
    for number in range(90):
        twins.step(5e-4 if number < 40 else 1e-4 * (1 + number % 3))
        if number in (40, 41, 77):
            twins.by_row.flush()
            twins.assert_equal()
    assert not torch.equal(twins.table, twins.dense)  # rows are behind
    twins.by_row.flush()
    twins.assert_equal()
    twins.by_row.flush()  # nothing is pending: nothing moves
    twins.assert_equal()


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 80),
    st.integers(1, 2_000),
    st.floats(0, 1e-2),
    st.lists(st.tuples(st.integers(1, 300), st.floats(1e-6, 1e-2), st.booleans()), min_size=1, max_size=100),
)
def test_any_gap_block_rates_batches_and_flushes_give_the_dense_figures(
    gap: int, block: int, weight_decay: float, steps: list[tuple[int, float, bool]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_adam, "LONGEST_GAP", gap)
        patch.setattr(row_adam, "BLOCK", block)
        twins = Twins(150, 5, weight_decay=weight_decay)
        for batch, rate, flushed in steps:
            twins.step(rate, batch)
            if flushed:
                twins.by_row.flush()
        twins.by_row.flush()
        twins.assert_equal()


def test_rows_that_are_read_are_as_dense_steps_left_them() -> None:
    twins = Twins(301, 7, weight_decay=1e-2)
    for _ in range(60):
        twins.step(1e-3)
    rows = torch.arange(0, 301, 3)
    read = twins.by_row.read(rows)
    assert_rounded(read.values[read.positions], twins.dense[rows])


def test_no_row_is_further_behind_than_the_longest_gap() -> None:
    twins = Twins(1001, 3)
    for number in range(3 * row_adam.LONGEST_GAP):
        twins.step(1e-3, batch=2)
        assert number + 1 - twins.by_row._last.min() <= row_adam.LONGEST_GAP


def test_only_large_tables_on_a_cpu_go_by_row() -> None:
    assert cheaper_by_row(row_adam.SMALLEST, CPU)
    assert not cheaper_by_row(row_adam.SMALLEST - 1, CPU)
    assert not cheaper_by_row(10**9, torch.device("cuda"))


def _data() -> TrainingData:
    random = np.random.default_rng(0)
    count = 1_500
    ratings = Ratings(
        users=random.integers(0, 400, count).astype(np.int32),
        items=random.integers(0, 300, count).astype(np.int32),
        values=random.integers(1, 6, count).astype(np.float32),
        times=np.arange(count),
        scale=RatingScale(1, 5),
        user_count=400,
        item_count=300,
    )
    return TrainingData(ratings, ratings.take(np.arange(100)))


def _trainer(monkeypatch: pytest.MonkeyPatch, *, by_row: bool, **options: object) -> HybridVaeTrainer:
    monkeypatch.setattr(trainer_module, "cheaper_by_row", lambda numbers, device: by_row)
    monkeypatch.setattr(trainer_module, "mixed_precision", lambda device: nullcontext())
    config = HybridVaeConfig(
        factors=12,
        hidden=(16, 8),
        latent=4,
        batch_size=64,
        normalisation="layer",
        **options,  # type: ignore[arg-type]
    )
    return HybridVaeTrainer(config, _data(), epochs=2, seed=0, device=CPU)


# What of the formula's steps is amplified by Adam (biases before a normalisation have no gradient but
# rounding) is left out by layer normalisation without dropout; float32 throughout.
OPTIONS: list[dict[str, object]] = [
    {},
    {"ema_decay": 0.99, "learning_rate_schedule": "cosine", "warmup_epochs": 1},
    {"swa_start": 0.2},
]


@pytest.mark.parametrize("options", OPTIONS, ids=["formula", "ema", "swa"])
def test_a_training_by_row_is_the_dense_training(
    options: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    dense, by_row = (_trainer(monkeypatch, by_row=value, **options) for value in (False, True))
    assert dense.row_adams is None
    assert by_row.row_adams is not None
    for _ in range(2):
        before, after = dense.train_epoch(), by_row.train_epoch()
        assert after == pytest.approx(before, rel=1e-4)
    for name, array in dense.state().items():
        np.testing.assert_allclose(by_row.state()[name], array, rtol=1e-3, atol=2e-6, err_msg=name)
    np.testing.assert_allclose(by_row.predict(_data().valid), dense.predict(_data().valid), atol=1e-4)


def test_a_checkpoint_continues_exactly_and_a_rewind_forgets_pending_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = (_trainer(monkeypatch, by_row=True, ema_decay=0.9) for _ in range(2))
    second.network.train()
    second._step(torch.arange(64), 0.0, None)  # an epoch that breaks off, before the state is put back
    first.train_epoch()
    saved = first.state()
    first.train_epoch()
    second.load_state(saved)
    second.train_epoch()
    for name, array in first.state().items():
        np.testing.assert_array_equal(second.state()[name], array, err_msg=name)


def test_a_changed_rate_counts_from_its_epoch_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a recovery does between epochs."""
    dense, by_row = (_trainer(monkeypatch, by_row=value) for value in (False, True))
    for trainer in (dense, by_row):
        trainer.train_epoch()
        trainer.config = replace(trainer.config, learning_rate=1e-4, batch_size=96)
        trainer.train_epoch()
    np.testing.assert_allclose(
        by_row.state()["network/user_embedding"], dense.state()["network/user_embedding"], atol=2e-6
    )
