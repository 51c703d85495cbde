"""One model family's Optuna study, used by ask and tell: the sampler of a resumable search.

- A family's trials teach only its own sampler: a good factorisation says nothing about a VAE's dropout.
- Every draw is from a sampler seeded by (run seed, trial number), so the proposal of trial n depends
  only on the results before it. A resumed run replays them and continues as if never stopped;
  no pickled sampler is kept.
- A pruned trial is PRUNED in the study (Ray's own OptunaSearch reports it as COMPLETE), and a train/valid
  gap above the plan's limit is a constraint.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import TrialState

from recsys.seeds import derive_seed
from recsys.training.trial_types import TrialStatus
from recsys.types import JsonObject
from search.config.plan import SearchPlan
from search.config.tracks import Track
from search.sampling.search_space import Space

optuna.logging.set_verbosity(optuna.logging.ERROR)
LIST_STARTUP = 4  # trials of a list family before it is modelled: its starting points are good ones
WORST = 1e6  # stands for a figure that is not finite; Optuna refuses NaN


@dataclass(frozen=True)
class SamplerSettings:
    """How one family's TPE draws. ``objectives`` are result keys; ``gap_limit`` None is off."""

    seed: int
    startup_trials: int
    multivariate: bool
    objectives: tuple[str, ...]
    gap_limit: float | None


def sampler_settings(plan: SearchPlan, track: Track) -> SamplerSettings:
    """How ``plan`` draws on a track: rating models by its objectives, list families by NDCG@10."""
    rating = track == "rating"
    return SamplerSettings(
        seed=plan.seed,
        startup_trials=plan.proposing.startup_trials if rating else LIST_STARTUP,
        multivariate=plan.proposing.multivariate,
        objectives=tuple(plan.objectives) if rating else ("ndcg_at_10",),
        gap_limit=plan.proposing.gap_limit if rating else None,
    )


class FamilySampler:
    """An Optuna study over one family's space."""

    def __init__(self, space: Space, settings: SamplerSettings) -> None:
        self.family_space = space
        self.settings = settings
        self.study = optuna.create_study(
            directions=["maximize" if name == "ndcg_at_10" else "minimize" for name in settings.objectives],
            sampler=self._seeded_sampler(0),
            pruner=optuna.pruners.NopPruner(),
        )
        self._trials: dict[str, optuna.Trial] = {}
        self._ended: set[str] = set()
        self._reported: dict[str, int] = {}  # the last epoch reported of each trial

    def _seeded_sampler(self, number: int) -> optuna.samplers.TPESampler:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return optuna.samplers.TPESampler(
                seed=derive_seed(self.settings.seed, "proposal", number) % 2**32,
                n_startup_trials=self.settings.startup_trials,
                multivariate=self.settings.multivariate,
                group=self.settings.multivariate,
                constant_liar=True,
            )

    def propose(
        self, trial_id: str, number: int, fixed: JsonObject | None = None
    ) -> tuple[JsonObject, JsonObject]:
        """(config fields, draws) of trial ``number``; ``fixed`` draws replace sampled ones."""
        self.study.sampler = self._seeded_sampler(number)
        if fixed is not None:
            self.study.enqueue_trial(fixed)
        if trial_id not in self._trials:
            self._trials[trial_id] = self.study.ask()
        trial = self._trials[trial_id]
        return self.family_space.draw(trial), dict(trial.params)

    def on_trial_result(self, trial_id: str, result: JsonObject) -> None:
        """Report an epoch's best figure so far."""
        trial = self._trials.get(trial_id)
        name = "ndcg_at_10" if "ndcg_at_10" in self.settings.objectives else "rmse"
        if trial is None or len(self.settings.objectives) > 1 or name not in result:
            return
        step = int(result["epoch"])
        if step > self._reported.get(trial_id, 0):
            self._reported[trial_id] = step
            trial.report(_finite(result[name]), step)

    def on_trial_complete(self, trial_id: str, result: JsonObject | None = None, error: bool = False) -> None:
        """Tell how a trial ended, once."""
        trial = self._trials.get(trial_id)
        if trial is None or trial_id in self._ended:
            return
        self._ended.add(trial_id)
        status = TrialStatus(result["status"]) if result and "status" in result else TrialStatus.FAILED
        if error or status is TrialStatus.FAILED:
            self.study.tell(trial, state=TrialState.FAIL)
            return
        assert result is not None
        if self.settings.gap_limit is not None:
            gap = _finite(result.get("gap", math.nan))
            trial.set_constraint("gap", gap - self.settings.gap_limit)
        if status is TrialStatus.FINISHED:
            self.study.tell(trial, [_figure(result, name) for name in self.settings.objectives])
        else:
            self.study.tell(trial, state=TrialState.PRUNED)


def _figure(result: JsonObject, objective: str) -> float:
    value = _finite(result.get(objective))
    return 0.0 if objective == "ndcg_at_10" and value == WORST else value


def _finite(value: Any) -> float:
    number = math.nan if value is None else float(value)
    return number if math.isfinite(number) else WORST
