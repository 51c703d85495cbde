"""The factorisation that a hybrid VAE starts from: its tables, its left-out scores, its answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from recsys.data.ratings import Ratings
from recsys.data.split import TrainingData
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
    total = LowRankSum(rank=30)
    expected = np.zeros((30, 40))
    for _ in range(40):  # 40 x 20 columns: cut on the way
        left, right = random.standard_normal((30, 20)), random.standard_normal((40, 20))
        total.add(torch.from_numpy(left), torch.from_numpy(right))
        expected += left @ right.T
    first, second = total.truncated(30)
    np.testing.assert_allclose((first @ second.T).numpy(), expected, atol=1e-8)


def test_left_out_scores_err_like_unseen_pairs() -> None:
    def errors(data: TrainingData) -> list[float]:
        """Of training pairs as fitted and as left out, and of pairs that were never seen."""
        start = fit_warm_start(CONFIG, data, seed=0)

        def error(ratings: Ratings, added: np.ndarray | float) -> float:
            link = np.einsum("nr,nr->n", start.users[ratings.users], start.items[ratings.items])
            level = 1 / (1 + np.exp(-(start.offset + link + added)))
            stars = ratings.scale.low + ratings.scale.span * level
            return float(np.sqrt(np.square(stars - ratings.values).mean()))

        return [error(data.train, 0.0), error(data.train, start.left_out), error(data.valid, 0.0)]

    # 160 unseen pairs tell their error within 0.03: four worlds tell it within half of that.
    fitted, left_out, unseen = np.mean([errors(world(seed)) for seed in range(4)], axis=0)
    assert fitted < left_out
    assert abs(left_out - unseen) < 0.5 * abs(fitted - unseen)


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
