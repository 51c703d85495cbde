"""The ordinal output against probabilities worked out by differences, and its way to the scorer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import expit

from recsys.bounds import DataShape, parameter_count
from recsys.errors import InputError
from recsys.models.hybrid_vae import ordinal
from recsys.models.hybrid_vae.config import HybridVaeConfig, OutputKind
from recsys.models.hybrid_vae.family import FAMILY
from recsys.models.hybrid_vae.ordinal import OrdinalOutput
from recsys.models.hybrid_vae.trainer import HybridVaeTrainer
from tests.recsys.models.test_bayes_mf import world
from tests.recsys.models.test_warm_start import CONFIG as STARTED
from tests.small_ratings import history_of, training_data

DATA = training_data()
CPU = torch.device("cpu")
CONFIG = HybridVaeConfig(
    factors=8,
    hidden=(16,),
    latent=4,
    biases=True,
    dot_product=8,
    history="ratings",
    normalisation="layer",
    batch_size=64,
    learning_rate=5e-3,
    dropout=0.1,
    output="ordinal_by_user",
)


def built(config: HybridVaeConfig = CONFIG, epochs: int = 4) -> HybridVaeTrainer:
    trainer = FAMILY.build(config, DATA, epochs=epochs, seed=2, device=CPU)
    assert isinstance(trainer, HybridVaeTrainer)
    for _ in range(epochs):
        trainer.train_epoch()
    return trainer


def test_likelihood_and_stars_are_those_of_the_levels_shares() -> None:
    output = OrdinalOutput(DATA.train, by_user=True)
    random = np.random.default_rng(0)
    with torch.no_grad():
        assert output.spread is not None
        output.spread.copy_(torch.from_numpy(random.normal(0, 0.5, DATA.train.user_count)))
    rows = random.integers(len(DATA.train), size=200)
    users, labels = DATA.train.users[rows], output.labels(DATA.train.values[rows])
    link = random.normal(0, 3, 200)
    given = torch.from_numpy(link).float(), torch.from_numpy(users)
    cuts, sharp = output.cuts().detach().double().numpy(), output.spread.exp().detach().double().numpy()
    above = expit((link[:, None] - cuts) * sharp[users][:, None])
    edge = np.ones((200, 1))
    shares = np.concatenate([edge, above], axis=1) - np.concatenate([above, 0 * edge], axis=1)
    assert (np.diff(cuts) > 0).all()
    np.testing.assert_allclose(
        output.surprise(*given, torch.from_numpy(labels)).item(),
        -np.log(shares[np.arange(200), labels]).mean(),
        rtol=1e-4,
    )
    stars = shares @ output.levels.double().numpy()
    np.testing.assert_allclose(output.stars(*given).detach().numpy(), stars, atol=1e-5)


@pytest.mark.parametrize("output", ["ordinal", "ordinal_by_user"])
def test_the_option_is_counted_kept_and_served(output: OutputKind) -> None:
    trainer = built(replace(CONFIG, output=output))
    assert trainer.parameters == parameter_count(trainer.config, DataShape.of(DATA))
    scorer = FAMILY.scorer(trainer.export(), lambda user: history_of(DATA.train, user))
    predicted = trainer.predict(DATA.valid)
    for user in (0, 9):
        rows = np.flatnonzero(DATA.valid.users == user)
        stars = scorer.score(scorer.known_user(user), DATA.valid.items[rows])
        np.testing.assert_allclose(stars, predicted[rows], atol=3e-4)  # big tables are packed as float16
        folded = scorer.score(scorer.fold_in(history_of(DATA.train, user)), DATA.valid.items[rows])
        assert np.abs(folded - DATA.valid.values[rows]).mean() < 0.8
    other = FAMILY.build(trainer.config, DATA, epochs=4, seed=2, device=CPU)
    other.load_state(trainer.state())
    np.testing.assert_array_equal(other.predict(DATA.valid), predicted)


@pytest.mark.slow
def test_it_learns_as_well_as_squared_error_does() -> None:
    errors = []
    for output in ("gaussian", "ordinal"):
        trainer = built(replace(CONFIG, output=output), epochs=20)  # type: ignore[arg-type]
        errors.append(np.sqrt(np.square(trainer.predict(DATA.valid) - DATA.valid.values).mean()))
    assert errors[1] < 1.1 * errors[0]


def test_a_start_keeps_its_error_under_cutpoints() -> None:
    data = world()
    errors = []
    for output in ("gaussian", "ordinal"):
        config = replace(STARTED, output=output)  # type: ignore[arg-type]
        trainer = FAMILY.build(config, data, epochs=3, seed=2, device=CPU)
        errors.append(np.sqrt(np.square(trainer.predict(data.valid) - data.valid.values).mean()))
    assert errors[1] < 1.02 * errors[0]


@pytest.mark.parametrize("ratings", [500, 20_480_000])  # float32 cannot count to the second, ML-32M's
def test_cutpoints_are_fitted_to_a_sample_of_however_many_ratings(
    ratings: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ordinal, "FITTED_ON", 5_000)
    output, random = OrdinalOutput(DATA.train, by_user=False), torch.Generator().manual_seed(0)
    link = torch.randn(ratings, generator=random)
    noise = torch.rand(ratings, generator=random).clamp_(1e-6, 1 - 1e-6).logit_()
    labels = torch.bucketize(2 * link + noise, torch.linspace(-3, 3, len(output.levels) - 1))
    assert output.fit(link, labels) == pytest.approx(2, abs=0.4 if ratings == 500 else 0.15)


def test_a_continuous_scale_is_refused_before_training() -> None:
    values = np.linspace(0.5, 5, len(DATA.train), dtype=np.float32)
    data = replace(DATA, train=replace(DATA.train, values=values))
    assert FAMILY.check is not None
    with pytest.raises(
        InputError, match=r"distinct ratings, expected 2 to 21 levels; set output to gaussian"
    ):
        FAMILY.check(CONFIG, data)
