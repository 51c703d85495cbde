"""results.json: whole, atomic, judged by protocol, and its figures against plain arithmetic."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from pathlib import Path

import pytest

from recsys.errors import InputError
from recsys.metrics.significance import ConfidenceInterval
from recsys.training.serialization import trial_from_json, trial_to_json
from search.report.page import render
from search.results import (
    Results,
    read_results,
    read_trials,
    summary_text,
)
from search.results.document import Document
from search.results.error_slices import error_groups
from search.results.metrics import JudgedListsResult
from search.results.schema import SCHEMA_VERSION
from search.results.summary import label_of
from tests.search.made_runs import make_run
from tests.search.made_trials import make_trial


@pytest.fixture
def results(tmp_path: Path) -> Results:
    make_run(tmp_path).write()
    return read_results(tmp_path)


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    run = make_run(tmp_path).having(promotion={"promoted": True})
    path = run.write()
    read = read_results(tmp_path)
    assert json.loads(path.read_text())["schema_version"] == SCHEMA_VERSION
    assert read.trials == {"finished": 16, "pruned": 7, "failed": 1}
    assert read.promotion == {"promoted": True}
    assert read == run.results
    assert read.ensemble is not None
    assert [member.weight for member in read.ensemble.members] == [0.5, 0.3, 0.2]
    assert read.split.train + read.split.valid + read.split.gate + read.split.test + read.split.future == (
        read.dataset.ratings
    )
    assert [event.kind for event in read.warnings] == ["train_valid_gap"]
    assert read.contingencies[0].action == "back to epoch 12 with KL weight 0.005"
    assert tuple(read_trials(tmp_path)) == tuple(
        trial_from_json(json.loads(json.dumps(trial_to_json(trial)))) for trial in run.trials
    )
    assert not list(tmp_path.glob(".*"))


def test_every_field_is_explained() -> None:
    kinds = [
        Document,
        *Document.__subclasses__(),
        *(k for c in Document.__subclasses__() for k in c.__subclasses__()),
    ]
    assert len(kinds) > 12
    unexplained = [
        f"{kind.__name__}.{name}"
        for kind in kinds
        for name, field in kind.model_fields.items()
        if not field.description
        and not (isinstance(field.annotation, type) or "search.results" in str(field.annotation))
    ]
    assert unexplained == []


def test_a_run_without_formula_or_ensemble_is_written_too(tmp_path: Path) -> None:
    make_run(tmp_path, trials=2).without_models().write()
    read = read_results(tmp_path)
    assert read.best is None
    assert read.comparisons == []
    assert "2 finished" in summary_text(read)


def test_a_diverged_epoch_survives_json() -> None:
    trial = make_trial(2)
    broken = dataclasses.replace(trial.reports[0], loss=math.nan, gradient_norm=math.inf)
    text = json.dumps(trial_to_json(dataclasses.replace(trial, reports=(broken,))), allow_nan=False)
    read = trial_from_json(json.loads(text)).reports[0]
    assert math.isnan(read.loss)
    assert math.isnan(read.gradient_norm)
    assert read.rmse == broken.rmse


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "cannot be read as JSON"),
        ('{"schema_version": 99}', "schema_version 99, this code reads up to 3: update the project"),
        ('{"schema_version": "2"}', "schema_version '2', expected a number up to 3"),
        ('{"schema_version": 0}', "schema_version 0, expected a number up to 3"),
        ('{"schema_version": 1, "name": 3}', "a whole results.json was expected"),
        ("[]", "schema_version None"),
    ],
)
def test_a_broken_file_is_refused_in_one_line(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(InputError, match=complaint) as caught:
        read_results(tmp_path)
    assert "\n" not in str(caught.value)


def test_results_of_version_1_are_read_and_shown(tmp_path: Path) -> None:
    """A file that commit 6e0f3da wrote, on a synthetic data set."""
    shutil.copy(Path(__file__).with_name("version_1.json"), tmp_path / "results.json")
    results = read_results(tmp_path)
    assert results.schema_version == SCHEMA_VERSION
    assert results.ensemble is not None
    assert results.ensemble.test is not None
    assert f"{results.ensemble.test.rmse:.4f}" in summary_text(results)


def test_trials_of_a_newer_version_are_refused(tmp_path: Path) -> None:
    (tmp_path / "trials.json").write_text('{"schema_version": 9, "trials": []}')
    with pytest.raises(InputError, match="schema_version 9, this code reads up to 1"):
        read_trials(tmp_path)


def test_a_missing_file_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no results\.json in .*--resume"):
        read_results(tmp_path)


def test_intervals_hold_the_figure_and_pairing_narrows_the_difference(results: Results) -> None:
    by = {(entry.model, entry.metric): entry for entry in results.intervals}
    for entry in results.intervals:
        assert entry.low < entry.value < entry.high
    for model in (results.formula, results.best, results.ensemble):
        assert model is not None
        assert model.test is not None
        key = {"ensemble": "ensemble", "formula": "formula"}.get(model.name, "best")
        assert by[key, "rmse"].value == pytest.approx(model.test.rmse, abs=1e-6)
        assert by[key, "loss"].value == pytest.approx(model.test.loss, abs=1e-6)
    pair = next(c for c in results.comparisons if (c.a, c.b, c.metric) == ("ensemble", "formula", "rmse"))
    apart = sum(by[model, "rmse"].high - by[model, "rmse"].low for model in ("ensemble", "formula"))
    assert pair.better
    assert pair.high - pair.low < apart


def test_error_groups_are_those_of_a_plain_loop(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    ratings, train = (run.dataset.ratings.take(rows) for rows in (run.split.test, run.split.train))
    stars = run.test_stars["best"]
    groups = error_groups(ratings, {"best": stars}, train=train)
    seen = {int(user): 0 for user in range(ratings.user_count)}
    for user in train.users:
        seen[int(user)] += 1
    for group in groups:
        if group.by == "activity" and "-" in group.group:
            low, high = map(int, group.group.split("-"))
            errors = [
                float(predicted - value)
                for user, value, predicted in zip(ratings.users, ratings.values, stars, strict=True)
                if low <= seen[int(user)] <= high
            ]
        elif group.by == "rating":
            errors = [
                float(predicted - value)
                for value, predicted in zip(ratings.values, stars, strict=True)
                if f"{value:g}" == group.group
            ]
        else:
            continue
        assert group.ratings == len(errors)
        assert group.rmse["best"] == pytest.approx(
            math.sqrt(sum(e * e for e in errors) / len(errors)), rel=1e-5
        )
        assert group.bias["best"] == pytest.approx(sum(errors) / len(errors), abs=1e-5)
    assert {group.by for group in groups} == {"rating", "activity", "popularity"}


def test_the_last_screen_names_loss_and_rmse_side_by_side(results: Results, tmp_path: Path) -> None:
    text = summary_text(results, tmp_path)
    assert text.count("valid loss  valid rmse  test loss  test rmse") == 1
    assert "ensemble against formula_recalibrated, test rmse:" in text
    assert "not measured" in text
    assert str(tmp_path / "report.html") in text


def test_only_the_owners_template_is_called_the_plans_optimised_one(results: Results) -> None:
    for template, label in (
        ("hybrid_vae_optimized", "the plan's optimised template"),
        ("own/wide.yaml", "template wide"),
    ):
        assert label_of("template", results.model_copy(update={"plan": {"template": template}})) == label
    assert label_of("best_hybrid_vae", results) == "best hybrid VAE"


def test_every_list_metric_is_told_at_every_length_with_its_interval(tmp_path: Path) -> None:
    names = ("precision", "recall", "ndcg", "map", "mrr", "hit_rate")
    figures = {
        f"{name}_at_{k}": ConfidenceInterval(k / 100, k / 100 - 0.005, k / 100 + 0.005)
        for k in (10, 5, 20)
        for name in names
    } | {
        "coverage": ConfidenceInterval(0.31, 0.0, 0.4),
        "novelty": ConfidenceInterval(2.125, 2.0, 2.25),
        "popular_share": ConfidenceInterval(0.6, 0.55, 0.65),
        "popular_share_of_ratings": ConfidenceInterval(0.48, math.nan, math.nan),
    }
    served = JudgedListsResult.of("recommender", "strong:40", figures, people=40, folded_in=40)
    make_run(tmp_path).having(judged_lists=[served]).write()
    results = read_results(tmp_path)
    (lists,) = results.judged_lists
    assert {(figure.metric, figure.at): figure.value for figure in lists.figures}["ndcg", 20] == 0.2
    assert {figure.metric: figure.low for figure in lists.figures}["popular_share_of_ratings"] is None
    summary = summary_text(results).splitlines()
    start = summary.index(
        "lists of the recommender on test of split strong:40, 40 people, 40 of them folded in "
        "(95% intervals over people):"
    )
    assert summary[start + 1].split()[:4] == ["k", "P", "recall", "NDCG"]
    assert [line.split()[:3] for line in summary[start + 3 : start + 6]] == [
        [str(k), f"{k / 100:.3f}", "±0.005"] for k in (5, 10, 20)
    ]
    assert summary[start + 6] == (
        "coverage 0.310 (0.000 to 0.400), novelty 2.125 ±0.125 bits, the most popular tenth of the items "
        "takes 0.600 ±0.050 of the places (it has 0.480 of the ratings)."
    )
    page = render(results, [])
    assert "40 of them folded in" in page
    assert "0.200 ±0.005" in page
