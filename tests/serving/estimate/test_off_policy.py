"""The hit rate of a release that was never served: coverage, missing support, the real log."""

from __future__ import annotations

import json
import random as standard_random
from pathlib import Path

import numpy as np
import pytest

from recsys.release.queries import Query
from recsys.types import FloatArray
from serving.__main__ import main
from serving.catalogue.rule_set import RuleSet
from serving.domain import Exposure, Feedback
from serving.engine.exploration import candidate_count, explored
from serving.engine.served_release import ServedRelease
from serving.estimate.logged_lists import explored_lists
from serving.estimate.off_policy import Explored, estimate_hit_rate, lower_end, running_deviation
from serving.events.store import EventStore
from serving.experiments.experiment_metrics import Metric
from tests.benchmarks.off_policy import trial
from tests.releases import make_dataset, make_release

EXPLORE, PLACES = 0.2, 4
NOW = 1_700_000_000.0


def test_the_interval_holds_the_truth_and_what_a_later_test_finds() -> None:
    trials = [trial(seed, users=400) for seed in range(20)]
    assert all((entry.estimate.low or 0) <= entry.true <= (entry.estimate.high or 0) for entry in trials)
    errors = [(entry.estimate.doubly_robust or 0) - entry.true for entry in trials]
    assert abs(np.mean(errors)) < 4 * np.std(errors) / np.sqrt(len(errors))
    widths = [(entry.estimate.high or 0) - (entry.estimate.low or 0) for entry in trials]
    assert np.mean(widths) < 0.75  # with bounds that do not follow the hit rate 1.5


def test_the_interval_narrows_and_holds_at_every_look() -> None:
    def end(outcome: FloatArray) -> float:
        known = np.zeros(len(outcome)), running_deviation(outcome, np.full(len(outcome), 0.25))
        return lower_end(outcome, *known, alpha=0.05)

    outcome = np.random.default_rng(1).binomial(1, 0.3, 4_000).astype(float)
    ends = [end(outcome[:count]) for count in (100, 400, 1_600, 4_000)]
    assert ends == sorted(ends)  # what was ruled out once stays out
    assert 0.27 < ends[-1] < 0.3
    runs = [np.random.default_rng(seed).binomial(1, 0.3, 1_000).astype(float) for seed in range(60)]
    assert sum(end(run) > 0.3 for run in runs) <= 4


def test_too_few_users_and_items_that_exploration_cannot_show_cannot_be_told() -> None:
    few = estimate_hit_rate([Explored(1, 10, 10.0, 1.0, 10.0, 1.0, 220.0)] * 99)
    assert few.words == "no estimate: 99 users have explored lists, 100 are needed"
    assert few.low is None
    foreign = estimate_hit_rate([Explored(1, 10, 10.0, 1.0, 3.0, 0.0, 220.0)] * 200)
    assert foreign.words == "no estimate: exploration covers 30% of its positions, of 50% needed"


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_release(tmp_path_factory.mktemp("logging") / "release", dataset=make_dataset(users=150))


def log_lists(store: EventStore, release: Path, *, explore: float, seed: int = 0) -> dict[str, int]:
    """One explored list of ``release`` for every user, with hits; how many of its own items were hit."""
    draw = standard_random.Random(seed)
    served = ServedRelease("a", release, RuleSet())
    shown, done, counts = [], [], {"kept": 0, "all": 0}
    for number, user in enumerate(f"u{row}" for row in range(149)):
        query = Query(user=served.rows.user(user), count=candidate_count(PLACES))
        candidates = served.recommender.recommend([query], served.rules)[0].recommendations
        name = f"x{seed}-{number}"
        listed, propensities = explored(candidates, PLACES, share=explore, exposure_id=name)
        items = tuple(served.card(row.item)["id"] for row in listed)
        fields = {"items": items, "predicted": (), "source": "personal", "milliseconds": 1.0}
        shown.append(
            Exposure(name, NOW + number, user, "main", "a", 1, "r", **fields, propensities=propensities)
        )
        for item, propensity in zip(items, propensities, strict=True):
            if draw.random() < 0.3:
                done.append(Feedback(f"c-{name}-{item}", name, user, "click", item, None, NOW + number + 1))
                counts["all"] += 1
                counts["kept"] += propensity > 0.5
    store.add(exposures=shown, feedback=done)
    return counts


@pytest.fixture
def store(tmp_path: Path) -> EventStore:
    made = EventStore(str(tmp_path / "events.db"))
    made.create_tables()
    return made


def test_the_logging_release_is_estimated_from_the_items_that_it_kept(
    store: EventStore, release: Path
) -> None:
    counts = log_lists(store, release, explore=EXPLORE)
    users = explored_lists(store, release, experiment="main", metric=Metric())
    assert len(users) == 149
    assert sum(user.hits for user in users) == counts["all"]
    assert sum(user.weighted_hits for user in users) == pytest.approx(counts["kept"] / (1 - EXPLORE))
    kept = sum(user.weight for user in users) * (1 - EXPLORE)
    assert kept == pytest.approx(149 * PLACES * (1 - EXPLORE), rel=0.05)
    result = estimate_hit_rate(users)
    assert result.low is not None
    assert result.high is not None
    assert result.low <= 0.3 * PLACES <= result.high
    assert result.self_normalised == pytest.approx(
        PLACES * counts["kept"] / (1 - EXPLORE) / sum(user.weight for user in users)
    )


def test_without_exploration_nothing_can_be_told(
    store: EventStore, release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log_lists(store, release, explore=0.0)
    words = ["estimate", "--release", str(release), "--events", str(tmp_path / "events.db")]
    assert main(words) == 0
    assert capsys.readouterr().out.startswith("no estimate: no list was explored; give an arm `explore")


def test_the_command_prints_and_writes_the_figures(
    store: EventStore, release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log_lists(store, release, explore=EXPLORE)
    file = tmp_path / "estimate.json"
    words = ["estimate", "--release", str(release), "--events", str(tmp_path / "events.db")]
    assert main([*words, "--json", str(file)]) == 0
    assert "149 lists of 149 users" in capsys.readouterr().out
    row = json.loads(file.read_text())
    assert row["low"] <= row["doubly_robust"] <= row["high"]
    assert main([*words, "--alpha", "2"]) == 2
