"""Attention over the history: against loops over ratings, blind to the target, and the same once packed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.bounds import DataShape, parameter_count
from recsys.data.ratings import Ratings
from recsys.errors import InputError
from recsys.models.base import History
from recsys.models.hybrid_vae.attention import GAIN, LIMIT
from recsys.models.hybrid_vae.config import HybridVaeConfig
from recsys.models.hybrid_vae.family import FAMILY
from recsys.models.hybrid_vae.history import SideHistory, newest
from recsys.models.hybrid_vae.scorer import HybridVaeScorer
from recsys.models.hybrid_vae.trainer import HybridVaeTrainer
from tests.recsys.models.test_bayes_mf import world
from tests.recsys.models.test_warm_start import CONFIG as STARTED
from tests.small_ratings import SCALE, history_of, training_data

HALF = 1e-3  # stars: a packed member keeps its tables in half precision
DATA = training_data()
CPU = torch.device("cpu")
CONFIG = HybridVaeConfig(
    factors=8,
    hidden=(16,),
    latent=4,
    biases=True,
    dot_product=8,
    history="attended",
    attention_heads=2,
    normalisation="layer",
    batch_size=64,
    learning_rate=5e-3,
    dropout=0.1,
)


def built(config: HybridVaeConfig = CONFIG, epochs: int = 3) -> HybridVaeTrainer:
    trainer = FAMILY.build(config, DATA, epochs=max(epochs, 1), seed=2, device=CPU)
    assert isinstance(trainer, HybridVaeTrainer)
    for _ in range(epochs):
        trainer.train_epoch()
    return trainer


def side(
    ratings: Ratings, *, flipped: bool, heads: int = 2, limit: int = 0, centre: float = 3.0
) -> SideHistory:
    """With the same random tables and logits whatever ``ratings`` hold."""
    torch.manual_seed(1)
    made = SideHistory(
        ratings,
        flipped=flipped,
        kind="attended",
        width=4,
        centre=centre,
        limit=limit,
        scale=1.0,
        device=CPU,
        heads=heads,
    )
    assert made.attention is not None
    torch.nn.init.normal_(made.attention.logits, std=1 / GAIN)
    return made


def by_hand(made: SideHistory, rated: list[tuple[int, float]]) -> np.ndarray:
    """(4,) pooled ``rated`` rows of the other side, each with its centred stars."""
    assert made.attention is not None
    logits = made.attention.logits.detach().double().numpy()
    weights = np.exp(LIMIT * np.tanh(GAIN * logits / LIMIT))
    plain, valued = (table.detach().double().numpy() for table in made.tables)
    pooled = np.zeros(4)
    share = 4 // weights.shape[1]
    for column in range(4):
        head = column // share
        above = sum(
            weights[row, head] * (plain[row, column] + stars * valued[row, column]) for row, stars in rated
        )
        below = sum(weights[row, head] ** 2 for row, _ in rated)
        pooled[column] = above / np.sqrt(below) if rated else 0.0
    return pooled


def asked(
    made: SideHistory, rows: np.ndarray, targets: np.ndarray, inside: np.ndarray, centred: np.ndarray
) -> np.ndarray:
    messages = (torch.from_numpy(part) for part in (inside.astype(np.float32), centred.astype(np.float32)))
    with torch.no_grad():
        pooled: np.ndarray = made(
            made.sums(), torch.from_numpy(rows), torch.from_numpy(targets), *messages
        ).numpy()
    return pooled


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize(("heads", "limit"), [(1, 0), (2, 0), (4, 0), (2, 7)])
def test_pooling_is_that_of_a_loop_over_the_others(flipped: bool, heads: int, limit: int) -> None:
    train = DATA.train
    made = side(train, flipped=flipped, heads=heads, limit=limit)
    rows, targets = (train.items, train.users) if flipped else (train.users, train.items)
    kept = newest(rows, train.times, limit)
    centred = train.values - 3.0
    some = np.arange(0, len(train), 37)
    pooled = asked(made, rows[some], targets[some], kept[some], centred[some])
    for index, pair in enumerate(some):
        others = np.flatnonzero((rows == rows[pair]) & (targets != targets[pair]) & kept)
        rated = [(int(targets[other]), float(centred[other])) for other in others]
        np.testing.assert_allclose(pooled[index], by_hand(made, rated), atol=1e-4)


cells = st.dictionaries(
    st.tuples(st.integers(0, 4), st.integers(0, 5)), st.sampled_from([0.5, 2.0, 3.5, 5.0]), min_size=1
)


@given(cells=cells, other=st.sampled_from([0.5, 5.0]), flipped=st.booleans(), chosen=st.integers(0, 99))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_a_rating_is_never_seen_by_its_own_prediction(
    cells: dict[tuple[int, int], float], other: float, flipped: bool, chosen: int
) -> None:
    """As given, given otherwise, or not at all: the rest of the history is all that is pooled."""
    target = list(cells)[chosen % len(cells)]
    row, column = target[::-1] if flipped else target
    pooled = []
    for value in (cells[target], other, None):
        held = {pair: stars for pair, stars in (cells | {target: value}).items() if stars is not None}
        pairs = np.array(list(held), dtype=np.int32).reshape(-1, 2)
        ratings = Ratings(
            pairs[:, 0], pairs[:, 1], np.array(list(held.values()), dtype=np.float32), None, SCALE, 5, 6
        )
        made = side(ratings, flipped=flipped)
        inside, centred = np.array([value is not None]), np.array([(value or 0) - 3.0])
        pooled.append(asked(made, np.array([row]), np.array([column]), inside, centred))
    np.testing.assert_allclose(pooled[0], pooled[2], atol=1e-4)
    np.testing.assert_allclose(pooled[1], pooled[2], atol=1e-4)


def test_it_begins_as_the_plain_history_and_learns_to_weigh() -> None:
    attended, plain = built(epochs=0), built(replace(CONFIG, history="ratings"), epochs=0)
    np.testing.assert_allclose(attended.predict(DATA.valid), plain.predict(DATA.valid), atol=1e-6)
    attention = built().network.user_history.attention
    assert attention is not None
    weights = attention.weights().detach()[:-1]  # the last item has no rating
    assert float(weights.std()) > 0.05
    assert np.exp(-LIMIT) < float(weights.min()) < float(weights.max()) < np.exp(LIMIT)


@pytest.mark.parametrize("changes", [{}, {"attention_heads": 8}, {"history_limit": 5}, {"ema_decay": 0.9}])
def test_packed_it_answers_the_same(changes: dict[str, Any]) -> None:
    trainer = built(replace(CONFIG, **changes))
    scorer = FAMILY.scorer(trainer.export(), lambda user: history_of(DATA.train, user))
    for user in range(0, DATA.train.user_count, 9):
        rows = np.flatnonzero(DATA.valid.users == user)
        stars = scorer.score(scorer.known_user(user), DATA.valid.items[rows])
        np.testing.assert_allclose(stars, trainer.predict(DATA.valid)[rows], atol=HALF)


def test_a_new_users_history_is_pooled_as_a_known_users_is() -> None:
    """Of those who rated the same, only the own numbers differ; nobody's history is an error."""
    scorer = FAMILY.scorer(built().export(), lambda user: history_of(DATA.train, user))
    nobody = History(np.zeros(0, np.int32), np.zeros(0, np.float32))
    users = [0, 7, 20]
    assert isinstance(scorer, HybridVaeScorer)
    folded = scorer.fold_in_many([nobody, *(history_of(DATA.train, user) for user in users)], [None] * 4)
    np.testing.assert_array_equal(folded[0].history, 0)
    for state, known in zip(folded[1:], scorer.known_users(users), strict=True):
        assert state.history is not None
        assert known.history is not None
        np.testing.assert_allclose(state.history, known.history, atol=1e-5)


def test_a_start_and_tiny_batches_go_with_it() -> None:
    data = world()
    trainer = FAMILY.build(
        replace(STARTED, history="attended", attention_heads=4), data, epochs=1, seed=2, device=CPU
    )
    assert np.isfinite(trainer.train_epoch()["train_loss"])
    few = replace(DATA, train=DATA.train.take(np.arange(5)))
    trainer = FAMILY.build(replace(CONFIG, batch_size=2), few, epochs=2, seed=2, device=CPU)
    for _ in range(2):
        assert np.isfinite(trainer.train_epoch()["gradient_norm"])
    assert np.isfinite(trainer.predict(DATA.valid)).all()


def test_every_number_is_counted_and_training_goes_on_exactly() -> None:
    straight, first = built(epochs=2), built(epochs=1)
    assert straight.parameters == parameter_count(CONFIG, DataShape.of(DATA))
    second = built(epochs=0)
    second.epochs = 2
    first.epochs = 2
    second.load_state(first.state())
    assert second.train_epoch() == first.train_epoch()
    np.testing.assert_array_equal(second.predict(DATA.valid), first.predict(DATA.valid))


@pytest.mark.parametrize("heads", [0, 3])
def test_heads_that_cannot_share_the_columns_are_refused(heads: int) -> None:
    with pytest.raises(
        InputError, match=rf"attention_heads is {heads}, expected .* divide dot_product \(8\)"
    ):
        replace(CONFIG, attention_heads=heads)


def test_a_member_packed_before_there_was_attention_still_answers() -> None:
    member = built(replace(CONFIG, history="ratings")).export()
    older = {name: value for name, value in member.settings.items() if not name.startswith("attention")}
    answers = []
    for entry in (member, replace(member, settings=older)):
        scorer = FAMILY.scorer(entry, lambda user: history_of(DATA.train, user))
        answers.append(scorer.score(scorer.fold_in(history_of(DATA.train, 3)), np.arange(30)))
    np.testing.assert_array_equal(answers[0], answers[1])
