"""Replays of a captured step are the eager steps: weights, moments, averages and random numbers, bit for bit.

``Recorder`` plays CUDA graphs on the CPU: the operations of one step are kept with the very tensors that they
read and wrote, and a replay repeats them there. What the step passes as a Python number, draws without a
generator of torch or keeps at another address stands still in a replay, as it would in a graph.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from recsys.data.ratings import Ratings, RatingScale
from recsys.data.split import TrainingData
from recsys.models.hybrid_vae import noise as noise_module
from recsys.models.hybrid_vae import trainer as trainer_module
from recsys.models.hybrid_vae.captured_step import EAGER_STEPS, CapturedStep, Outputs, Step, capturing
from recsys.models.hybrid_vae.config import HybridVaeConfig
from recsys.models.hybrid_vae.noise import Noise
from recsys.models.hybrid_vae.trainer import HybridVaeTrainer

CPU = torch.device("cpu")
BATCH, STEPS = 64, 9  # and a smaller last batch

Operation = tuple[Any, Sequence[Any], dict[str, Any], list[Tensor]]  # function, its arguments, its results


class Recorder(TorchDispatchMode):
    """Graphs as lists of operations. A step that waits for a value cannot be captured, as on a card."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.captures = self.replays = 0
        self._operations: list[Operation] = []

    def warm_up(self, step: Step, rows: Tensor) -> Outputs:
        return step(rows)

    def capture(self, step: Step, rows: Tensor) -> tuple[Callable[[], None], Outputs]:
        operations: list[Operation] = []
        self._operations = operations
        self.captures += 1
        with self:
            outputs = step(rows)  # executed as well, unlike a card's: the first replay is done
        executed = iter([True])

        def replay() -> None:
            self.replays += 1
            if not next(executed, False):
                _repeat(operations)

        return replay, outputs

    def __torch_dispatch__(
        self,
        function: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if function is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("operation not permitted when stream is capturing")
        result = function(*args, **kwargs)
        if not function.is_view:
            self._operations.append((function, args, kwargs, _tensors(result)))
        return result


def _tensors(result: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]


@torch.no_grad()
def _repeat(operations: Sequence[Operation]) -> None:
    for function, args, kwargs, before in operations:
        after = _tensors(function(*args, **kwargs))
        if not function._schema.is_mutable:
            for old, new in zip(before, after, strict=True):
                old.copy_(new)


class Eager:
    """A backend on which every capture fails."""

    def warm_up(self, step: Step, rows: Tensor) -> Outputs:
        return step(rows)

    def capture(self, step: Step, rows: Tensor) -> tuple[Callable[[], None], Outputs]:
        raise RuntimeError("operation not permitted when stream is capturing")


class GeneratorNoise(Noise):
    """Bytes from the generator, as a card's dropout draws them."""

    def bytes(self, *shape: int) -> Tensor:
        return torch.randint(0, 256, shape, dtype=torch.uint8, generator=self.generator)


def _data() -> TrainingData:
    random, count = np.random.default_rng(0), BATCH * STEPS + 20
    ratings = Ratings(
        users=random.integers(0, 40, count).astype(np.int32),
        items=random.integers(0, 30, count).astype(np.int32),
        values=random.integers(1, 6, count).astype(np.float32),
        times=np.arange(count),
        scale=RatingScale(1, 5),
        user_count=40,
        item_count=30,
    )
    return TrainingData(ratings, ratings.take(np.arange(50)))


Make = Callable[[Recorder | Eager], HybridVaeTrainer]


@pytest.fixture
def make(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Trainers whose steps a backend captures, as on a card: nothing by batch or by row."""
    monkeypatch.setattr(trainer_module, "Noise", GeneratorNoise)
    monkeypatch.setattr("recsys.models.hybrid_vae.network.cheaper_by_batch", lambda *counts: False)
    options = getattr(request, "param", {})
    config = HybridVaeConfig(factors=8, hidden=(12, 8), latent=4, batch_size=BATCH, **options)

    def trainer(backend: Recorder | Eager) -> HybridVaeTrainer:
        monkeypatch.setattr(trainer_module, "capturing", lambda noise: backend)
        return HybridVaeTrainer(config, _data(), epochs=3, seed=0, device=CPU)

    return trainer


SCHEDULES = {
    "learning_rate_schedule": "cosine",
    "warmup_epochs": 1,
    "kl_schedule": "cosine",
    "free_bits": 2.0,
    "ema_decay": 0.99,
    "swa_start": 0.4,
}
PATHS = {"biases": True, "dot_product": 4, "history": "ratings", "time": "levels", "output": "ordinal"}


@pytest.mark.parametrize("make", [{}, SCHEDULES, PATHS], ids=["formula", "schedules", "paths"], indirect=True)
def test_replays_are_the_eager_steps(make: Make) -> None:
    recorder = Recorder()
    captured, eager = make(recorder), make(Eager())
    for _ in range(2):
        assert captured.train_epoch() == eager.train_epoch()
    # The last batch of an epoch is smaller.
    assert (recorder.captures, recorder.replays) == (1, 2 * STEPS - EAGER_STEPS)
    state = captured.state()
    for name, array in eager.state().items():
        np.testing.assert_array_equal(state[name], array, err_msg=name)
    np.testing.assert_array_equal(captured.predict(_data().valid), eager.predict(_data().valid))


def test_a_changed_config_and_a_checkpoint_are_captured_anew(make: Make) -> None:
    recorder = Recorder()
    captured, eager = make(recorder), make(Eager())
    for trainer in (captured, eager):
        trainer.train_epoch()
        saved = trainer.state()
        trainer.config = replace(trainer.config, learning_rate=1e-4, gradient_clip=0.01, batch_size=48)
        trainer.train_epoch()
        trainer.load_state(saved)
        trainer.train_epoch()
    assert recorder.captures == 3
    for name, array in eager.state().items():
        np.testing.assert_array_equal(captured.state()[name], array, err_msg=name)


def test_a_step_that_cannot_be_captured_runs_eagerly_and_says_so_once(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    def waits(rows: Tensor) -> Outputs:
        return (rows.sum().item() * torch.ones(()),)

    step = CapturedStep(waits, Recorder())
    assert [int(step(torch.tensor([number, 1]))[0]) for number in range(6)] == [1, 2, 3, 4, 5, 6]
    make(Eager()).train_epoch()
    warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    reason = "operation not permitted when stream is capturing"
    assert warnings == [f"training goes on without a CUDA graph: {reason}"] * 2


def test_a_cpu_captures_nothing() -> None:
    assert capturing(Noise(0, CPU)) is None


def test_a_card_has_the_dropout_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    played = Noise(0, CPU)
    played.device = torch.device("meta")
    monkeypatch.setattr(played, "fused_dropout", lambda x, share: x * (1 - share))
    x = torch.tensor([-1.0, 2.0])
    assert noise_module.dropout(x, 0.25, played, rectify=True).tolist() == [0, 1.5]
    assert noise_module.dropout(x, 0.25, played).tolist() == [-0.75, 1.5]
