"""Feature columns of tables of items and users: kinds, values, and what is said of odd ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.data.feature_encoding import fit_encoding
from recsys.data.loading import load_dataset
from recsys.errors import InputError

RATINGS = "user,item,rating\n" + "".join(f"u{u},i{i},{1 + (u + i) % 5}\n" for u in range(6) for i in range(4))
ITEMS = """id,title,genres,price,colour,tags,embedding_0,embedding_1
i0,A (1990),Drama,1.0,red,x|y,0.5,1.0
i1,B (2000),Drama|Comedy,3.0,blue,y,-0.5,1.0
i2,C (2010),Comedy,,red,,0.5,-1.0
i3,D (2010),Comedy,2.0,blue,x,-0.5,-1.0
n0,New (2020),Drama,2.0,blue,x|y,0.1,0.2
n1,Newer (2021),,5.0,,y,,
"""


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_kinds_and_values() -> None:
    table: dict[str, Sequence[object]] = {
        "price": ["1", "3", "", "2"],
        "colour": ["red", "blue", "red", "blue"],
        "tags": ["x|y", "y", None, "x"],
        "e": [[0.5, 1.0], [-0.5, 1.0], [0.5, -1.0], [-0.5, -1.0]],
    }
    encoding = fit_encoding(table, where="items")
    kinds = {column.name: column.kind for column in encoding.columns}
    assert kinds == {"price": "number", "colour": "category", "tags": "list", "e": "vector"}
    features, notes = encoding.encode(table, 4, where="items")
    spread = np.std([1, 3, 2])
    prices = np.array([-1, 1, 0, 0]) / spread  # a missing price is the mean
    assert np.allclose(features[:, 0], prices)
    assert features[:, 1:3].tolist() == [[0, 1], [1, 0], [0, 1], [1, 0]]  # blue, red
    assert features[:, 3:5].tolist() == [[1, 1], [0, 1], [0, 0], [1, 0]]  # x, y
    assert np.isclose(np.square(features[:, 5:]).sum(axis=1).mean(), 4)
    assert notes == [
        "price: no value for 1 of 4, counted as the mean",
        "tags: no value for 1 of 4, counted as the mean",
    ]


def test_unknown_names_and_other_widths_of_later_rows() -> None:
    encoding = fit_encoding({"colour": ["red", "red"], "e": [[0.5, 1.0], [1.5, 0.0]]}, where="items")
    features, notes = encoding.encode({"colour": ["green"], "e": [[1.0, 0.5]]}, 1, where="one")
    assert features.tolist() == [[0, 0, 0]]
    assert notes == ["colour: 'green' is not among the 1 values learned from, counted as missing"]
    with pytest.raises(InputError, match=r"one, row 1: e has 3 numbers, expected 2"):
        encoding.encode({"e": [[1.0, 0.5, 0.1]]}, 1, where="one")
    with pytest.raises(InputError, match=r"items, row 2: e has 1 numbers, expected 2"):
        fit_encoding({"e": [[0.5, 1.0], [1.5]]}, where="items")
    with pytest.raises(InputError, match="price is 'cheap', expected a number"):
        fit_encoding({"price": ["1", "2"]}, where="items").encode({"price": ["cheap"]}, 1, where="one")


def test_outliers_are_cut_off_at_five_deviations_a_vector_in_its_own_direction() -> None:
    random = np.random.default_rng(0)
    cells = {"price": random.normal(size=200).tolist(), "plot": random.normal(size=(200, 3)).tolist()}
    encoding = fit_encoding(cells, where="items")
    result, _ = encoding.encode(
        {"price": [1e15, 0.0], "plot": [[1e15, 0, 1e15], [0.5, 0, 0.5]]}, 2, where="x"
    )
    assert result[0, 0] == 5
    np.testing.assert_allclose(result[0, 1:], [50**0.5, 0, 50**0.5], atol=1e-4)  # five times a length of 2
    assert np.linalg.norm(result[1, 1:]) < 2


def test_columns_that_are_no_features() -> None:
    texts = [f"a text of its own, {row}" for row in range(300)]
    table = {
        "about": texts,
        "tmdbId": [str(row) for row in range(300)],
        "same": ["1"] * 300,
        "no": [""] * 300,
    }
    encoding = fit_encoding(table, where="items")
    assert encoding.width == 0
    assert encoding.notes == (
        "about: 300 different values in 300 rows, left out",
        "tmdbId: an id by its name, left out",
        "same: the same in every row, left out",
        "no: empty, left out",
    )


def test_items_without_a_rating_are_in_the_catalogue_with_their_features(tmp_path: Path) -> None:
    source = write(tmp_path / "r.csv", RATINGS)
    plain = load_dataset(source)
    dataset = load_dataset(source, items=Path(write(tmp_path / "items.csv", ITEMS)))
    assert dataset.catalogue.ids.tolist() == ["i0", "i1", "i2", "i3", "n0", "n1"]
    assert dataset.ratings.item_count == 6
    assert len(dataset.ratings) == len(plain.ratings)
    assert dataset.ratings.items.max() == 3
    assert dataset.item_features is not None
    # Comedy, Drama, year, price, blue, red, x, y, and the vector
    assert dataset.item_features.shape == (6, 10)
    assert dataset.item_features[4, :2].tolist() == [0, 1]
    assert dataset.item_features[5, 8:].tolist() == [0, 0]
    assert "2 items have no rating: they are in the catalogue as new" in dataset.quality.notes
    assert dataset.sha256 != plain.sha256


def test_a_parquet_list_column_is_a_vector_and_words_are_a_list(tmp_path: Path) -> None:
    source = write(tmp_path / "r.csv", RATINGS)
    table = pa.table(
        {
            "item": ["i0", "i1", "i2", "i3", "n0"],
            "embedding": [
                [0.1, 0.2, 0.3],
                [0.3, 0.2, 0.1],
                [0.0, 0.1, 0.0],
                [1.0, 0.5, 0.2],
                [0.4, 0.4, 0.4],
            ],
            "cast": [["ann", "bob"], ["ann"], ["bob"], [], ["ann"]],
        }
    )
    pq.write_table(table, tmp_path / "items.parquet")
    dataset = load_dataset(source, items=tmp_path / "items.parquet")
    assert dataset.item_features is not None
    assert dataset.item_features.shape == (5, 5)
    assert dataset.item_features[:, 3:].tolist() == [[1, 1], [1, 0], [0, 1], [0, 0], [1, 0]]


def test_users_of_any_columns(tmp_path: Path) -> None:
    source = write(tmp_path / "r.csv", RATINGS)
    people = "member,age,city\nu0,20,Rome\nu1,30,Oslo\nu2,40,Rome\nu3,,Oslo\nu4,30,Rome\nx,99,Bari\n"
    dataset = load_dataset(source, users=Path(write(tmp_path / "people.csv", people)))
    assert dataset.user_features is not None
    assert dataset.user_features.shape == (6, 3)
    assert dataset.user_features[:, 1:].tolist() == [[0, 1], [1, 0], [0, 1], [1, 0], [0, 1], [0, 0]]
    assert "people.csv: it knows 5 of 6 people" in dataset.quality.notes
    other = Path(write(tmp_path / "other.csv", "id,age\nq1,20\nq2,30\n"))
    with pytest.raises(InputError, match=r"it knows 0 of 6 people who rated.*its ids are q1, q2, those"):
        load_dataset(source, users=other)
    with pytest.raises(InputError, match="no such users file"):
        load_dataset(source, users=tmp_path / "none.csv")
