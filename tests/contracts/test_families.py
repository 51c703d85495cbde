"""What every model family keeps: a new one inherits all of this by its line in the registry.

``QUICK`` holds fields that make a family learn two thousand ratings in a second; a family that does
without is tested with its defaults.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recsys.errors import InputError
from recsys.models.artifact import load_artifact, save_artifact
from recsys.models.base import History, Scorer, Trainer
from recsys.models.ranges import Categorical, FloatRange, IntRange, Range
from recsys.models.registry import FAMILIES, make_config
from recsys.release.loaded_release import LoadedMember
from recsys.release.rating_ensemble import RatingEnsemble
from recsys.release.user_state import UserState, merge
from tests.small_ratings import history_of, training_data

DATA = training_data()
EPOCHS = 20
QUICK: dict[str, dict[str, Any]] = {
    "hybrid_vae": {
        "factors": 16,
        "hidden": [32, 16],
        "latent": 8,
        "biases": True,
        "dot_product": 8,
        "history": "ratings",
        "normalisation": "layer",
        "embedding_scale": 0.05,
        "batch_size": 64,
        "learning_rate": 5e-3,
        "learning_rate_schedule": "cosine",
        "dropout": 0.1,
        "ema_decay": 0.98,
    },
    "mf": {"factors": 4},
    "item_knn": {"shrinkage": 5.0},
    "myfm": {"factors": 4, "iterations": 150},
}
EMPTY = History(items=np.zeros(0, dtype=np.int32), values=np.zeros(0, dtype=np.float32))


def built(name: str, fields: dict[str, Any] | None = None, *, epochs: int = EPOCHS, seed: int = 3) -> Trainer:
    config = make_config(name, QUICK.get(name, {}) if fields is None else fields)
    return FAMILIES[name].build(config, DATA, epochs=epochs, seed=seed, device=torch.device("cpu"))


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def trained(request: pytest.FixtureRequest) -> tuple[str, Trainer]:
    trainer = built(request.param)
    for _ in range(EPOCHS):
        figures = trainer.train_epoch()
        assert np.isfinite(figures["train_loss"])
    return request.param, trainer


def scorer_of(trained: tuple[str, Trainer]) -> Scorer:
    name, trainer = trained
    return FAMILIES[name].scorer(trainer.export(), lambda user: history_of(DATA.train, user))


def rmse(predicted: np.ndarray, actual: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(predicted - actual))))


def test_learns_more_than_the_mean(trained: tuple[str, Trainer]) -> None:
    name, trainer = trained
    plain = float(DATA.valid.values.std())
    # Biases cannot see the checkerboard, which holds most of the variance.
    limit = 0.95 if name == "bias" else 0.5
    assert rmse(trainer.predict(DATA.valid), DATA.valid.values) < limit * plain


def test_predictions_stay_on_the_scale_also_for_unknown_rows(trained: tuple[str, Trainer]) -> None:
    scorer = scorer_of(trained)
    last_user, every_item = DATA.train.user_count - 1, np.arange(DATA.train.item_count)
    for state in (scorer.known_user(0), scorer.known_user(last_user), scorer.fold_in(EMPTY)):
        stars = scorer.score(state, every_item)
        assert stars.shape == every_item.shape
        assert np.isfinite(stars).all()
        assert stars.min() >= DATA.train.scale.low
        assert stars.max() <= DATA.train.scale.high


def test_deviations_are_about_the_error_where_a_family_has_them(trained: tuple[str, Trainer]) -> None:
    """Of valid's ratings, root mean squared; and finite for people and items without a rating."""
    scorer = scorer_of(trained)
    deviations = getattr(scorer, "deviations", None)
    assert (deviations is not None) == (trained[0] in ("bayes_mf", "item_gp"))
    if deviations is None:
        return
    for state in (scorer.known_user(DATA.train.user_count - 1), scorer.fold_in(EMPTY)):
        strangers = deviations(state, np.arange(DATA.train.item_count))
        assert np.isfinite(strangers).all()
        assert (strangers > 0).all()
    spreads = [
        deviations(scorer.known_user(int(user)), DATA.valid.items[[row]])[0]
        for row, user in enumerate(DATA.valid.users)
    ]
    ratio = np.sqrt(np.mean(np.square(spreads))) / rmse(trained[1].predict(DATA.valid), DATA.valid.values)
    assert 0.5 < ratio < 3  # a checkerboard is surer than these priors expect


def test_numpy_answers_as_torch_does(trained: tuple[str, Trainer]) -> None:
    scorer, expected = scorer_of(trained), trained[1].predict(DATA.valid)
    for user in range(0, DATA.train.user_count, 7):
        rows = np.flatnonzero(DATA.valid.users == user)
        stars = scorer.score(scorer.known_user(user), DATA.valid.items[rows])
        np.testing.assert_allclose(stars, expected[rows], atol=1e-4)


def test_saved_and_opened_answers_equal(trained: tuple[str, Trainer], tmp_path: Path) -> None:
    name, trainer = trained
    member = trainer.export()
    save_artifact(tmp_path, member)
    opened = load_artifact(tmp_path)
    assert opened.family == name
    assert {key: array.dtype for key, array in opened.arrays.items()} == {
        key: array.dtype for key, array in member.arrays.items()
    }
    items = np.arange(DATA.train.item_count)
    answers = []
    for packed in (member, opened):
        scorer = FAMILIES[name].scorer(packed, lambda user: history_of(DATA.train, user))
        folded = scorer.fold_in(history_of(DATA.train, 5))
        answers.append([scorer.score(scorer.known_user(5), items), scorer.score(folded, items)])
    np.testing.assert_array_equal(answers[0], answers[1])


def test_folding_in_a_known_history_comes_near_the_known_user(trained: tuple[str, Trainer]) -> None:
    scorer = scorer_of(trained)
    known, folded, plain = [], [], []
    for user in range(DATA.train.user_count - 1):
        rows = np.flatnonzero(DATA.valid.users == user)
        items, actual = DATA.valid.items[rows], DATA.valid.values[rows]
        history = history_of(DATA.train, user)
        known.append(scorer.score(scorer.known_user(user), items) - actual)
        folded.append(scorer.score(scorer.fold_in(history), items) - actual)
        plain.append(scorer.score(scorer.fold_in(EMPTY), items) - actual)
        same = scorer.fold_in(history, user=user)
        np.testing.assert_allclose(
            scorer.score(same, items), scorer.score(scorer.known_user(user), items), atol=0.1
        )
    errors = [float(np.sqrt(np.mean(np.concatenate(part) ** 2))) for part in (known, folded, plain)]
    assert errors[1] < errors[0] * 1.25
    assert errors[1] < errors[2]


def test_people_asked_for_together_are_answered_as_one_by_one(trained: tuple[str, Trainer]) -> None:
    """Whether the family has a way of its own for several at once or is asked in turn."""
    scorer, items = scorer_of(trained), np.arange(DATA.train.item_count)
    messages = History(np.array([1, 6], dtype=np.int32), np.array([4.5, 1.0], dtype=np.float32))
    people = [
        UserState(3, history_of(DATA.train, 3), needs_fold_in=False),
        UserState(None, messages, needs_fold_in=True),
        UserState(5, merge(history_of(DATA.train, 5), messages), needs_fold_in=True),
        UserState(None, EMPTY, needs_fold_in=False),
        UserState(8, history_of(DATA.train, 8), needs_fold_in=False),
        UserState(None, messages, needs_fold_in=True),
    ]
    stars = RatingEnsemble((LoadedMember("only", 1.0, scorer),), DATA.train.scale)
    together = stars.predict_batch([(states, items) for states in stars.states_many(people)])
    for person, rated in zip(people, together, strict=True):
        if person.user is None or person.needs_fold_in:
            state = scorer.fold_in(person.history, person.user)
        else:
            state = scorer.known_user(person.user)
        np.testing.assert_allclose(rated, scorer.score(state, items), atol=1e-5)


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_same_seed_same_numbers(name: str) -> None:
    runs = []
    for _ in range(2):
        trainer = built(name, epochs=2)
        figures = [trainer.train_epoch() for _ in range(2)]
        runs.append((figures, trainer.predict(DATA.valid)))
    assert runs[0][0] == runs[1][0]
    np.testing.assert_array_equal(runs[0][1], runs[1][1])


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_goes_on_exactly_from_its_state(name: str) -> None:
    straight, first = built(name, epochs=4), built(name, epochs=4)
    for trainer in (straight, first):
        for _ in range(2):
            trainer.train_epoch()
            trainer.on_validation(1.0)
    second = built(name, epochs=4)
    second.load_state(first.state())
    np.testing.assert_array_equal(second.predict(DATA.valid), first.predict(DATA.valid))
    for _ in range(2):
        assert straight.train_epoch() == second.train_epoch()
    np.testing.assert_array_equal(straight.predict(DATA.valid), second.predict(DATA.valid))


def drawn(kind: Range, random: np.random.Generator) -> Any:
    if isinstance(kind, FloatRange):
        if kind.log:
            return float(np.exp(random.uniform(np.log(kind.low), np.log(kind.high))))
        return float(random.uniform(kind.low, kind.high))
    if isinstance(kind, IntRange):
        return int(random.choice(np.arange(kind.low, kind.high + 1, kind.step)))
    assert isinstance(kind, Categorical)
    return kind.options[sorted(kind.options)[random.integers(len(kind.options))]]


@pytest.mark.parametrize("draw", range(4))
@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_every_sampled_point_builds_and_trains(name: str, draw: int) -> None:
    random = np.random.default_rng(draw)
    fields = {field: drawn(kind, random) for field, kind in FAMILIES[name].ranges.items()}
    fields |= FAMILIES[name].forced_defaults(DATA)
    trainer = built(name, fields, epochs=1)
    assert np.isfinite(trainer.train_epoch()["train_loss"])
    assert np.isfinite(trainer.predict(DATA.valid)).all()
    kl, active = trainer.latent_statistics(DATA.valid)
    assert kl >= 0
    assert 0 <= active <= 1
    assert trainer.parameters > DATA.train.user_count + DATA.train.item_count


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_an_unknown_field_is_refused_by_name(name: str) -> None:
    with pytest.raises(InputError, match=rf"{name} has no field 'patienze'; did you mean patience"):
        make_config(name, {"patienze": 3})


def test_an_unknown_family_is_refused_with_near_names() -> None:
    with pytest.raises(InputError, match="no model family 'hybrid_vea'; did you mean hybrid_vae"):
        make_config("hybrid_vea", {})
