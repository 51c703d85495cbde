"""Packing: whole or not at all, and what is inside is what the ratings say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recsys.data.split import SLICES, TrainingData
from recsys.errors import InputError
from recsys.ranking.als import AlsConfig, fit_als
from recsys.ranking.rating_matrix import seen_matrix
from recsys.release import release_writer
from recsys.release.load import load_release
from recsys.release.pack import kept_rows, make_histories, make_popularity, pack_release
from tests.releases import fit_member, make_cut, make_dataset, make_release


def test_a_folder_that_is_there_is_never_overwritten(folder: Path) -> None:
    with pytest.raises(InputError, match="is there already"):
        make_release(folder)


def test_nothing_is_left_of_a_packing_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(release_writer, "_write_manifest", full)
    with pytest.raises(OSError, match="No space left"):
        make_release(tmp_path / "release")
    assert list(tmp_path.iterdir()) == []


def test_parts_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    dataset, other = make_dataset(), make_dataset(items=30)
    split = make_cut(dataset)
    train, valid = (dataset.ratings.take(split.rows(name)) for name in ("train", "valid"))
    data = TrainingData(train, valid)
    ranker = fit_als(seen_matrix(other.ratings), AlsConfig(factors=4, rounds=1), seed=0)
    with pytest.raises(InputError, match="ranker has 30 items, its catalogue 40"):
        pack_release(
            tmp_path / "release",
            dataset=dataset,
            split=split,
            trained_on=["train"],
            members=[fit_member("bias", data)],
            method="mean",
            ranker=ranker,
        )


def test_a_hybrid_vae_outside_the_bounds_is_not_packed(tmp_path: Path) -> None:
    dataset = make_dataset()
    split = make_cut(dataset)
    train, valid = (dataset.ratings.take(split.rows(name)) for name in ("train", "valid"))
    data = TrainingData(train, valid)
    member = fit_member("vae", data)
    packed = replace(member.packed, family="hybrid_vae")
    ranker = fit_als(seen_matrix(dataset.ratings), AlsConfig(factors=4, rounds=1), seed=0)
    with pytest.raises(InputError, match=r"vae is outside the safe bounds: kl_weight 0\.02"):
        pack_release(
            tmp_path / "release",
            dataset=dataset,
            split=split,
            trained_on=["train"],
            members=[replace(member, packed=packed, config={"kl_weight": 0.02})],
            method="mean",
            ranker=ranker,
        )


def test_histories_are_the_ratings_by_user_oldest_first() -> None:
    ratings = make_dataset(seed=3).ratings
    assert ratings.times is not None
    histories = make_histories(ratings)
    assert histories.values.dtype == np.float16
    for user in range(ratings.user_count):
        rows = np.flatnonzero(ratings.users == user)
        rows = rows[np.argsort(ratings.times[rows], kind="stable")]
        np.testing.assert_array_equal(histories(user).items, ratings.items[rows])
        np.testing.assert_array_equal(histories(user).values, ratings.values[rows])


def test_odd_stars_keep_their_digits() -> None:
    ratings = make_dataset().ratings
    odd = replace(ratings, values=(ratings.values * np.float32(0.9) + np.float32(0.123)).astype(np.float32))
    assert make_histories(odd).values.dtype == np.float32


def test_popularity_counts_decays_and_shrinks() -> None:
    ratings = make_dataset(seed=1).ratings
    assert ratings.times is not None
    popularity = make_popularity(ratings)
    item = int(ratings.items[0])
    rows = ratings.items == item
    days = (ratings.times.max() - ratings.times[rows]) / 86_400
    assert popularity.counts[item] == rows.sum()
    assert popularity.trending[item] == pytest.approx((0.5 ** (days / 30)).sum(), rel=1e-5)
    mean = ratings.values.mean()
    expected = (ratings.values[rows].sum() + 10 * mean) / (rows.sum() + 10)
    assert popularity.means[item] == pytest.approx(expected, rel=1e-5)


def test_a_refit_keeps_every_slice_that_it_learned_from() -> None:
    dataset = make_dataset()
    split = make_cut(dataset)
    assert set(kept_rows(split, ["train"])) == set(split.train) | set(split.valid)
    assert len(kept_rows(split, SLICES)) == len(dataset.ratings)


def test_the_same_parts_make_the_same_files(tmp_path: Path) -> None:
    first, second = (make_release(tmp_path / name) for name in ("first", "second"))
    files = [load_release(folder).manifest.files for folder in (first, second)]
    assert files[0] == files[1]
