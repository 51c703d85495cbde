"""Time levels: bins that know nothing later, figures as of now that a packed member gives too."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.bounds import DataShape, parameter_count
from recsys.data.ratings import Ratings
from recsys.data.split import TrainingData
from recsys.errors import InputError
from recsys.models.hybrid_vae.config import HybridVaeConfig
from recsys.models.hybrid_vae.family import FAMILY
from recsys.models.hybrid_vae.time_bins import ITEM_EDGES, USER_EDGES, AgeBins
from recsys.models.hybrid_vae.trainer import HybridVaeTrainer
from recsys.training.epoch_metrics import evaluate
from tests.recsys.models.test_ordinal import CONFIG as ORDINAL
from tests.recsys.models.test_warm_start import CONFIG as STARTED
from tests.small_ratings import history_of, training_data

HALF = 1e-3  # stars: a packed member keeps its tables in half precision
DATA = training_data()
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
    time="levels",
)


def built(config: HybridVaeConfig = CONFIG, data: TrainingData = DATA, epochs: int = 3) -> HybridVaeTrainer:
    trainer = FAMILY.build(config, data, epochs=max(epochs, 1), seed=2, device=torch.device("cpu"))
    assert isinstance(trainer, HybridVaeTrainer)
    for _ in range(epochs):
        trainer.train_epoch()
    return trainer


def packed_stars(trainer: HybridVaeTrainer, ratings: Ratings) -> np.ndarray:
    """What a release says of the pairs of ``ratings``."""
    scorer = FAMILY.scorer(trainer.export(), lambda user: history_of(DATA.train, user))
    stars = np.empty(len(ratings), dtype=np.float32)
    for user in np.unique(ratings.users):
        rows = np.flatnonzero(ratings.users == user)
        stars[rows] = scorer.score(scorer.known_user(int(user)), ratings.items[rows])
    return stars


moments = st.integers(0, 10) | st.integers(0, 10**9)
rated = st.lists(st.tuples(st.integers(0, 3), moments), max_size=20)


def bins(pairs: list[tuple[int, int]], row: int, time: int, edges: np.ndarray) -> int:
    rows, times = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    known = AgeBins(rows, times, count=4, edges=edges)
    return int(known.bins(np.array([row]), np.array([time]))[0])


@given(pairs=rated, moved=rated, row=st.integers(0, 3), time=moments, which=st.booleans())
@settings(max_examples=300, deadline=None, derandomize=True)
def test_nothing_later_than_a_rating_moves_its_bins(
    pairs: list[tuple[int, int]], moved: list[tuple[int, int]], row: int, time: int, which: bool
) -> None:
    edges = USER_EDGES if which else ITEM_EDGES
    before = [pair for pair in pairs if pair[1] <= time]
    later = [(other, time + 1 + moment) for other, moment in moved]
    result = bins(pairs, row, time, edges)
    assert result == bins(before, row, time, edges) == bins(before + later, row, time, edges)
    own = [moment for other, moment in before if other == row]
    assert result == (sum(edge <= max(own) - min(own) for edge in edges) if own else 0)


@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        replace(CONFIG, biases=False, dot_product=0, history="none"),
        replace(CONFIG, history="attended", attention_heads=2, ema_decay=0.9),
        replace(ORDINAL, time="levels"),
        replace(STARTED, time="levels"),
    ],
)
def test_packed_it_answers_as_of_now(config: HybridVaeConfig) -> None:
    trainer = built(config)
    untimed = replace(DATA.valid, times=None)
    now = trainer.predict(untimed)
    np.testing.assert_allclose(packed_stars(trainer, DATA.valid), now, atol=HALF)
    assert DATA.train.times is not None
    newest = np.full(len(DATA.valid), DATA.train.times.max())
    np.testing.assert_array_equal(trainer.predict(replace(DATA.valid, times=newest)), now)
    assert np.abs(trainer.predict(DATA.valid) - now).max() > 1e-3


def test_a_search_judges_by_what_a_release_will_say() -> None:
    trainer = built()
    figures = evaluate(trainer, DATA.valid, DATA.train.thinned(100))
    np.testing.assert_allclose(figures.predictions, packed_stars(trainer, DATA.valid), atol=HALF)
    assert figures.kl == trainer.latent_statistics(DATA.valid)[0]


def test_it_learns_what_changes_with_time_and_uses_a_ratings_own() -> None:
    """Everybody gives more once they have been here for a day."""
    assert DATA.train.times is not None
    first = np.full(DATA.train.user_count, np.iinfo(np.int64).max)
    np.minimum.at(first, DATA.train.users, DATA.train.times)

    def shifted(ratings: Ratings) -> Ratings:
        assert ratings.times is not None
        late = ratings.times - first[ratings.users] > 500_000
        return replace(
            ratings, values=np.clip(ratings.values + np.where(late, 1, -1), 0.5, 5).astype(np.float32)
        )

    data = TrainingData(shifted(DATA.train), shifted(DATA.valid))
    errors = {}
    for time in ("none", "levels"):
        trainer = built(replace(CONFIG, time=time), data, epochs=10)
        errors[time] = np.square(trainer.predict(data.valid) - data.valid.values).mean()
    now = np.square(trainer.predict(replace(data.valid, times=None)) - data.valid.values).mean()
    assert errors["levels"] < 0.9 * errors["none"]
    assert errors["levels"] < 0.9 * now


def test_every_number_is_counted_and_training_goes_on_exactly() -> None:
    first, second = built(epochs=1), built(epochs=0)
    assert first.parameters == parameter_count(CONFIG, DataShape.of(DATA))
    second.load_state(first.state())
    np.testing.assert_array_equal(second.predict(DATA.valid), first.predict(DATA.valid))
    assert second.train_epoch() == first.train_epoch()
    np.testing.assert_array_equal(second.predict(DATA.valid), first.predict(DATA.valid))


def test_it_begins_as_the_model_without() -> None:
    plain = built(replace(CONFIG, time="none"), epochs=0)
    np.testing.assert_array_equal(built(epochs=0).predict(DATA.valid), plain.predict(DATA.valid))


def test_without_timestamps_it_is_refused_before_training() -> None:
    untimed = replace(DATA, train=replace(DATA.train, times=None))
    assert FAMILY.check is not None
    with pytest.raises(
        InputError, match=r"time is 'levels' but the ratings have no timestamps; set time to none"
    ):
        FAMILY.check(CONFIG, untimed)
    FAMILY.check(CONFIG, DATA)
    assert FAMILY.forced_defaults(untimed) == FAMILY.forced_defaults(DATA) | {"time": "none"}
