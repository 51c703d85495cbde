"""Items added after a release was made: scored as the release would have scored them unrated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recsys.data.feature_encoding import fit_encoding
from recsys.errors import InputError
from recsys.models.base import History
from recsys.ranking.new_items import fit_feature_map, with_new_items
from recsys.ranking.ranker import Ranker
from recsys.release.added_items import recommend_added
from recsys.release.attribute_map import AttributeMap
from recsys.release.load import load_release
from recsys.release.queries import Query
from recsys.release.recommender import Recommender
from tests.releases import make_dataset, make_release, with_features

HISTORY = History(np.array([1, 4, 7], dtype=np.int32), np.array([5, 4, 2], dtype=np.float32))


@pytest.mark.parametrize("part", ["weights", "factors", "base"])
def test_an_added_item_has_the_score_of_an_unrated_item_of_the_release(part: str) -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(31, 4)).astype(np.float32)
    vectors, counts = random.normal(size=(31, 3)), np.full(31, 200)
    counts[30] = 0
    arrays = {
        "weights": {"weights": random.normal(size=(31, 31))},
        "factors": {"factors": random.normal(size=(31, 5)), "gram": np.eye(5)},
        "base": {"base": random.normal(size=31), "weights": np.zeros((31, 31))},
    }[part]
    arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    settings = {"weight": {"typical": 3, "damping": 0.0}, "ridge": {"fixed": 1.0, "per_rating": 0.0}}
    trained = with_new_items(
        Ranker("test", settings, arrays), features=features, counts=counts, vectors=vectors
    )
    learned = fit_feature_map(features[:30], counts[:30], vectors[:30])
    packed = AttributeMap(None, (learned.inverse @ learned.weighted.T).astype(np.float32))  # type: ignore[arg-type]
    known = Ranker("test", settings, arrays).scores([HISTORY])[0, :30]
    new = packed.mapped(np.append(1, features[30])[None], known)
    assert new == pytest.approx(trained.scores([HISTORY])[0, 30:], rel=1e-4, abs=1e-5)
    assert abs(new[0]) > 1e-3


def test_a_release_scores_items_that_it_does_not_have(tmp_path: Path) -> None:
    """Everybody's best items are dramas: of two new items the drama is first, its stars those of dramas."""
    dataset = make_dataset(seed=3)
    drama = np.array(["Drama" in genres for genres in dataset.catalogue.genres])
    ratings = dataset.ratings
    values = np.where(drama[ratings.items], 5, 1).astype(np.float32)
    often = np.flatnonzero(drama[ratings.items] | (np.arange(len(ratings)) % 3 == 0))
    made = replace(dataset, ratings=replace(ratings, values=values).take(often))
    folder = make_release(tmp_path / "release", dataset=with_features(made), corrected=False)
    release = load_release(folder)
    assert release.attributes is not None
    features = release.attributes.features(
        ["A (1980)", "B (1980)", "C"], [("Action",), ("Drama",), ()], {}, where="new"
    )
    recommender = Recommender(release)
    for user in (0, 7, None):
        result = recommend_added(recommender, Query(user, count=2), features, item_numbers=[40, 41, 42])
        assert len(result) == 2
        assert result[0].item == 41
    every = recommend_added(recommender, Query(0, count=3), features, item_numbers=[40, 41, 42])
    stars = {entry.item: entry.predicted_rating for entry in every}
    assert stars[41] > stars[40] + 0.3
    plain = load_release(make_release(tmp_path / "plain", dataset=made, corrected=False))
    with pytest.raises(InputError, match="no map from features"):
        recommend_added(Recommender(plain), Query(0), features, item_numbers=[40, 41, 42])


def test_dates_are_numbers_and_a_vector_may_come_as_a_list() -> None:
    cells: dict[str, Sequence[object]] = {
        "premiere": ["2001-01-01", "2003-01-01T10:00:00Z", "", "2005-01-01"],
        **{f"plot_{n}": [0.1 * n, 0.2, 0.3, 0.4 + n] for n in range(3)},
    }
    encoding = fit_encoding(cells, where="items.csv")
    assert {column.name: column.kind for column in encoding.columns} == {
        "premiere": "number",
        "plot": "vector",
    }
    features, _ = encoding.encode(cells, 4, where="items.csv")
    again, _ = encoding.encode({"plot": [(0.2, 0.2, 0.2)], "premiere": ["2003-01-01"]}, 1, where="x")
    assert features[1] == pytest.approx(
        encoding.encode({"plot": [(0.2, 0.2, 0.2)], "premiere": ["2003-01-01"]}, 1, where="x")[0][0]
    )
    assert again.shape == (1, 4)
    with pytest.raises(InputError, match="plot has 2 numbers, expected 3"):
        encoding.encode({"plot": [(0.2, 0.2)]}, 1, where="x")
