"""Every layout gives the same ratings, in the file's order, with what it knows of items and users."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recsys.data.loading import load_dataset
from recsys.data.ratings import RatingScale
from recsys.errors import InputError
from tests.recsys.data.examples import (
    TITLES,
    as_table,
    table,
    write_csv_layout,
    write_dat_layout,
    write_parquet_layout,
    write_u_layout,
)

Writer = Callable[[Path, pd.DataFrame], Path]
WRITERS: dict[str, Writer] = {
    "u.data": write_u_layout,
    "dat": write_dat_layout,
    "csv": write_csv_layout,
    "parquet": write_parquet_layout,
}


@pytest.mark.parametrize("layout", WRITERS)
def test_rows_keep_their_order_and_values(layout: str, tmp_path: Path) -> None:
    written = table(half=layout != "u.data")
    dataset = load_dataset(str(WRITERS[layout](tmp_path / "ml", written)), cache=tmp_path / "cache")
    read = as_table(dataset)
    assert read["userId"].astype(int).tolist() == written["userId"].tolist()
    assert read["movieId"].astype(int).tolist() == written["movieId"].tolist()
    assert read["rating"].tolist() == written["rating"].tolist()
    assert read["timestamp"].tolist() == written["timestamp"].tolist()
    assert dataset.ratings.scale == RatingScale(1.0 if layout == "u.data" else 0.5, 5.0)
    assert dataset.user_ids.tolist() == sorted(dataset.user_ids.tolist(), key=int)
    assert dataset.quality.left_out == 0
    assert dataset.name == "ml"
    assert "no redistribution" in dataset.licence


@pytest.mark.parametrize("layout", WRITERS)
def test_titles_and_genres(layout: str, tmp_path: Path) -> None:
    written = table(half=False)
    dataset = load_dataset(str(WRITERS[layout](tmp_path, written)), cache=tmp_path / "cache")
    catalogue = dataset.catalogue
    assert catalogue.titles[0] == TITLES[0]
    if layout == "csv":
        assert catalogue.titles[1] == TITLES[1]  # a title with a comma, quoted
        assert catalogue.genres[0] == ()
        assert catalogue.genres[1] == ("Drama", "Comedy")
    if layout == "u.data":
        assert catalogue.genres[0] == ("Action", "Comedy")
    assert dataset.item_features is not None
    assert dataset.item_features.dtype == np.float32
    genres = len(catalogue.genre_names())
    assert (dataset.item_features[:, :genres] == catalogue.genre_matrix()).all()
    assert dataset.item_features.shape[1] == genres + 1  # and the year


@pytest.mark.parametrize("layout", ["u.data", "dat", "parquet"])
def test_users_are_one_hot(layout: str, tmp_path: Path) -> None:
    dataset = load_dataset(str(WRITERS[layout](tmp_path, table(half=False))), cache=tmp_path / "cache")
    features = dataset.user_features
    assert features is not None
    assert features.shape[0] == dataset.ratings.user_count
    assert (features.sum(axis=1) == 3).all()  # an age bracket, a gender, an occupation
    assert features[0, 0] == 1  # 17 and 1 are both under 18
    assert features[1, 1] == 1
    assert features[2, 6] == 1  # 60 and 56 are both 56 and above


def test_whole_stars_are_told_from_half_stars(tmp_path: Path) -> None:
    assert load_dataset(str(write_dat_layout(tmp_path, table(half=False)))).ratings.scale == RatingScale(1, 5)


@pytest.mark.parametrize("layout", ["u.data", "dat"])
def test_a_bare_file_without_header_is_known_by_its_name(layout: str, tmp_path: Path) -> None:
    written = table(half=False)
    folder = WRITERS[layout](tmp_path, written)
    source = next(path for path in folder.iterdir() if path.name in ("u.data", "ratings.dat"))
    dataset = load_dataset(str(source))
    assert as_table(dataset)["timestamp"].tolist() == written["timestamp"].tolist()
    assert dataset.catalogue.titles[0] == ""


def test_the_same_ratings_have_the_same_fingerprint(tmp_path: Path) -> None:
    written = table(half=False)
    result = {load_dataset(str(WRITERS[name](tmp_path / name, written))).sha256 for name in WRITERS}
    assert len(result) == 1
    written["rating"] = written["rating"].where(written.index > 0, 6 - written["rating"] % 5)
    assert load_dataset(str(write_dat_layout(tmp_path / "changed", written))).sha256 not in result


def test_missing_timestamps_are_no_fault_of_the_rows(tmp_path: Path) -> None:
    written = table()
    written["timestamp"] = written["timestamp"].astype("Int64")
    written.loc[:300, "timestamp"] = pd.NA
    dataset = load_dataset(str(write_parquet_layout(tmp_path, written)))
    assert dataset.ratings.times is None
    assert len(dataset.ratings) == 400
    assert dataset.quality.notes == ("301 of 400 rows have no timestamp: times are not used",)


def test_a_folder_without_ratings(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("no ratings here")
    with pytest.raises(
        InputError, match=r"no ratings file in it; expected one of u\.data.*holds readme\.txt"
    ):
        load_dataset(str(tmp_path))
