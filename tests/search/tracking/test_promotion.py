"""Who beats the champion: pure rules on the gate, also when the dataset has grown."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from numpy.typing import NDArray

from recsys.data.gate_slice import gate_mask
from recsys.errors import InputError
from recsys.release.load import load_release
from recsys.release.recommender import Query, Recommender
from search.tracking import Tracker, default_uri
from search.tracking.model_registry import model_name, release_predict
from search.tracking.promotion import (
    GateAnswers,
    evaluate_promotion,
    gate_answers,
    interval_level,
    shared_predictions,
    shared_ratings,
)
from tests.releases import make_dataset, make_release
from tests.search.made_runs import make_run

pytestmark = pytest.mark.slow


def answers(
    *, users: int = 80, each: int = 10, noise: float = 0.5, seed: int = 0, start: int = 0, time: int = 1000
) -> GateAnswers:
    """Made-up gate answers; the pairs of user u are items start .. start + each."""
    random = np.random.default_rng(seed)
    names = np.repeat([f"u{user}" for user in range(users)], each)
    items = np.tile([f"i{item}" for item in range(start, start + each)], users)
    truth = np.random.default_rng(start).uniform(1, 5, len(names)).astype(np.float32)
    return GateAnswers(
        users=names,
        items=items,
        times=np.full(len(names), time, dtype=np.int64),
        given=truth,
        predicted=(truth + random.normal(0, noise, len(names))).astype(np.float32),
    )


def joined(*parts: GateAnswers) -> GateAnswers:
    columns = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts])
        for field in dataclasses.fields(GateAnswers)
    }
    return GateAnswers(**columns)


@pytest.mark.parametrize(("noise", "promoted"), [(0.4, True), (0.5, False), (0.6, False)])
def test_only_a_sure_improvement_is_promoted(noise: float, promoted: bool) -> None:
    champion = answers(noise=0.5, seed=1)
    result = evaluate_promotion(answers(noise=noise, seed=2), champion, champion_name="m version 1")
    assert result.promoted is promoted
    assert result.low is not None
    assert result.high is not None
    assert result.difference is not None
    assert result.low < result.difference < result.high
    assert result.ratings == 800
    assert result.difference == pytest.approx((result.rmse or 0) - (result.champion_rmse or 0))


def test_equal_releases_are_promoted_about_one_time_in_forty() -> None:
    """The interval is two-sided at 95%: an equal release looks sure to be better in 2.5% of draws."""
    champion = answers(noise=0.5, seed=1)
    promoted = sum(
        evaluate_promotion(answers(noise=0.5, seed=seed), champion).promoted for seed in range(10, 110)
    )
    assert promoted <= 9  # 2.5 of 100 expected; 9 or more has a chance below 1 in 1000


def test_without_a_champion_the_first_is_promoted_and_without_ratings_nobody() -> None:
    assert evaluate_promotion(answers(), None).promoted
    few = evaluate_promotion(answers(users=10, each=5), None)
    assert not few.promoted
    assert "the gate slice has 50 ratings, 200 are needed" in few.reason


def test_pairs_are_matched_by_id_in_any_order() -> None:
    champion = answers(seed=1)
    order = np.random.default_rng(0).permutation(len(champion))
    shuffled = GateAnswers(**{name: column[order] for name, column in vars(champion).items()})
    assert np.array_equal(shared_predictions(shuffled, champion), shuffled.predicted)
    other = answers(seed=1, start=100)
    assert np.isnan(shared_predictions(other, champion)).all()
    assert np.isnan(shared_predictions(champion, champion_of_nothing())).all()


def champion_of_nothing() -> GateAnswers:
    none = answers(users=1, each=1)
    return GateAnswers(**{name: column[:0] for name, column in vars(none).items()})


def test_a_grown_dataset_asks_the_champion_about_later_ratings_only() -> None:
    """Old pairs come from what the champion said before any refit; pairs that it was never asked about
    but which were there when it was trained may have been in its training, and do not count."""
    champion = answers(seed=1, time=1000)
    grown = joined(
        answers(seed=2, noise=0.4, time=1000),
        answers(seed=3, noise=0.4, start=50, time=2000),
        answers(seed=4, noise=0.4, start=90, time=900),
    )
    asked: list[tuple[str, str]] = []

    def predict(users: NDArray[np.str_], items: NDArray[np.str_]) -> NDArray[np.float32]:
        asked.extend(zip(users.tolist(), items.tolist(), strict=True))
        result = np.full(len(users), 3.0, dtype=np.float32)
        result[items == "i50"] = np.nan  # an item that it does not know
        return result

    result = evaluate_promotion(grown, champion, predict=predict, last_timestamp=1500)
    assert {item for _, item in asked} == {f"i{item}" for item in range(50, 60)}
    assert result.ratings == 800 + 720
    alone = evaluate_promotion(grown, champion)
    assert alone.ratings == 800
    nothing_shared = evaluate_promotion(
        answers(start=90, time=900), champion, predict=predict, last_timestamp=1500
    )
    assert not nothing_shared.promoted
    assert "only 0 gate ratings are unseen by both" in nothing_shared.reason


def test_answers_are_kept_whole_and_without_pickles(tmp_path: Path) -> None:
    kept = answers()
    path = kept.save(tmp_path / "gate.npz")
    read = GateAnswers.load(path)
    assert all(np.array_equal(column, vars(read)[name]) for name, column in vars(kept).items())
    path.write_bytes(b"PK broken")
    with pytest.raises(InputError, match="holds no gate answers"):
        GateAnswers.load(path)


def test_the_gate_of_a_grown_dataset_holds_the_old_gate() -> None:
    small = make_run(Path("x"), trials=2)
    dataset = small.dataset
    half = dataset.ratings.take(np.arange(len(dataset.ratings) // 2))
    before = dataclasses.replace(dataset, ratings=half)
    assert np.array_equal(gate_mask(before), gate_mask(dataset)[: len(half)])
    result = gate_answers(dataset, small.split, np.zeros(len(small.split.gate), dtype=np.float32))
    row = small.split.gate[0]
    assert result.users[0] == dataset.user_ids[dataset.ratings.users[row]]
    assert result.items[0] == dataset.catalogue.ids[dataset.ratings.items[row]]
    assert result.given[0] == dataset.ratings.values[row]


def test_a_release_answers_for_pairs_by_id(tmp_path: Path) -> None:
    release = load_release(make_release(tmp_path / "release"))
    predict = release_predict(release)
    users = np.array(["u3", "nobody", "u5", "u3"])
    items = np.array(["i1", "i2", "i7", "no such film"])
    result = predict(users, items)
    recommender = Recommender(release)
    assert result[0] == recommender.predict(Query(user=3), np.array([1]))[0]
    assert result[1] == recommender.predict(Query(user=None), np.array([2]))[0]
    assert result[2] == recommender.predict(Query(user=5), np.array([7]))[0]
    assert np.isnan(result[3])


def test_the_champions_real_release_is_asked_after_the_dataset_has_grown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs through MLflow: between them a hundred days of ratings were added."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    dataset = make_dataset(users=60, items=40)
    assert dataset.ratings.times is not None
    rows = np.arange(len(dataset.ratings))
    made = make_run(tmp_path / "made", trials=2)

    def offer(name: str, data_rows: NDArray[np.int64], predicted_off: float) -> dict[str, object]:
        cut = dataclasses.replace(made.split, gate=data_rows)
        predicted = (dataset.ratings.values[data_rows] + predicted_off).astype(np.float32)
        gate = gate_answers(dataset, cut, predicted)
        facts = made.results.dataset.model_copy(update={"name": dataset.name, "sha256": dataset.sha256})
        results = made.results.model_copy(update={"name": name, "dataset": facts})
        tracker = Tracker.open(tmp_path / name, name=name, params={})
        answer = tracker.promote(
            results, make_release(tmp_path / name / "release", seed=0), gate=gate, release_id=name
        )
        assert tracker.close(60) == ""
        assert answer is not None
        return answer

    old, new = rows[: len(rows) // 2], rows
    assert offer("first", old, 0.5)["promoted"] is True
    # The champion's release says it was made of ratings up to the newest of all: shift the new ones past it.
    last = int(dataset.ratings.times.max())
    times = np.where(rows < len(rows) // 2, dataset.ratings.times, dataset.ratings.times + last)
    dataset = dataclasses.replace(dataset, ratings=dataclasses.replace(dataset.ratings, times=times))
    second = offer("second", new, 0.1)
    assert second["promoted"] is True
    assert second["ratings"] == len(rows)
    assert second["champion"] == f"{model_name('synthetic', dataset.sha256)} version 1"
    client = MlflowClient(default_uri(tmp_path / "first"), default_uri(tmp_path / "first"))
    aliases = client.get_registered_model(model_name("synthetic", dataset.sha256)).aliases
    assert {alias: int(version) for alias, version in aliases.items()} == {"champion": 1, "candidate": 2}


def test_asking_the_gate_again_and_again_is_paid_for() -> None:
    assert interval_level(1) == pytest.approx(0.95)
    assert interval_level(2) == pytest.approx(1 - 0.1 / 6)
    # One-sided chances of a false promotion over a thousand attempts.
    assert sum((1 - interval_level(attempt)) / 2 for attempt in range(1, 1001)) < 0.05
    champion, new = answers(noise=0.5, seed=1), answers(noise=0.45, seed=2)
    first, tenth = (evaluate_promotion(new, champion, attempt=attempt) for attempt in (1, 10))
    assert first.high is not None
    assert tenth.high is not None
    assert first.high < tenth.high
    assert "attempt 10" in tenth.reason


def test_data_of_one_name_are_told_apart_by_their_ratings() -> None:
    older = answers()
    assert shared_ratings(joined(older, answers(start=50)), older) == 1  # it has grown
    assert shared_ratings(answers(start=50), older) == 0
    other = dataclasses.replace(older, given=np.roll(older.given, 7))  # the same pairs, other ratings
    assert shared_ratings(other, older) < 0.1
