"""Verdicts on the plan's targets."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.metrics.significance import ConfidenceInterval
from search.results import (
    Results,
    read_results,
)
from search.results.metrics import JudgedListsResult
from search.results.targets import ML_32M_RATINGS, judge
from tests.search.made_runs import make_run


@pytest.fixture
def results(tmp_path: Path) -> Results:
    make_run(tmp_path).write()
    return read_results(tmp_path)


def plan_run(results: Results, *, best: float, ensemble: float, formula: float = 0.5996) -> Results:
    """The same document as if it were of the plan's own data and split."""
    copy = results.model_copy(deep=True)
    copy.dataset.ratings, copy.split.protocol = ML_32M_RATINGS, "future-holdout"
    for model, loss in ((copy.best, best), (copy.ensemble, ensemble), (copy.formula, formula)):
        assert model is not None
        assert model.valid is not None
        model.valid.loss = loss
    return copy


def test_other_data_gives_no_verdict_on_the_plans_losses_and_says_what_would(results: Results) -> None:
    targets = {target.name: target for target in results.targets}
    breakthrough = targets["Breakthrough: one model"]
    assert (breakthrough.verdict, breakthrough.value) == ("not measured", None)
    assert results.best is not None
    assert results.best.valid is not None
    assert breakthrough.here == results.best.valid.loss
    assert "--data ml-32m --split future-holdout" in breakthrough.command
    assert targets["Precision@10"].verdict == "not measured"
    assert "--split per-user" in targets["Precision@10"].command
    assert targets["Inference"].verdict == "not measured"
    assert targets["Inference"].command
    assert targets["Cost"].verdict == "met"
    assert targets["Stability"].verdict == "missed"


@settings(deadline=None)
@given(best=st.floats(0.3, 0.9), ensemble=st.floats(0.3, 0.9))
def test_on_the_plans_data_the_verdict_is_the_inequality(best: float, ensemble: float) -> None:
    results = plan_run(_made(), best=best, ensemble=ensemble)
    verdicts = {target.name: target.verdict for target in judge(results)}
    assert verdicts["Breakthrough: one model"] == ("met" if best < 0.55 else "missed")
    assert verdicts["Stretch"] == ("met" if min(best, ensemble) < 0.5 else "missed")
    assert verdicts["Ensemble"] == ("met" if ensemble <= 0.52 else "missed")


def test_lists_are_judged_on_a_per_user_split(tmp_path: Path) -> None:
    make_run(tmp_path, protocol="per-user").write()
    verdicts = {target.name: target for target in read_results(tmp_path).targets}
    assert (verdicts["Precision@10"].verdict, verdicts["Precision@10"].value) == ("met", 0.421)
    assert verdicts["NDCG@10"].verdict == "met"


_MADE: list[Results] = []


def _made() -> Results:
    """One document for every example of a property."""
    if not _MADE:
        _MADE.append(make_run(Path("made")).results)
    return _MADE[0]


def test_list_targets_are_judged_on_the_extra_split_where_the_run_has_another(tmp_path: Path) -> None:
    figures = {
        "precision_at_10": ConfidenceInterval(0.41, 0.40, 0.42),
        "ndcg_at_10": ConfidenceInterval(0.44, 0.42, 0.46),
    }
    check = JudgedListsResult.of("list_check", "per-user", figures, people=90, folded_in=0)
    make_run(tmp_path).having(list_check=check.metrics(), judged_lists=[check]).write()
    results = read_results(tmp_path)
    verdicts = {target.name: target for target in results.targets}
    assert (verdicts["Precision@10"].verdict, verdicts["Precision@10"].value) == ("met", 0.41)
    assert (verdicts["NDCG@10"].verdict, verdicts["NDCG@10"].value) == ("missed", 0.44)


@pytest.mark.parametrize(("price", "verdict"), [(0.0, "not measured"), (0.5, "met")])
def test_a_run_without_a_price_has_no_cost(tmp_path: Path, price: float, verdict: str) -> None:
    make_run(tmp_path, trials=2).write()
    results = read_results(tmp_path)
    budget = results.budget.model_copy(update={"price_per_hour_usd": price})
    cost = next(
        entry for entry in judge(results.model_copy(update={"budget": budget})) if entry.name == "Cost"
    )
    assert cost.verdict == verdict
