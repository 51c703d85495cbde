"""What a graphics card would be given, played without one: every family's training, evaluation and packing.

Nothing mixes devices, nothing in a step waits for the device, and a step's kernels stay within a held number.
Fold-in and answers read packed arrays in numpy and know no device.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from recsys.data.ratings import Ratings, RatingScale
from recsys.data.split import TrainingData
from recsys.models.bayes_mf import pair_prediction, row_groups
from recsys.models.bayes_mf.config import BayesMfConfig
from recsys.models.bayes_mf.trainer import BayesMfTrainer
from recsys.models.hybrid_vae import evaluation_network
from recsys.models.hybrid_vae import network as network_module
from recsys.models.hybrid_vae import trainer as trainer_module
from recsys.models.hybrid_vae.config import HybridVaeConfig
from recsys.models.hybrid_vae.trainer import HybridVaeTrainer
from recsys.models.hybrid_vae.warm_start import WarmStart
from recsys.models.item_gp.config import ItemGpConfig
from recsys.models.item_gp.trainer import ItemGpTrainer
from recsys.models.mf.config import MfConfig
from recsys.models.mf.trainer import MfTrainer
from recsys.models.optim.device import tensor_cores
from tests.recsys.models.played_device import CARD, DeviceWatch, Noise

REPAIRED: dict[str, object] = {"biases": True, "dot_product": 32}
# Options, and the kernels that a step may have: counted on 2026-11-28, with a little room.
OPTIONS: dict[str, tuple[dict[str, object], int]] = {
    "formula": ({}, 260),
    "ratings, time": ({**REPAIRED, "history": "ratings", "time": "levels"}, 385),
    "attended": ({**REPAIRED, "history": "attended"}, 495),
    "ordinal by user, features": ({"output": "ordinal_by_user", "latent_prior": "features"}, 365),
    "start, ordinal": ({"start": "factorisation", "output": "ordinal", "biases": True}, 375),
    "samples, layer": ({"samples": 4, "skip_connections": True, "normalisation": "layer"}, 280),
    "averaged": (
        {"ema_decay": 0.99, "swa_start": 0.2, "free_bits": 2.0, "normalisation": "batch_recalibrated"},
        265,
    ),
}


def _data(count: int = 1_000) -> TrainingData:
    random = np.random.default_rng(0)
    ratings = Ratings(
        users=random.integers(0, 60, count).astype(np.int32),
        items=random.integers(0, 40, count).astype(np.int32),
        values=random.integers(1, 6, count).astype(np.float32),
        times=np.arange(count),
        scale=RatingScale(1, 5),
        user_count=60,
        item_count=40,
    )
    features = random.integers(0, 2, (40, 5)).astype(np.float32)
    return TrainingData(ratings, ratings.take(np.arange(100)), item_features=features)


@pytest.fixture(autouse=True)
def card(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a card has and the meta device lacks: random generators, sizes of its batches, a fused Adam."""
    for module in (trainer_module, evaluation_network):
        monkeypatch.setattr(module, "Noise", Noise)
    for sizes in (evaluation_network.BATCH, row_groups.ENTRIES, row_groups.ROWS, pair_prediction.PAIRS):
        monkeypatch.setitem(sizes, CARD.type, sizes["cuda"])
    monkeypatch.setattr(network_module, "cheaper_by_batch", lambda *counts: False)
    foreach = functools.partial(torch.optim.Adam, foreach=True)
    monkeypatch.setattr(
        torch.optim, "Adam", lambda weights, fused, capturable, **options: foreach(weights, **options)
    )
    with np.errstate(all="ignore"):  # what is downloaded is 0
        yield


def _vae(options: dict[str, object], data: TrainingData) -> HybridVaeTrainer:
    start = None
    if options.get("start") == "factorisation":
        train, random = data.train, np.random.default_rng(0)
        users, items = (
            random.normal(0, 0.1, (rows, 8)).astype(np.float32)
            for rows in (train.user_count, train.item_count)
        )
        start = WarmStart(users, items, 0.0, np.zeros(len(train), np.float32))
    config = HybridVaeConfig(batch_size=256, **options)  # type: ignore[arg-type]
    return HybridVaeTrainer(config, data, epochs=2, seed=0, device=CARD, start=start)


@pytest.mark.parametrize("name", OPTIONS)
def test_a_step_of_the_hybrid_vae_waits_for_nothing(name: str) -> None:
    options, most = OPTIONS[name]
    kernels, downloads = [], []
    for count in (256, 512):  # 1 and 2 steps
        with DeviceWatch():
            trainer = _vae(options, _data(count))
        with DeviceWatch() as watch:
            trainer.train_epoch()
        assert watch.uploads == 0
        kernels.append(sum(watch.kernels.values()))
        downloads.append(watch.downloads)
    assert downloads == [3, 3]  # an epoch's loss, KL and gradient norm
    assert 100 < kernels[1] - kernels[0] <= most
    with DeviceWatch() as watch:
        predicted = trainer.predict(_data(512).valid)
    assert (predicted.shape, watch.downloads) == ((100,), 1)
    with DeviceWatch():
        member = trainer.export()
        state = trainer.state()
    assert all(isinstance(array, np.ndarray) for array in (*member.arrays.values(), *state.values()))


@pytest.mark.parametrize(
    ("trainer_type", "config", "most", "downloads"),
    [
        pytest.param(BayesMfTrainer, BayesMfConfig(sweeps=4, factors=6), 800, 12, id="bayes_mf, ordinal"),
        pytest.param(
            BayesMfTrainer,
            BayesMfConfig(sweeps=4, factors=6, output="gaussian", user_noise=5, item_noise=5),
            500,
            12,
            id="bayes_mf, gaussian",
        ),
        pytest.param(ItemGpTrainer, ItemGpConfig(sweeps=4), 500, 12, id="item_gp"),
    ],
)
def test_a_sweep_fetches_what_is_small_however_many_ratings(
    trainer_type: type[BayesMfTrainer | ItemGpTrainer], config: object, most: int, downloads: int
) -> None:
    for count in (500, 1_000):
        with DeviceWatch():
            trainer = trainer_type(config, _data(count), epochs=2, seed=0, device=CARD)  # type: ignore[arg-type]
        with DeviceWatch() as watch:
            trainer.sampler.sweep()
        groups = len(trainer.sampler.users.ratings.groups) + len(trainer.sampler.items.ratings.groups)
        assert watch.downloads == downloads
        assert sum(watch.kernels.values()) / groups <= most
    with DeviceWatch():
        trainer.train_epoch()
    if isinstance(trainer, BayesMfTrainer):
        with DeviceWatch() as watch:
            assert trainer.predict(_data().valid).shape == (100,)
            assert (watch.downloads, sum(watch.kernels.values()) < 60) == (1, True)
    with DeviceWatch():
        assert trainer.predict(_data().valid).shape == (100,)
        assert all(isinstance(array, np.ndarray) for array in trainer.export().arrays.values())


def test_variational_factorisation_fetches_two_numbers_an_epoch() -> None:
    with DeviceWatch():
        trainer = MfTrainer(MfConfig(), _data(), seed=0, device=CARD)
    with DeviceWatch() as watch:
        trainer.train_epoch()
    assert (watch.uploads, watch.downloads) == (0, 2)
    with DeviceWatch() as watch:
        trainer.predict(_data().valid)
        assert all(isinstance(array, np.ndarray) for array in trainer.export().arrays.values())


def test_the_watch_sees_what_a_card_would_not_do() -> None:
    here, there = torch.ones(3), torch.ones(3, device=CARD)
    with DeviceWatch() as watch:
        with pytest.raises(AssertionError, match="mixes"):
            here + there
        with pytest.raises(AssertionError, match="mixes"):
            there.index_select(0, torch.tensor([0]))
        with pytest.raises(AssertionError, match="waits"):
            there[there > 0]
        with pytest.raises(AssertionError, match="waits"):
            there.nonzero()
        assert watch.downloads == 0
        there.sum().item()
        bool(there.any())
        there.tolist()
        there.cpu()
        torch.linalg.cholesky(torch.ones(2, 2, device=CARD))
        here.to(CARD)
    assert (watch.downloads, watch.uploads) == (5, 1)


def test_products_on_a_card_are_tf32_only_inside() -> None:
    before = torch.get_float32_matmul_precision()
    with tensor_cores(torch.device("cuda")):
        assert torch.get_float32_matmul_precision() == "high"
    with tensor_cores(torch.device("cpu")):
        assert torch.get_float32_matmul_precision() == before
    assert torch.get_float32_matmul_precision() == before
