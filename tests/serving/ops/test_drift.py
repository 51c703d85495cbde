"""Drift: silent on clean streams, seen when planted, and its distances against independent figures."""

from __future__ import annotations

import functools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from recsys.data.ratings import Ratings, RatingScale
from recsys.release.drift_thresholds import CHANGES, CONSECUTIVE, _one_stream, distances
from recsys.release.load import load_release
from recsys.release.profile import Profile, build_profile, unpack
from serving.domain import Feedback
from serving.drift.detector import Detector, Observation
from serving.drift.drift_monitor import observed
from tests.benchmarks.simulations.drift_streams import (
    DRIFTS,
    HALF,
    draw,
    drift_world,
    first_alarm,
    profile_of,
)


@functools.cache
def profile(seed: int, events: int = 40_000) -> Profile:
    """Of a world of independent ratings."""
    return profile_of(drift_world(seed), events=events, seed=seed)


def distance(name: str, expected: np.ndarray, seen: np.ndarray) -> float:
    return float(distances(name, expected, seen[None, :])[0])


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


def test_the_share_unknown_is_of_what_was_known() -> None:
    """Of 80% known, half became unknown: 60% unknown in all."""
    assert distance("unknown_users", np.array([20.0, 80.0]), np.array([60.0, 40.0])) == pytest.approx(0.5)
    assert distance("unknown_users", np.array([20.0, 80.0]), np.array([10.0, 90.0])) == 0


def test_a_profile_survives_json_and_an_older_one_is_not_read() -> None:
    numbers, arrays = profile(1).pack()
    again = unpack(json.loads(json.dumps(numbers)), arrays)
    assert again is not None
    assert again.signals == profile(1).signals
    assert again.scale == profile(1).scale
    assert unpack({name: value for name, value in numbers.items() if name != "version"}, arrays) is None


def test_a_stream_is_whole_users_cut_at_the_borders() -> None:
    """Against a loop over the users drawn, each spread evenly over its stretch."""
    random = np.random.default_rng(0)
    firsts = np.array([0, 3, 4, 9])
    sizes = random.integers(1, 900, 12).astype(float)
    counts = random.random((12, 4)) * sizes[:, None]
    ours = _one_stream(counts, sizes, firsts, 40, np.random.default_rng(3))
    again, total, rows = np.random.default_rng(3), 0.0, []
    lengths = np.diff(firsts, append=12)
    while total <= 10_000:
        for user in again.integers(0, 4, int(1.2 * 10_000 / (sizes.sum() / 4)) + 20):
            rows += list(range(firsts[user], firsts[user] + lengths[user]))
        total = sizes[rows].sum()
    expected, start = np.zeros((40, 4)), 0.0
    for row in rows:
        end = start + sizes[row]
        for window in range(40):
            inside = max(0.0, min(end, (window + 1) * 250) - max(start, window * 250))
            expected[window] += inside / sizes[row] * counts[row]
        start = end
    assert ours == pytest.approx(expected)


@pytest.mark.parametrize("drift", DRIFTS)
def test_planted_drift_is_seen_and_clean_streams_are_silent(drift: str) -> None:
    for seed in range(3):
        source = drift_world(seed)
        detector = Detector(profile(seed))
        half = 0.6 * HALF if drift == "intervals" else HALF
        result = first_alarm(detector, draw(source, 6000, drift=drift, seed=100 + seed), half=half)
        if drift == "none":
            assert result is None
        else:
            assert result is not None
            assert result[0] <= 2000
            assert drift != "intervals" or result[1] == "coverage"


def test_what_drifted_since_when_and_how_much_is_told() -> None:
    source = drift_world(5)
    detector = Detector(profile(5))
    first_alarm(detector, draw(source, 2000, drift="none", seed=6))
    start = detector.events
    for index, row in enumerate(zip(*draw(source, 2000, drift="unknown users", seed=7), strict=True)):
        user, item, value, predicted = row
        seen = Observation(float(start + index), int(user), int(item), float(value), float(predicted))
        detector.observe([seen])
    state = detector.signals["unknown_users"]
    assert state.drifted
    assert state.since is not None
    assert start - 500 <= state.since <= start + 500
    label, expected, share = state.largest[0]
    assert label in (0, 1)
    assert abs(share - expected) == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize("events", [500, 2000])
def test_few_ratings_raise_no_alarm_on_a_clean_stream(events: int) -> None:
    for seed in range(2):
        detector = Detector(profile(seed, events))
        assert detector.watched
        assert first_alarm(detector, draw(drift_world(seed), 10_000, drift="none", seed=50 + seed)) is None


def test_a_release_that_is_bad_from_its_first_day_is_seen() -> None:
    """Its error is half as much again as on the ratings that it was not trained on."""
    detector = Detector(profile(8))
    users, items, values, predicted = draw(drift_world(8), 2000, drift="none", seed=9)
    worse = predicted + 1.5 * (values - predicted)
    result = first_alarm(detector, (users, items, worse, predicted))
    assert result is not None
    assert detector.signals["error"].drifted
    assert result[0] <= profile(8).signals["error"]["power"]["within"]


def test_coverage_is_told_beside_the_level_it_was_made_for(releases: dict[str, Path]) -> None:
    """The fixture's intervals run from 1.5 below to 1.25 above a prediction, then 1 below to 0.75 above."""
    release = load_release(releases["a"])
    user = int(np.argmax(np.diff(release.histories.ends)))
    ratings = [(3.6, True), (4.6, False), (2.6, True), (2.4, False)]
    seen = [
        observed(
            release,
            Feedback(
                event_id=f"e{index}",
                exposure_id=None,
                user_id=str(release.users.names[user]),
                kind="rating",
                item_id=str(release.items.ids.names[0]),
                value=value,
                at=float(index),
                predicted=3.5,
            ),
        )
        for index, (value, _) in enumerate(ratings)
    ]
    assert [entry.inside for entry in seen] == [inside for _, inside in ratings]
    packed = release.profile()
    assert packed is not None
    profile_of_release = unpack(*packed)
    assert profile_of_release is not None
    detector = Detector(profile_of_release)
    detector.observe(seen)
    assert (detector.covered, detector.interval_count) == (2, 4)


def bursts(seed: int, *, users: int, ratings: int = 80) -> tuple[Ratings, np.ndarray]:
    """Each user's ratings in a row, and predictions that know each user's mean."""
    random = np.random.default_rng([seed, 7])
    level = random.normal(3.4, 0.45, users).repeat(ratings)
    taste = 0.6 * random.normal(size=len(level))
    values = np.clip(np.round(level + taste + 0.8 * random.normal(size=len(level))), 1, 5)
    popularity = random.pareto(1.5, 300) + 0.2
    made = Ratings(
        users=np.arange(users, dtype=np.int32).repeat(ratings),
        items=random.choice(300, len(level), p=popularity / popularity.sum()).astype(np.int32),
        values=values.astype(np.float32),
        times=np.arange(len(level), dtype=np.int64),
        scale=RatingScale(1, 5),
        user_count=users,
        item_count=300,
    )
    return made, np.clip(level + taste, 1, 5)


@functools.cache
def burst_profile() -> Profile:
    made, predicted = bursts(0, users=300)
    unseen = np.where(np.random.default_rng(1).random(len(made)) < 0.1, predicted, np.nan)
    return build_profile(made, unseen, np.eye(4, dtype=np.bool_)[np.arange(300) % 4])


@pytest.mark.parametrize("change", ["none", "a star lower", "shuffled", "60% unknown", "reversed"])
def test_people_who_rate_in_bursts_are_no_drift_and_real_changes_are_seen(change: str) -> None:
    made, predicted = bursts(0, users=300)
    random = np.random.default_rng(2)
    who = random.permutation(300)[:125]
    order = np.concatenate([np.flatnonzero(made.users == user) for user in who])
    users, items = made.users[order].astype(np.int64), made.items[order].astype(np.int64)
    values, stars = made.values[order].astype(np.float64), predicted[order]
    signal = {"a star lower": "ratings", "shuffled": "error", "60% unknown": "unknown_users"}.get(change)
    if change == "a star lower":
        values = np.clip(values - 1, 1, 5)
    elif change == "shuffled":
        stars = random.permutation(stars)
    elif change == "60% unknown":
        users = np.where((random.random(300) < 0.6)[users], -1, users)
    elif change == "reversed":
        signal = "item_popularity"
        rank = np.argsort(np.bincount(made.items, minlength=300), kind="stable")
        mirror = np.empty(300, dtype=np.int64)
        mirror[rank] = rank[::-1]
        items = mirror[items]
    detector = Detector(burst_profile())
    seen = [
        Observation(float(index), int(user), int(item), float(value), float(star))
        for index, (user, item, value, star) in enumerate(zip(users, items, values, stars, strict=True))
    ]
    alarms = {alarm.name for alarm in detector.observe(seen)}
    assert alarms == set() if signal is None else signal in alarms


def test_the_profile_says_what_each_signal_can_see() -> None:
    for name, signal in burst_profile().signals.items():
        assert signal["watched"] == (signal["power"] is not None)
        if signal["watched"]:
            assert signal["power"]["change"] == CHANGES[name]
            assert CONSECUTIVE * signal["window"] <= signal["power"]["within"] <= 10_000
            assert signal["false_alarm_rate"] <= 0.05


def test_too_few_people_are_not_watched() -> None:
    made, predicted = bursts(3, users=5, ratings=40)
    few = build_profile(made, predicted, np.zeros((300, 0), dtype=np.bool_))
    detector = Detector(few)
    assert detector.watched == {}
    assert detector.observe([Observation(float(n), -1, -1, 1.0, 5.0) for n in range(10_000)]) == []


def test_without_times_the_order_is_the_files() -> None:
    made, predicted = bursts(4, users=20, ratings=20)
    result = build_profile(replace(made, times=None), predicted, np.zeros((300, 0), dtype=np.bool_))
    assert result.error["ordered_by"] == "file"
