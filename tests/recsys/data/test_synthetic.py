"""The made-up world: exact sizes, long tails, and a floor that nothing beats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data import visits
from recsys.data.loading import load_dataset
from recsys.data.synthetic import PREFIX, SyntheticSpec, generate, parse_spec
from recsys.data.world import make_world
from recsys.errors import InputError
from tests.movielens_files import write_movielens_csv


@settings(deadline=None, max_examples=20)
@given(users=st.integers(5, 80), items=st.integers(10, 60), share=st.floats(0.1, 1), seed=st.integers(0, 99))
def test_sizes_are_exact_and_pairs_distinct(users: int, items: int, share: float, seed: int) -> None:
    most = users * (items // 2)
    rows = max(users, items, round(share * most))
    if rows > most:
        return
    ratings = generate(users=users, items=items, ratings=rows, seed=seed).dataset.ratings
    assert len(ratings) == rows
    assert len(np.unique(ratings.users.astype(np.int64) * items + ratings.items)) == rows
    assert np.array_equal(np.unique(ratings.items), np.arange(items))  # every item is rated
    assert np.array_equal(np.unique(ratings.users), np.arange(users))
    assert set(np.unique(ratings.values).tolist()) <= {level / 2 for level in range(1, 11)}


def test_the_floor_is_exact_and_reached_only_by_who_knows_the_world() -> None:
    made = generate(users=2000, items=600, ratings=200_000, seed=3)
    actual = made.dataset.ratings.values
    reached = np.sqrt(np.mean((actual - made.expected) ** 2))
    assert reached == pytest.approx(made.noise_floor, rel=0.005)
    assert made.dataset.noise_floor == made.noise_floor
    for worse in (made.expected + 0.05, made.expected * 0.97, np.full_like(actual, actual.mean())):
        assert np.sqrt(np.mean((actual - worse) ** 2)) > reached
    # Calibrated: where 3.7 is expected, 3.7 is what is given.
    for low in np.arange(1.5, 4.5, 0.5):
        there = (made.expected >= low) & (made.expected < low + 0.5)
        assert actual[there].mean() == pytest.approx(made.expected[there].mean(), abs=0.05)


def test_expected_ratings_against_a_million_draws() -> None:
    random = np.random.default_rng(0)
    world = make_world(users=5, items=5, random=random, nonlinear=0.5, noise=0.7, drift=0.5)
    for opinion in (0.2, 1.9, 3.3, 5.4):
        opinions = np.full(1_000_000, opinion, dtype=np.float32)
        drawn = world.rate(opinions, random)
        mean, variance = world.expected(opinions[:1])
        assert drawn.mean() == pytest.approx(mean[0], abs=0.005)
        assert drawn.var() == pytest.approx(variance[0], abs=0.005)


def test_tails_are_long() -> None:
    ratings = generate(users=3000, items=1500, ratings=300_000, seed=0).dataset.ratings
    by_user, by_item = np.bincount(ratings.users), np.bincount(ratings.items)
    assert by_user.min() >= 20
    assert by_user.max() > 5 * by_user.mean()
    assert np.sort(by_item)[-150:].sum() > 0.4 * len(ratings)  # a tenth of the items, most of the ratings
    assert np.median(by_item) < 0.5 * by_item.mean()


def explained(nonlinear: float, rank: int) -> float:
    """Share of the variance of all opinions, biases removed, that the best ``rank`` factors hold."""
    random = np.random.default_rng(1)
    world = make_world(users=300, items=300, random=random, nonlinear=nonlinear, noise=0.6, drift=0)
    users, items = np.divmod(np.arange(90_000), 300)
    table = world.opinions(users, items, np.full(90_000, 0.5, dtype=np.float32)).reshape(300, 300)
    table = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
    power = np.linalg.svd(table, compute_uv=False) ** 2
    return float(power[:rank].sum() / power.sum())


def test_the_dial_takes_structure_out_of_a_dot_products_reach() -> None:
    assert explained(0.0, rank=4) > 0.999
    assert explained(1.0, rank=4) < 0.85
    assert explained(0.0, rank=4) > explained(0.5, rank=4) > explained(1.0, rank=4)


def test_tastes_drift_with_the_years() -> None:
    random = np.random.default_rng(2)
    world = make_world(users=500, items=500, random=random, nonlinear=0.5, noise=0.6, drift=0.6)
    rows = np.arange(500)
    first, last = (world.opinions(rows, rows, np.full(500, when, dtype=np.float32)) for when in (0, 1))
    assert 0.2 < np.std(last - first) < 0.8


def test_one_seed_one_world(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visits, "CHUNK", 1000)  # several chunks
    entry, same = (generate(users=100, items=80, ratings=3000, seed=5).dataset for _ in range(2))
    assert entry.sha256 == same.sha256
    assert generate(users=100, items=80, ratings=3000, seed=6).dataset.sha256 != entry.sha256
    assert len(entry.ratings) == 3000


def test_as_a_data_argument() -> None:
    dataset = load_dataset("synthetic:users=100,items=80,ratings=3000,seed=5")
    assert dataset.sha256 == generate(users=100, items=80, ratings=3000, seed=5).dataset.sha256
    assert dataset.noise_floor is not None
    assert dataset.item_features is not None
    assert dataset.source.startswith("synthetic:users=100,items=80,ratings=3000,seed=5")
    assert parse_spec(PREFIX) == SyntheticSpec()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "synthetic:user=5",
            r"there is no such field; the fields are users, items, ratings, seed, nonlinear",
        ),
        ("synthetic:users=many", r"cannot read 'users=many'; expected e\.g\. users=1000"),
        (
            "synthetic:users=10,items=10,ratings=90",
            r"90 ratings do not fit 10 users and 10 items; expected 10 \.\. 50",
        ),
        ("synthetic:noise=0", r"expected nonlinear in 0 \.\. 1 and noise above 0"),
        ("synthetic:users=1", r"at least 2 users"),
    ],
)
def test_specs_that_cannot_be(source: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_dataset(source)


def test_written_as_movielens_and_read_back(tmp_path: Path) -> None:
    made = generate(users=100, items=80, ratings=3000, seed=5).dataset
    write_movielens_csv(made, tmp_path / "ml")
    lines = (tmp_path / "ml" / "ratings.csv").read_text().splitlines()
    assert lines[0] == "userId,movieId,rating,timestamp"
    assert lines[1].split(",")[2] == f"{made.ratings.values[0]:.1f}"
    read = load_dataset(str(tmp_path / "ml"))
    assert read.sha256 == made.sha256
    assert list(read.catalogue.titles) == list(made.catalogue.titles)
    assert list(read.catalogue.genres) == list(made.catalogue.genres)
