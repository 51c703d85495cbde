"""Drift: silent on clean streams, seen when planted, and its distances against independent figures."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from recsys.data.ratings import Ratings, RatingScale
from recsys.release.profile import build_profile, distance, unpack
from serving.drift.detector import Detector, Observation
from tests.benchmarks.simulations.drift_streams import DRIFTS, draw, drift_world, first_alarm, profile_of


def test_ks_distance_is_scipys() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 10, 500), rng.integers(0, 8, 700)
    counts = [np.bincount(values, minlength=10).astype(np.float64) for values in (first, second)]
    ours = distance("ratings", *counts)
    assert ours == pytest.approx(stats.ks_2samp(first, second).statistic)


def test_psi_by_hand() -> None:
    """Half a count is added to each bin: (3.5, 1.5)/5 against (1.5, 3.5)/5."""
    ours = distance("genre_mix", np.array([3.0, 1.0]), np.array([1.0, 3.0]))
    assert ours == pytest.approx(2 * (0.7 - 0.3) * np.log(0.7 / 0.3))


def test_a_profile_survives_json() -> None:
    profile = profile_of(drift_world(1), events=8000, seed=1)
    numbers, arrays = profile.pack()
    again = unpack(json.loads(json.dumps(numbers)), arrays)
    assert again.signals == profile.signals
    assert again.scale == profile.scale


@pytest.mark.parametrize("drift", DRIFTS)
def test_planted_drift_is_seen_and_clean_streams_are_silent(drift: str) -> None:
    for seed in range(3):
        source = drift_world(seed)
        detector = Detector(profile_of(source, events=40_000, seed=seed))
        found = first_alarm(detector, draw(source, 6000, drift=drift, seed=100 + seed))
        if drift == "none":
            assert found is None
        else:
            assert found is not None
            assert found[0] <= 2000


def test_what_drifted_since_when_and_how_much_is_told() -> None:
    source = drift_world(5)
    detector = Detector(profile_of(source, events=40_000, seed=5))
    first_alarm(detector, draw(source, 2000, drift="none", seed=6))
    start = detector.events
    for place, row in enumerate(zip(*draw(source, 2000, drift="unknown users", seed=7), strict=True)):
        user, item, value, predicted = row
        seen = Observation(float(start + place), int(user), int(item), float(value), float(predicted))
        detector.observe([seen])
    state = detector.signals["unknown_users"]
    assert state.drifted
    assert state.since is not None
    assert start - 500 <= state.since <= start + 500
    label, expected, share = state.largest[0]
    assert label in (0, 1)
    assert abs(share - expected) == pytest.approx(0.3, abs=0.05)


def test_a_jump_of_the_error_inside_the_stream_is_seen_without_a_window() -> None:
    rng = np.random.default_rng(8)
    detector = Detector(profile_of(drift_world(8), events=8000, seed=8))
    for place in range(6000):
        error = abs(rng.normal()) * (0.5 if place < 3000 else 1.0)
        detector.observe([Observation(float(place), 1, 1, 3.0, 3.0 + error)])
        if detector.signals["error_change"].drifted:
            break
    assert 3000 < place < 3600


def test_tiny_data_still_gets_a_profile() -> None:
    rng = np.random.default_rng(9)
    ratings = Ratings(
        users=rng.integers(0, 20, 400).astype(np.int32),
        items=rng.integers(0, 30, 400).astype(np.int32),
        values=rng.integers(1, 6, 400).astype(np.float32),
        times=None,
        scale=RatingScale(1, 5),
        user_count=20,
        item_count=30,
    )
    profile = build_profile(ratings, np.full(400, np.nan), np.zeros((30, 0), dtype=np.bool_))
    assert profile.window == 25
    assert profile.error["ordered_by"] == "file"
