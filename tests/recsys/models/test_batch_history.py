"""A step's own rows stand for whole histories: equal where all is read, right on average where it is not."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from recsys.data.ratings import Ratings, RatingScale
from recsys.data.split import TrainingData
from recsys.models.hybrid_vae import network as network_module
from recsys.models.hybrid_vae import trainer as trainer_module
from recsys.models.hybrid_vae.batch_history import RowRatings, cheaper_by_batch, expected_entries
from recsys.models.hybrid_vae.config import HistoryKind, HybridVaeConfig
from recsys.models.hybrid_vae.history import SideHistory
from recsys.models.hybrid_vae.trainer import HybridVaeTrainer

CPU = torch.device("cpu")
CENTRE = 3.0


def made_up(users: int = 60, items: int = 25, count: int = 700, seed: int = 0) -> Ratings:
    """Some items rated by nearly everybody, each pair once."""
    random = np.random.default_rng(seed)
    weights = 1.0 / np.arange(1, items + 1)
    chosen = random.choice(
        users * items, count, replace=False, p=np.tile(weights / weights.sum(), users) / users
    )
    return Ratings(
        users=(chosen // items).astype(np.int32),
        items=(chosen % items).astype(np.int32),
        values=random.integers(1, 6, count).astype(np.float32),
        times=random.integers(0, 10**6, count),
        scale=RatingScale(1, 5),
        user_count=users,
        item_count=items,
    )


def side(ratings: Ratings, kind: HistoryKind, *, flipped: bool = True) -> tuple[SideHistory, RowRatings]:
    torch.manual_seed(1)
    history = SideHistory(
        ratings,
        flipped=flipped,
        kind=kind,
        width=4,
        centre=CENTRE,
        limit=0,
        scale=1.0,
        device=CPU,
        heads=2,
    )
    rows, columns = (ratings.items, ratings.users) if flipped else (ratings.users, ratings.items)
    counts = (ratings.user_count, ratings.item_count)
    shape = counts[::-1] if flipped else counts
    return history, RowRatings(rows, columns, ratings.values - CENTRE, shape=shape, seed=3)


def pooled(
    history: SideHistory,
    by_row: RowRatings,
    ratings: Ratings,
    pairs: np.ndarray,
    *,
    most: int | None,
    seed: int,
) -> torch.Tensor:
    batch = by_row.batch(ratings.items[pairs], pairs, most=most, random=np.random.default_rng(seed))
    return history.forward(
        history.batch_sums(batch),
        torch.from_numpy(ratings.items[pairs]),
        torch.from_numpy(ratings.users[pairs]),
        torch.ones(len(pairs)),
        torch.from_numpy((ratings.values[pairs] - CENTRE).astype(np.float32)),
    )


def whole(history: SideHistory, ratings: Ratings, pairs: np.ndarray) -> torch.Tensor:
    return history.forward(
        history.sums(),
        torch.from_numpy(ratings.items[pairs]),
        torch.from_numpy(ratings.users[pairs]),
        torch.ones(len(pairs)),
        torch.from_numpy((ratings.values[pairs] - CENTRE).astype(np.float32)),
    )


@pytest.mark.parametrize("kind", ["implicit", "ratings", "attended"])
@pytest.mark.parametrize("most", [None, 1_000])
def test_all_of_a_row_is_the_whole_history_and_its_gradient(kind: HistoryKind, most: int | None) -> None:
    ratings = made_up()
    history, by_row = side(ratings, kind)
    pairs = np.random.default_rng(5).integers(0, len(ratings), 64)
    results = []
    for values in (
        whole(history, ratings, pairs),
        pooled(history, by_row, ratings, pairs, most=most, seed=0),
    ):
        history.zero_grad()
        values.square().sum().backward()
        results.append((values.detach(), [weight.grad.clone() for weight in history.parameters()]))  # type: ignore[union-attr]
    (expected, slopes), (values, own_slopes) = results
    torch.testing.assert_close(values, expected, rtol=1e-4, atol=1e-4)
    for slope, own in zip(slopes, own_slopes, strict=True):
        torch.testing.assert_close(own, slope, rtol=1e-3, atol=1e-3)


def test_a_sample_of_a_row_is_right_on_average() -> None:
    ratings = made_up(users=200, items=6, count=900)
    history, by_row = side(ratings, "ratings")
    pairs = np.arange(0, len(ratings), 11)
    with torch.no_grad():
        expected = whole(history, ratings, pairs)
        draws = torch.stack(
            [pooled(history, by_row, ratings, pairs, most=20, seed=seed) for seed in range(1_500)]
        )
    spread = draws.std(dim=0) / np.sqrt(len(draws))
    off = (draws.mean(dim=0) - expected).abs() / spread.clamp(min=1e-6)
    assert float(draws.std(dim=0).max()) > 0.1  # it is a sample
    # A block of a row in one fixed random order: its mean over all places is the row's mean.
    assert float(off.quantile(0.99)) < 4.0


def test_its_own_rating_is_never_in_the_sample_of_a_pair() -> None:
    ratings = made_up(users=120, items=5, count=500)
    history, by_row = side(ratings, "ratings")
    pairs = np.arange(len(ratings))
    for pair in range(0, len(ratings), 41):
        values = ratings.values.copy()
        values[pair] = 6 - values[pair]
        other = copy.copy(ratings)
        object.__setattr__(other, "values", values)
        changed = RowRatings(ratings.items, ratings.users, values - CENTRE, shape=by_row.shape, seed=3)
        before = pooled(history, by_row, ratings, pairs[pair : pair + 1], most=15, seed=pair)
        after = pooled(history, changed, other, pairs[pair : pair + 1], most=15, seed=pair)
        torch.testing.assert_close(after, before, rtol=1e-3, atol=2e-3)


def test_what_a_step_reads_does_not_grow_with_the_data() -> None:
    """Eight times the people and the ratings, the same catalogue: about as many entries a batch."""
    sizes = []
    for people in (2_000, 16_000):
        random = np.random.default_rng(1)
        users = np.repeat(np.arange(people), 20)
        items = random.integers(0, 300, len(users))
        made = RowRatings(users, items, np.zeros(len(users)), shape=(people, 300), seed=0)
        flipped = RowRatings(items, users, np.zeros(len(users)), shape=(300, people), seed=0)
        pairs = random.integers(0, len(users), 256)
        batch = made.batch(users[pairs], pairs, most=None, random=random)
        other = flipped.batch(items[pairs], pairs, most=50, random=random)
        sizes.append((len(batch.columns), len(other.columns)))
        assert len(batch.columns) == pytest.approx(expected_entries(np.bincount(users), 256, None), rel=0.1)
        assert len(other.columns) == pytest.approx(expected_entries(np.bincount(items), 256, 50), rel=0.1)
    assert sizes[1][0] < 1.2 * sizes[0][0]
    assert sizes[1][1] <= 300 * 50
    assert cheaper_by_batch(np.bincount(users), np.bincount(items), 256)


def test_a_training_by_batches_learns_as_one_by_whole_sums_and_resumes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ratings = made_up(users=150, items=60, count=4_000, seed=2)
    cut = np.random.default_rng(0).permutation(len(ratings))
    data = TrainingData(ratings.take(np.sort(cut[:3_500])), ratings.take(np.sort(cut[3_500:])))
    config = HybridVaeConfig(factors=8, hidden=(16,), latent=4, history="ratings", dot_product=8)

    def built() -> HybridVaeTrainer:
        return HybridVaeTrainer(config, data, epochs=6, seed=1, device=CPU)

    def rmse(trainer: HybridVaeTrainer) -> float:
        return float(np.sqrt(np.square(trainer.predict(data.valid) - data.valid.values).mean()))

    exact = built()
    assert exact.network.by_row is None
    monkeypatch.setattr(network_module, "cheaper_by_batch", lambda *_: True)
    monkeypatch.setattr(trainer_module, "SAMPLE_OF_AN_ITEM", 40)
    sampled, resumed = built(), built()
    assert sampled.network.by_row is not None
    for trainer in (exact, sampled):
        for _ in range(6):
            trainer.train_epoch()
    assert rmse(sampled) == pytest.approx(rmse(exact), abs=0.05)
    half = built()
    for _ in range(3):
        half.train_epoch()
    resumed.load_state(half.state())
    for _ in range(3):
        resumed.train_epoch()
    np.testing.assert_allclose(resumed.predict(data.valid), sampled.predict(data.valid), atol=1e-5)
