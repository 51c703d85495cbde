"""Packed factorisation machines against the library that trained them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import myfm
import numpy as np
import pytest
from numpy.typing import NDArray

from recsys.data.ratings import Ratings
from recsys.errors import InputError
from recsys.models.myfm import family
from recsys.models.myfm.config import MyFmConfig
from recsys.models.myfm.trainer import MyFmTrainer
from recsys.models.registry import FAMILIES
from tests.small_ratings import history_of, training_data

RANDOM = np.random.default_rng(0)
PLAIN = training_data()
DATA = replace(
    PLAIN,
    user_features=RANDOM.random((PLAIN.train.user_count, 3)).astype(np.float32),
    item_features=RANDOM.random((PLAIN.train.item_count, 2)).astype(np.float32),
)


def relations(trainer: MyFmTrainer, pairs: Ratings) -> list[myfm.RelationBlock]:
    return [
        myfm.RelationBlock(rows.astype(np.int64), side.block)
        for rows, side in ((pairs.users, trainer.users), (pairs.items, trainer.items))
    ]


@pytest.mark.parametrize("output", ["gaussian", "ordinal"])
def test_predicts_as_the_library_does(output: str) -> None:
    config = MyFmConfig(factors=3, iterations=60, burn_in=0.5, kept=30, output=output)  # type: ignore[arg-type]
    trainer = MyFmTrainer(config, DATA, seed=1)
    trainer.train_epoch()
    levels = np.unique(DATA.train.values)
    kind = myfm.MyFMRegressor if output == "gaussian" else myfm.MyFMOrderedProbit
    target: NDArray[Any] = DATA.train.values.astype(np.float64) - trainer.centre
    if output == "ordinal":
        target = np.searchsorted(levels, DATA.train.values)
    model = kind(rank=3, random_seed=trainer.seed).fit(
        None,
        target,
        X_rel=relations(trainer, DATA.train),
        n_iter=60,
        n_kept_samples=30,
        group_shapes=trainer.users.shapes + trainer.items.shapes,
    )
    pairs = relations(trainer, DATA.valid)
    if output == "ordinal":
        expected = model.predict_proba(None, X_rel=pairs) @ levels
        # The library averages shares over samples, we integrate over their Gaussian.
        tolerance = 0.06
    else:
        expected = trainer.centre + model.predict(None, X_rel=pairs)
        tolerance = 1e-3
    scale = DATA.train.scale
    expected = np.clip(expected, scale.low, scale.high)
    np.testing.assert_allclose(trainer.predict(DATA.valid), expected, atol=tolerance)


def test_a_known_user_with_one_rating_more_stays_near_themselves() -> None:
    trainer = MyFmTrainer(MyFmConfig(factors=4, iterations=120), DATA, seed=2)
    trainer.train_epoch()
    scorer = FAMILIES["myfm"].scorer(trainer.export(), lambda user: history_of(DATA.train, user))
    items = np.arange(DATA.train.item_count - 1)
    for user in range(0, DATA.train.user_count - 1, 9):
        history = history_of(DATA.train, user)
        shorter = replace(history, items=history.items[1:], values=history.values[1:])
        changed = scorer.score(scorer.fold_in(shorter, user), items)
        known = scorer.score(scorer.known_user(user), items)
        assert np.sqrt(np.mean(np.square(changed - known))) < 0.25


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(family, "NEEDED", ("myfm_that_is_not_there",))
    check = FAMILIES["myfm"].check
    assert check is not None
    assert FAMILIES["myfm"].require_installed is family.require_library
    with pytest.raises(
        InputError, match=r"myfm_that_is_not_there cannot be imported.*pip install -e '.\[myfm\]'"
    ):
        check(MyFmConfig(), DATA)
