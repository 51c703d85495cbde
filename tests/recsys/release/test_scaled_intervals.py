"""A release whose members have posteriors: each rating's interval is as wide as they are in doubt."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.data.ratings import RatingScale
from recsys.models.base import History
from recsys.release.load import load_release
from recsys.release.loaded_release import Release
from recsys.release.queries import Query
from recsys.release.recommender import Recommender
from serving.domain import Feedback
from serving.drift.drift_monitor import observed
from tests.releases import make_release


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    folder = tmp_path_factory.mktemp("scaled") / "release"
    return load_release(make_release(folder, members=("bias", "bayes_mf", "item_gp"), scaled=True))


def expected_deviations(release: Release, user: int, items: np.ndarray) -> np.ndarray:
    """The two posteriors at equal weight; a bias model has none."""
    own = [
        member.scorer.deviations(member.scorer.known_user(user), items)  # type: ignore[attr-defined]
        for member in release.members
        if not member.name.startswith("bias")
    ]
    return np.asarray(np.maximum(np.mean(own, axis=0), 0.02 * 4.5))


def test_predictions_come_with_ends_in_units_of_the_posteriors_deviation(release: Release) -> None:
    recommender, items, user = Recommender(release), np.arange(20), 3
    stars, ends = recommender.predict_interval(Query(user=user), items)
    assert ends is not None
    deviations = expected_deviations(release, user, items)
    assert np.ptp(deviations) > 0.05
    low, high = (-1.5, 1.25) if len(release.histories(user).items) < 10 else (-1.0, 0.75)
    np.testing.assert_allclose(ends[0], np.clip(stars + low * deviations, 0.5, 5), atol=1e-5)
    np.testing.assert_allclose(ends[1], np.clip(stars + high * deviations, 0.5, 5), atol=1e-5)


def test_a_stranger_and_a_newer_rating_have_intervals_too(release: Release) -> None:
    recommender, items = Recommender(release), np.arange(20)
    given = History(np.array([1, 2], np.int32), np.array([5, 1], np.float32))
    for query in (Query(user=None), Query(user=None, history=given), Query(user=3, history=given)):
        stars, ends = recommender.predict_interval(query, items)
        assert ends is not None
        assert np.all((ends[0] <= stars) & (stars <= ends[1]))
        assert np.all((ends[0] >= 0.5) & (ends[1] <= 5))


def test_drift_counts_a_rating_inside_as_predictions_say_it(release: Release) -> None:
    user, item, scale = 3, 7, RatingScale(0.5, 5.0)
    items = np.array([item])
    intervals = release.manifest.rating_blend.intervals
    assert intervals is not None
    known = len(release.histories(user).items)
    low, high = intervals.ends(np.array([3.0]), known, scale, expected_deviations(release, user, items))
    for value, inside in ((high[0] - 0.01, True), (high[0] + 0.01, False), (low[0] - 0.01, False)):
        event = Feedback(
            event_id="e",
            exposure_id=None,
            user_id=str(release.users.names[user]),
            kind="rating",
            item_id=str(release.items.ids.names[item]),
            value=float(value),
            at=0.0,
            predicted=3.0,
        )
        assert observed(release, event).inside is inside
