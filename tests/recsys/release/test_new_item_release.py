"""A release with items that nobody has rated: they are listed, and rated with a wide interval."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recsys.data.ratings import RatingScale
from recsys.release.load import load_release
from recsys.release.queries import Query
from recsys.release.recommender import Recommender
from tests.releases import make_dataset, make_release, without_ratings


def test_a_release_holds_new_items_and_rates_them_with_a_wide_interval(tmp_path: Path) -> None:
    dataset = without_ratings(make_dataset(), [5, 11, 23])
    release = load_release(make_release(tmp_path / "release", dataset=dataset, corrected=False))
    recommender = Recommender(release)
    rows = np.array([5, 11, 23])
    assert release.popularity.counts[rows].tolist() == [0, 0, 0]
    allowed = release.popularity.counts == 0
    listed = recommender.recommend([Query(user=0, count=3, allowed=allowed)])[0].recommendations
    assert {5, 11, 23} >= {entry.item for entry in listed}
    scores = release.ranker.scores([release.histories(0)])[0, rows]
    assert (scores != 0).all()
    items = np.array([5, 0], dtype=np.int64)
    stars, ends = recommender.predict_interval(Query(user=0), items)
    assert ends is not None
    values = np.asarray(release.histories.values, dtype=np.float32)
    least, most = np.quantile(values, [0.1, 0.9])
    assert ends[0][0] <= least < stars[0] < most <= ends[1][0]
    intervals = release.manifest.rating_blend.intervals
    assert intervals is not None
    low, high = intervals.ends(stars, len(release.histories(0).items), RatingScale(0.5, 5))
    assert (ends[0][1], ends[1][1]) == (low[1], high[1])
