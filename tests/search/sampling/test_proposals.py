"""The sampler: what it is told, and that a resumed one goes on as if it had never stopped."""

from __future__ import annotations

import itertools
import math

import pytest
from optuna.trial import TrialState

from recsys.bounds import DataShape
from recsys.training.trial_types import EpochReport, TrialResult, TrialSpec, TrialStatus
from recsys.types import JsonObject
from search.sampling.family_sampler import FamilySampler, SamplerSettings
from search.sampling.lanes import SINGLE_TRIAL
from search.sampling.search_space import Space
from search.sampling.trial_factory import Draw, Proposal
from search.sampling.trial_queue import TrialQueue

IDS = itertools.count()
SETTINGS = SamplerSettings(seed=3, startup_trials=3, multivariate=True, objectives=("rmse",), gap_limit=None)


def searcher(settings: SamplerSettings = SETTINGS) -> FamilySampler:
    return FamilySampler(Space("hybrid_vae", DataShape(300, 200)), settings)


def quality(config: JsonObject) -> float:
    """A made-up valid rmse of a config."""
    return 0.9 + abs(math.log(config["learning_rate"] / 1e-3)) / 10 + config["dropout"] / 10


def result_of(spec: TrialSpec, *, pruned: bool = False) -> TrialResult:
    rmse = quality(spec.config)
    reports = tuple(
        EpochReport(epoch, 1.0, 0.5, rmse - 0.1, rmse**2, rmse + 1 / epoch, 0.5) for epoch in (1, 2)
    )
    status = TrialStatus.PRUNED if pruned else TrialStatus.FINISHED
    return TrialResult(spec, status, 2, rmse**2, rmse, rmse, 0.0, 10, 2.0, "", reports)


def proposals(family: FamilySampler, numbers: list[int], kept: list[Proposal]) -> TrialQueue:
    def compose(number: int, draw: Draw) -> Proposal:
        config, draws = draw("hybrid_vae", None)
        return Proposal(TrialSpec(number, f"t{number}", "hybrid_vae", config, epochs=2, seed=number), draws)

    return TrialQueue(
        families={"hybrid_vae": family},
        numbers=numbers,
        unfinished=[],
        compose=compose,
        journal=kept.append,
        is_open=lambda: True,
        lane_of=lambda number: SINGLE_TRIAL.cpu,
    )


def run_one(search: TrialQueue, *, pruned: bool = False) -> TrialResult:
    trial_id = f"tune-{next(IDS)}"
    row = search.suggest(trial_id)
    assert isinstance(row, dict)
    result = result_of(TrialSpec(**row["spec"]), pruned=pruned)
    for report in result.reports:
        search.on_trial_result(trial_id, {"rmse": report.rmse, "epoch": report.epoch})
    search.on_trial_complete(
        trial_id, {"status": result.status.value, "rmse": result.rmse, "gap": 0.1, "loss": result.loss}
    )
    return result


def test_a_replayed_sampler_proposes_what_the_uninterrupted_one_does() -> None:
    whole_kept: list[Proposal] = []
    whole = proposals(searcher(), list(range(10)), whole_kept)
    results = [run_one(whole, pruned=number % 3 == 2) for number in range(10)]

    for cut in (1, 4, 7):
        kept: list[Proposal] = []
        again = proposals(searcher(), list(range(cut, 10)), kept)
        for proposal, result in zip(whole_kept[:cut], results[:cut], strict=True):
            again.replay(proposal, result)
        for number in range(cut, 10):
            run_one(again, pruned=number % 3 == 2)
        assert [p.spec for p in kept] == [p.spec for p in whole_kept[cut:]]


def test_pruned_failed_and_finished_are_told_apart() -> None:
    family = searcher()
    for number, status in enumerate(("finished", "pruned", "failed", "stopped")):
        trial_id = f"t{number}"
        family.propose(trial_id, number)
        family.on_trial_result(trial_id, {"rmse": 1.1, "epoch": 1})
        family.on_trial_complete(trial_id, {"status": status, "rmse": 1.0, "gap": 0.0})
    states = [trial.state for trial in family.study.trials]
    assert states == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.PRUNED]
    assert family.study.trials[0].value == 1.0
    assert family.study.trials[1].intermediate_values == {1: 1.1}


def test_a_figure_that_is_not_finite_is_told_as_the_worst() -> None:
    family = searcher()
    family.propose("a", 0)
    family.on_trial_complete("a", {"status": "finished", "rmse": math.nan})
    assert family.study.trials[0].value == pytest.approx(1e6)


def test_a_gap_above_the_limit_is_a_broken_constraint() -> None:
    family = searcher(SamplerSettings(3, 3, True, ("rmse",), gap_limit=0.15))
    for trial_id, gap in (("wide", 0.25), ("narrow", 0.05)):
        family.propose(trial_id, 0)
        family.on_trial_complete(trial_id, {"status": "finished", "rmse": 1.0, "gap": gap})
    excess = [trial.constraints["gap"] for trial in family.study.trials]
    assert excess == pytest.approx([0.10, -0.10])


def test_two_objectives_are_both_told() -> None:
    family = searcher(SamplerSettings(3, 3, True, ("loss", "ndcg_at_10"), gap_limit=None))
    family.propose("a", 0)
    family.on_trial_complete("a", {"status": "finished", "rmse": 1.0, "loss": 1.0, "ndcg_at_10": 0.3})
    assert family.study.trials[0].values == [1.0, 0.3]


def test_a_closed_search_hands_out_nothing() -> None:
    search = proposals(searcher(), [0], [])
    search._is_open = lambda: False
    assert search.suggest("a") == "FINISHED"


def test_a_trial_whose_process_died_is_handed_out_again_and_then_given_up() -> None:
    search = proposals(searcher(), [0], [])
    search._deaths = 1
    first = search.suggest("a")
    assert search.suggest("b") is None
    search.on_trial_complete("a", error=True)
    assert not search.is_abandoned(0)
    assert search.suggest("c") == first
    search.on_trial_complete("c", error=True)
    assert search.is_abandoned(0)
    assert search.suggest("d") == "FINISHED"
    states = [trial.state for trial in search._families["hybrid_vae"].study.trials]
    assert states == [TrialState.FAIL]
