"""Slices are disjoint and cover, follow their protocol, and the gate outlives growth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data.dataset import Dataset
from recsys.data.gate_slice import gate_mask
from recsys.data.protocols import FOLDS, PROTOCOLS, parse_protocol
from recsys.data.split import SLICES
from recsys.data.splits import make_split, training_data
from recsys.errors import InputError
from tests.recsys.data.examples import from_pairs, made_dataset, without_times

NAMES = [
    name for name in PROTOCOLS if name not in ("folds", "leave-last", "strong")
]  # leave-last draws nothing
NAMES.append("strong:7")


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return made_dataset()


@pytest.fixture(scope="module")
def hundred_thousand() -> Dataset:
    """As many rows as u.data, in random order."""
    random = np.random.default_rng(0)
    pairs = random.choice(400 * 1000, 100_000, replace=False)
    return from_pairs(
        [f"u{pair}" for pair in (pairs // 1000).tolist()], [f"i{pair}" for pair in (pairs % 1000).tolist()]
    )


@settings(deadline=None, max_examples=40)
@given(
    name=st.sampled_from(NAMES),
    seed=st.integers(0, 2**32),
    rows=st.integers(600, 3000),
    valid=st.sampled_from([None, 0.05, 0.3]),
    gate=st.sampled_from([None, True, False]),
)
def test_slices_are_disjoint_and_cover(
    name: str, seed: int, rows: int, valid: float | None, gate: bool | None
) -> None:
    dataset = made_dataset(rows)
    share = None if name == "future-holdout" else valid
    split = make_split(dataset, name, seed=seed, valid_share=share, gate=gate)
    together = np.concatenate([split.rows(part) for part in SLICES])
    assert np.array_equal(np.sort(together), np.arange(rows))
    for part in SLICES:
        assert np.array_equal(split.rows(part), np.sort(split.rows(part)))  # the file's order
    again = make_split(dataset, split.protocol, seed=seed)
    assert again.fingerprint == split.fingerprint
    assert again.protocol == split.protocol
    assert make_split(dataset, split.protocol, seed=seed + 1).fingerprint != split.fingerprint


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5)), min_size=2, max_size=60, unique=True),
    st.data(),
)
def test_the_gate_is_stable_as_data_grows(pairs: list[tuple[str, str]], data: st.DataObject) -> None:
    part = data.draw(st.lists(st.sampled_from(pairs), min_size=1, unique=True))
    of_all = dict(zip(pairs, gate_mask(from_pairs(*map(list, zip(*pairs, strict=True)))), strict=True))
    of_part = dict(zip(part, gate_mask(from_pairs(*map(list, zip(*part, strict=True)))), strict=True))
    assert all(of_part[pair] == of_all[pair] for pair in part)


def test_nobody_trains_on_the_gate_whatever_seed_and_growth(dataset: Dataset) -> None:
    gate = gate_mask(dataset)
    for name in ("random", "future-holdout", "temporal", "per-user,gate=on"):
        for seed in range(3):
            split = make_split(dataset, name, seed=seed)
            assert not gate[split.train].any()
            assert not gate[split.valid].any()
            assert gate[split.gate].all()
    assert np.array_equal(make_split(dataset, "random", seed=1).gate, np.flatnonzero(gate))


def test_the_gate_is_a_twentieth_of_everybody(hundred_thousand: Dataset) -> None:
    gate = gate_mask(hundred_thousand)
    assert gate.mean() == pytest.approx(0.05, abs=0.003)
    shares = np.bincount(hundred_thousand.ratings.users, weights=gate) / 250
    assert 0.01 < shares.std() < 0.02  # binomial: sqrt(0.05 * 0.95 / 250) = 0.0138


def test_random_shares(hundred_thousand: Dataset) -> None:
    counts = make_split(hundred_thousand, "random", seed=0).counts()
    assert counts["test"] == 10_000
    assert counts["valid"] == round(0.1 * (90_000 - counts["gate"]))
    whole = make_split(hundred_thousand, "random,gate=off,valid=0.05", seed=0)
    assert whole.counts() == {
        "train": 85_500,
        "valid": 4_500,
        "gate": 0,
        "test": 10_000,
        "future": 0,
        "fold_in": 0,
    }
    assert whole.protocol == "random,gate=off,valid=0.05"


def test_the_future_is_newer_and_the_owner_trains_on_four_fifths() -> None:
    dataset = made_dataset(3000)
    split = make_split(dataset, "future-holdout", seed=0)
    times = dataset.ratings.times
    assert times is not None
    older = np.concatenate([split.train, split.valid, split.gate, split.test])
    assert times[older].max() <= times[split.future].min()
    assert split.counts()["future"] == 600
    assert split.counts()["train"] == 1920
    assert split.counts()["test"] == 120


def test_temporal_goes_forward() -> None:
    dataset = made_dataset(3000)
    split = make_split(dataset, "temporal", seed=0)
    times = dataset.ratings.times
    assert times is not None
    assert times[split.train].max() <= times[split.valid].min()
    assert times[split.valid].max() <= times[split.test].min()


def test_per_user_takes_a_quarter_of_each(dataset: Dataset) -> None:
    split = make_split(dataset, "per-user", seed=0)
    users = dataset.ratings.users
    all_of, test_of = np.bincount(users), np.bincount(users[split.test], minlength=dataset.ratings.user_count)
    assert np.abs(test_of - all_of / 4).max() <= 0.5
    assert len(split.gate) == 0


def test_leave_last_tests_each_users_newest_rating() -> None:
    dataset = made_dataset(3000)
    split = make_split(dataset, "leave-last", seed=0)
    users, times = dataset.ratings.users, dataset.ratings.times
    assert times is not None
    counts = np.bincount(users)
    for user in np.flatnonzero(counts):
        parts = [rows[users[rows] == user] for rows in (split.train, split.valid, split.test)]
        long = counts[user] >= 3
        expected = [counts[user] - 2, 1, 1] if long else [counts[user], 0, 0]
        assert [len(rows) for rows in parts] == expected
        if long:
            assert times[parts[0]].max() <= times[parts[1]].min() <= times[parts[2]].min()
    with pytest.raises(InputError, match="leave out valid"):
        make_split(dataset, "leave-last", seed=0, valid_share=0.3)


def test_leave_last_leaves_the_gate_out_of_what_is_newest(dataset: Dataset) -> None:
    split = make_split(dataset, "leave-last,gate=on", seed=0)
    users, times = dataset.ratings.users, dataset.ratings.times
    assert times is not None
    left = np.bincount(np.delete(users, split.gate), minlength=dataset.ratings.user_count)
    for user in np.flatnonzero(left >= 3):
        train, test = (rows[users[rows] == user] for rows in (split.train, split.test))
        assert len(test) == 1
        assert len(train) == left[user] - 2
        assert times[test[0]] >= times[train].max()


def test_leave_last_asks_for_three_ratings_of_somebody() -> None:
    dataset = from_pairs(["a", "a", "b", "b"], ["x", "y", "x", "y"])
    times = 10**9 + 3600 * np.arange(4)
    dataset = replace(dataset, ratings=replace(dataset.ratings, times=times))
    with pytest.raises(InputError, match=r"at most 2 ratings a person: .* use --split random"):
        make_split(dataset, "leave-last", seed=0)


def test_strong_generalisation_holds_people_out_whole(dataset: Dataset) -> None:
    split = make_split(dataset, "strong:20", seed=3)
    users = dataset.ratings.users
    held_out = np.unique(users[split.test])
    assert len(held_out) == 20
    assert not np.isin(users[np.concatenate([split.train, split.valid])], held_out).any()
    assert np.array_equal(np.unique(users[split.fold_in]), held_out)
    for user in held_out:
        wanted, known = ((users[rows] == user).sum() for rows in (split.test, split.fold_in))
        assert wanted == max(1, np.rint(0.2 * (wanted + known)))
        assert wanted + known == (users == user).sum()
    assert make_split(dataset, "strong:020", seed=3).protocol == "strong:20"


@pytest.mark.parametrize(
    ("protocol", "message"),
    [
        ("strong", "expected strong:USERS"),
        ("strong:0", "expected strong:USERS"),
        ("strong:many", "expected strong:USERS"),
        ("strong:9999", r"people with 5 ratings or more, .* hold out fewer, e.g. strong:\d+"),
        ("random:20", "no protocol of that name; .* strong:USERS"),
    ],
)
def test_people_to_hold_out_are_counted(dataset: Dataset, protocol: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_split(dataset, protocol, seed=0)


def test_somebody_is_left_to_train_on() -> None:
    dataset = from_pairs(
        [f"u{user}" for user in range(6) for _ in range(8)], [f"i{item}" for item in range(8)] * 6
    )
    assert make_split(dataset, "strong:5", seed=0).counts()["fold_in"] == 5 * 6
    with pytest.raises(InputError, match="somebody must be left to train on"):
        make_split(dataset, "strong:6", seed=0)


def test_folds_are_rows_of_the_file(hundred_thousand: Dataset) -> None:
    users = hundred_thousand.ratings.users.tolist()
    for fold in FOLDS:
        split = make_split(hundred_thousand, f"folds:{fold}", seed=0)
        if fold in ("ua", "ub"):
            seen: dict[int, int] = {}
            expected = []
            for row, user in enumerate(users):
                seen[user] = seen.get(user, 0) + 1
                if (seen[user] - 1) // 10 == (0 if fold == "ua" else 1):
                    expected.append(row)
        else:
            start = (int(fold[1]) - 1) * 20_000
            expected = list(range(start, start + 20_000))
        assert split.test.tolist() == expected
        assert len(split.gate) == 0
        assert len(split.valid) == round(0.1 * (100_000 - len(expected)))


def test_training_data_holds_nothing_of_the_other_slices(dataset: Dataset) -> None:
    split = make_split(dataset, "future-holdout", seed=0)
    clean = training_data(dataset, split)
    poisoned = dataset.ratings.values.copy()
    for name in ("gate", "test", "future"):
        poisoned[split.rows(name)] = np.nan  # type: ignore[arg-type]
    values = {"values": poisoned}
    ratings = type(dataset.ratings)(**dataset.ratings.__dict__ | values)
    spoiled = training_data(Dataset(**dataset.__dict__ | {"ratings": ratings}), split)
    assert np.isnan(ratings.values).sum() == sum(split.counts()[name] for name in ("gate", "test", "future"))
    for part in ("train", "valid"):
        a, b = getattr(clean, part), getattr(spoiled, part)
        assert np.array_equal(a.values, b.values)
        assert len(a) == split.counts()[part]
        assert not np.shares_memory(b.values, ratings.values)


@pytest.mark.parametrize(
    ("protocol", "message"),
    [
        ("randon", r"no protocol of that name; there are random, .*folds:ub; did you mean random\?"),
        ("folds:u6", r"did you mean folds:u"),
        ("random:u1", "no protocol of that name"),
        ("random,gate=maybe", r"cannot read 'gate=maybe'; expected gate=on, gate=off or valid=0\.1"),
        ("random,valid=2", r"valid=2: expected a share between 0 and 1"),
        ("future-holdout,valid=0.2", "has the owner's own validation share"),
        ("folds:u1,gate=on", "published splits and keep no gate"),
        (
            "folds:u1",
            r"the folds are those of ml-100k, 100,000 ratings in u\.data's order; synthetic has 3,000",
        ),
    ],
)
def test_protocols_that_cannot_be(protocol: str, message: str, dataset: Dataset) -> None:
    with pytest.raises(InputError, match=message):
        make_split(dataset, protocol, seed=0)


def test_time_is_needed_where_it_is(dataset: Dataset) -> None:
    for name in ("temporal", "future-holdout"):
        with pytest.raises(
            InputError, match=f"split {name}: synthetic has no timestamps .* use --split random"
        ):
            make_split(without_times(dataset), name, seed=0)


def test_an_empty_slice_is_refused() -> None:
    tiny = from_pairs(["a", "b", "c"], ["x", "y", "z"])
    with pytest.raises(InputError, match=r"the slice 'valid' of pairs is empty \(3 ratings are too few"):
        make_split(tiny, "random,gate=off", seed=0)
    ungated = from_pairs([f"u{at}" for at in range(18)], ["x"] * 18)
    assert not gate_mask(ungated).any()
    with pytest.raises(InputError, match=r"the slice 'gate' of pairs is empty .*add ,gate=off"):
        make_split(ungated, "random", seed=0)


def test_protocols_print_as_they_parse() -> None:
    for text in ("random", "random,gate=off", "per-user,gate=on,valid=0.2", "folds:u3,valid=0.05"):
        assert str(parse_protocol(text)) == text
    assert str(parse_protocol("random, gate=on , valid=0.1")) == "random"
