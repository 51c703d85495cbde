"""ASHA as this search uses it: by family, sparing who may not be pruned, refilled after a restart."""

from __future__ import annotations

from typing import Any

from recsys.training.trial_types import EpochReport, TrialResult, TrialSpec, TrialStatus
from search.config.plan import PruningOptions
from search.tune.pruning import FamilyPruning

SETTINGS = PruningOptions(grace_epochs=2, reduction=2)


class Tried:
    """What ASHA looks at in one of Tune's trials."""

    def __init__(self, number: int, *, family: str = "hybrid_vae", prunable: bool = True) -> None:
        self.trial_id = str(number)
        spec = TrialSpec(number, str(number), family, {}, epochs=8, seed=0, prunable=prunable)
        self.config = {"spec": vars(spec)}


class Rungs:
    """A scheduler, and whom it told to end."""

    def __init__(self, settings: PruningOptions = SETTINGS) -> None:
        self.told: list[int] = []
        self.scheduler = FamilyPruning(settings, max_epochs=8, prune=self.told.append)

    def report(self, trial: Tried, epoch: int, rmse: float) -> str:
        controller: Any = None
        if epoch == 1:
            self.scheduler.on_trial_add(controller, trial)
        return self.scheduler.on_trial_result(controller, trial, {"epoch": epoch, "rmse": rmse})

    def run(self, trial: Tried, rmse: float, *, epochs: int = 2) -> bool:
        """Whether the trial was told to end."""
        decisions = {self.report(trial, epoch, rmse) for epoch in range(1, epochs + 1)}
        assert decisions == {"CONTINUE"}
        return int(trial.trial_id) in self.told


def test_the_worse_half_is_pruned_at_a_rung() -> None:
    rungs = Rungs()
    assert not rungs.run(Tried(0), 1.0)
    assert rungs.run(Tried(1), 1.1)
    assert not rungs.run(Tried(2), 0.9)


def test_who_may_not_be_pruned_counts_but_stays() -> None:
    rungs = Rungs()
    assert not rungs.run(Tried(0), 0.5)
    assert not rungs.run(Tried(1, prunable=False), 1.0)
    assert rungs.run(Tried(2), 0.8)


def test_families_do_not_compete() -> None:
    rungs = Rungs()
    assert not rungs.run(Tried(0, family="mf"), 0.5)
    assert not rungs.run(Tried(1), 1.0)


def test_list_families_are_compared_by_ndcg_at_any_epoch() -> None:
    rungs = Rungs()
    for number, (ndcg, pruned) in enumerate([(0.30, False), (0.28, True), (0.31, False)]):
        trial = Tried(number, family="hybrid_vae_lists")
        rungs.scheduler.on_trial_add(None, trial)
        for epoch in (1, 2):
            rungs.scheduler.on_trial_result(None, trial, {"epoch": epoch, "rmse": 9.9, "ndcg_at_10": ndcg})
        assert (number in rungs.told) == pruned
    best = Tried(2, family="hybrid_vae_lists")
    for epoch in range(3, 40):  # past the rating track's longest trial
        rungs.scheduler.on_trial_result(None, best, {"epoch": epoch, "ndcg_at_10": 0.31})
    assert rungs.told == [1]


def test_pruning_can_be_off() -> None:
    rungs = Rungs(PruningOptions(enabled=False, grace_epochs=2, reduction=2))
    assert not any(rungs.run(Tried(number), 1.0 + number) for number in range(5))


def test_a_restart_decides_as_before() -> None:
    figures = [1.0, 0.8, 0.9, 0.7, 1.2]
    whole = Rungs()
    before = [whole.run(Tried(number), rmse) for number, rmse in enumerate(figures)]
    again = Rungs()
    again.scheduler.replay(_result(number, rmse) for number, rmse in enumerate(figures[:3]))
    assert [again.run(Tried(number), rmse) for number, rmse in enumerate(figures) if number >= 3] == before[
        3:
    ]


def _result(number: int, rmse: float) -> TrialResult:
    spec = TrialSpec(number, "", "hybrid_vae", {}, epochs=8, seed=0)
    reports = tuple(EpochReport(epoch, 0, 0, rmse, rmse, rmse, rmse) for epoch in (1, 2))
    return TrialResult(spec, TrialStatus.PRUNED, 2, rmse, rmse, rmse, 0, 0, 0, "", reports)
