"""A finished run's intervals: results.json says of test what the release's predictions do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recsys.data.data_spec import DataSpec
from recsys.data.splits import make_split
from recsys.release.load import load_release
from recsys.release.queries import Query
from recsys.release.recommender import Recommender
from recsys.training.trial_types import TrialSpec
from tests.search.finalize.runs import finished, train

SPECS = (
    TrialSpec(0, "bias-0", "bias", {}, epochs=2, seed=1, origin="search"),
    TrialSpec(1, "bayes-1", "bayes_mf", {"factors": 4, "sweeps": 30}, epochs=3, seed=2, origin="search"),
)


def test_coverage_in_the_results_is_that_of_the_releases_predictions(tmp_path: Path) -> None:
    dataset = DataSpec("synthetic:users=150,items=90,ratings=6000").load()
    split = make_split(dataset, "random,gate=off", seed=0)
    run = train(tmp_path / "run", SPECS, dataset, split)
    ended, _ = finished(run, {"objective": "rating"}, dataset, split)
    assert ended.release is not None
    summary, release = ended.results.rating_intervals, load_release(ended.release)
    intervals = release.manifest.rating_blend.intervals
    assert summary is not None
    assert intervals is not None
    assert intervals.scaled
    recommender, test = Recommender(release), dataset.ratings.take(split.test)
    inside, widths = 0, []
    for user, item, value in zip(test.users, test.items, test.values, strict=True):
        _, ends = recommender.predict_interval(Query(user=int(user)), np.array([item]))
        assert ends is not None
        inside += int(ends[0][0] <= value <= ends[1][0])
        widths.append(ends[1][0] - ends[0][0])
    assert summary.coverage == pytest.approx(inside / len(test), abs=1e-9)
    assert np.std(widths) > 0.05  # not one width a band
    drawn = np.average(
        [band.width for band in summary.bands], weights=[band.ratings for band in summary.bands]
    )
    assert drawn == pytest.approx(np.mean(widths), abs=1e-3)
    profile = release.manifest.reference_profile
    assert profile is not None
    assert profile.summary["signals"]["coverage"]
