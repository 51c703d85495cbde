"""The factorisation that a hybrid VAE starts from: its tables, its left-out scores, its answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from recsys.models.hybrid_vae.capacity import parameter_count
from recsys.models.hybrid_vae.config import HybridVaeConfig
from recsys.models.hybrid_vae.family import FAMILY
from recsys.models.hybrid_vae.trainer import HybridVaeTrainer
from recsys.models.hybrid_vae.warm_start import LowRankSum, fit_warm_start
from tests.recsys.models.test_bayes_mf import ITEMS, USERS, histories_of, world

CONFIG = HybridVaeConfig(
    factors=8,
    hidden=(16,),
    latent=4,
    biases=True,
    dot_product=4,
    history="ratings",
    normalisation="layer",
    embedding_scale=0.01,
    learning_rate=1e-3,
    start="factorisation",
    start_factors=3,
    start_rank=8,
    start_sweeps=60,
)


def built(config: HybridVaeConfig = CONFIG) -> HybridVaeTrainer:
    trainer = FAMILY.build(config, world(), epochs=3, seed=2, device=torch.device("cpu"))
    assert isinstance(trainer, HybridVaeTrainer)
    return trainer


def test_a_low_rank_sum_is_the_sum_of_products() -> None:
    random = np.random.default_rng(0)
    total = LowRankSum(30, 40, rank=30)
    expected = np.zeros((30, 40))
    for _ in range(40):  # 40 x 20 columns: cut on the way
        left, right = random.standard_normal((30, 20)), random.standard_normal((40, 20))
        total.add(left, right)
        expected += left @ right.T
    left, right = total.cut(30)
    np.testing.assert_allclose(left @ right.T, expected, atol=1e-8)


def test_left_out_scores_err_like_unseen_pairs() -> None:
    data = world()
    start = fit_warm_start(CONFIG, data, seed=0)

    def error(users: np.ndarray, items: np.ndarray, values: np.ndarray, added: np.ndarray | float) -> float:
        link = start.offset + np.einsum("nr,nr->n", start.users[users], start.items[items]) + added
        stars = data.train.scale.low + data.train.scale.span / (1 + np.exp(-link))
        return float(np.sqrt(np.square(stars - values).mean()))

    train, valid = data.train, data.valid
    fitted = error(train.users, train.items, train.values, 0.0)
    left_out = error(train.users, train.items, train.values, start.left_out)
    unseen = error(valid.users, valid.items, valid.values, 0.0)
    assert fitted < left_out
    assert abs(left_out - unseen) < abs(fitted - unseen)


def test_training_starts_at_the_factorisation_and_does_not_lose_it() -> None:
    data, trainer = world(), built()
    start = fit_warm_start(CONFIG, data, seed=0)
    before = np.square(trainer.predict(data.valid) - data.valid.values).mean()
    for _ in range(3):
        trainer.train_epoch()
    after = np.square(trainer.predict(data.valid) - data.valid.values).mean()
    assert before < 0.6 * data.valid.values.var()
    assert after < before * 1.05
    assert trainer.network.start_users.shape == start.users.shape


def test_scorer_and_count_and_state_agree_with_the_trainer() -> None:
    data, trainer = world(), built()
    trainer.train_epoch()
    config = trainer.config
    assert trainer.parameters == parameter_count(config, users=USERS + 1, items=ITEMS + 1)
    scorer = FAMILY.scorer(trainer.export(), lambda user: histories_of(data, user))
    rows = np.flatnonzero(data.valid.users == 5)
    stars = scorer.score(scorer.known_user(5), data.valid.items[rows])
    np.testing.assert_allclose(stars, trainer.predict(data.valid)[rows], atol=1e-4)
    folded = scorer.score(scorer.fold_in(histories_of(data, 5)), data.valid.items[rows])
    assert np.abs(folded - stars).mean() < 0.5
    other = built()
    other.load_state(trainer.state())
    np.testing.assert_array_equal(other.predict(data.valid), trainer.predict(data.valid))


def test_any_option_of_the_formula_goes_with_a_start() -> None:
    data = world()
    plain = replace(CONFIG, biases=False, dot_product=0, history="none")
    trainer = built(plain)
    trainer.train_epoch()
    scorer = FAMILY.scorer(trainer.export(), lambda user: histories_of(data, user))
    stars = scorer.score(scorer.known_user(5), np.arange(ITEMS, dtype=np.int32))
    assert np.all((stars >= 0.5) & (stars <= 5))
    # Inference on training pairs leaves their own rating out; on others the start's link is whole.
    assert trainer.predict(data.train).shape == data.train.values.shape
