"""Ray's OptunaSearch, once per model family, with what a resumable search needs on top.

- A family's trials teach only its own sampler: a good factorisation says nothing about a VAE's dropout.
- Every draw is from a sampler seeded by (run seed, trial number), so what trial n is asked depends on
  the results before it and nothing else. A resumed run replays them and goes on as if never stopped;
  no pickled sampler is kept.
- A pruned trial is told to Optuna as PRUNED (OptunaSearch itself tells it as COMPLETE), and a
  train/valid gap above the plan's limit as a constraint.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import TrialState
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from recsys.seeds import derive_seed
from recsys.training.trials import TrialResult, TrialSpec, TrialStatus
from recsys.types import JsonObject
from search.space import Space
from search.specs import Draw, Proposal

optuna.logging.set_verbosity(optuna.logging.ERROR)
WORST = 1e6  # told for a figure that is not finite; Optuna refuses NaN


@dataclass(frozen=True)
class SamplerSettings:
    """How one family's TPE draws. ``objectives`` are result keys; ``gap_limit`` None is off."""

    seed: int
    startup_trials: int
    multivariate: bool
    objectives: tuple[str, ...]
    gap_limit: float | None


class FamilySearch(OptunaSearch):  # type: ignore[misc]
    """OptunaSearch over one family's space."""

    def __init__(self, space: Space, settings: SamplerSettings) -> None:
        self.family_space = space
        self.settings = settings
        modes = ["max" if name == "ndcg_at_10" else "min" for name in settings.objectives]
        single = len(modes) == 1
        super().__init__(
            space=self._draw,
            metric=settings.objectives[0] if single else list(settings.objectives),
            mode=modes[0] if single else modes,
            sampler=self._seeded_sampler(0),
        )

    def _draw(self, suggester: Any) -> JsonObject:
        """Under one key, so that drawn names and config fields stay apart."""
        return {"config": self.family_space.draw(suggester)}

    def _seeded_sampler(self, number: int) -> optuna.samplers.TPESampler:
        options: JsonObject = {}
        if self.settings.gap_limit is not None:
            options["constraints_func"] = _gap_constraint
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return optuna.samplers.TPESampler(
                seed=derive_seed(self.settings.seed, "proposal", number) % 2**32,
                n_startup_trials=self.settings.startup_trials,
                multivariate=self.settings.multivariate,
                group=self.settings.multivariate,
                constant_liar=True,
                **options,
            )

    def propose(
        self, trial_id: str, number: int, given: JsonObject | None = None
    ) -> tuple[JsonObject, JsonObject]:
        """(config fields, draws) of trial ``number``; ``given`` draws are taken instead of sampled ones."""
        self._ot_study.sampler = self._seeded_sampler(number)
        if given is not None:
            self._ot_study.enqueue_trial(given)
        fields: JsonObject = super().suggest(trial_id)["config"]
        return fields, dict(self._ot_trials[trial_id].params)

    def on_trial_result(self, trial_id: str, result: JsonObject) -> None:
        if trial_id in self._ot_trials and len(self.settings.objectives) == 1:
            self._ot_trials[trial_id].report(_finite(result["rmse"]), int(result["epoch"]))

    def on_trial_complete(self, trial_id: str, result: JsonObject | None = None, error: bool = False) -> None:
        trial = self._ot_trials.get(trial_id)
        if trial is None or trial_id in self._completed_trials:
            return
        self._completed_trials.add(trial_id)
        status = TrialStatus(result["status"]) if result and "status" in result else TrialStatus.FAILED
        if error or status is TrialStatus.FAILED:
            self._ot_study.tell(trial, state=TrialState.FAIL)
            return
        assert result is not None
        if self.settings.gap_limit is not None:
            trial.set_user_attr("gap_excess", _finite(result.get("gap", math.nan)) - self.settings.gap_limit)
        if status is TrialStatus.FINISHED:
            self._ot_study.tell(trial, [_told(result, name) for name in self.settings.objectives])
        else:
            self._ot_study.tell(trial, state=TrialState.PRUNED)


def _gap_constraint(trial: optuna.trial.FrozenTrial) -> tuple[float]:
    return (float(trial.user_attrs.get("gap_excess", 0.0)),)


def _told(result: JsonObject, objective: str) -> float:
    value = _finite(result.get(objective))
    return 0.0 if objective == "ndcg_at_10" and value == WORST else value


def _finite(value: Any) -> float:
    number = math.nan if value is None else float(value)
    return number if math.isfinite(number) else WORST


class Proposals(Searcher):  # type: ignore[misc]
    """Hands out the run's trials in order: those cut short first, then the sequence's next ones.

    ``compose(slot number, draw)`` makes a Proposal (``draw(given)`` asks the family's sampler);
    ``journal`` keeps it before it runs; ``is_open()`` False ends the handing out.
    """

    def __init__(
        self,
        *,
        families: Mapping[str, FamilySearch],
        numbers: list[int],
        unfinished: list[Proposal],
        compose: Callable[[int, Draw], Proposal],
        journal: Callable[[Proposal], None],
        is_open: Callable[[], bool],
    ) -> None:
        super().__init__(metric="rmse", mode="min")
        self._families = dict(families)
        self._numbers = list(numbers)
        self._unfinished = list(unfinished)
        self._compose = compose
        self._journal = journal
        self._is_open = is_open
        self._specs: dict[str, TrialSpec] = {}

    def suggest(self, trial_id: str) -> JsonObject | str | None:
        if not self._is_open():
            return str(Searcher.FINISHED)
        if self._unfinished:
            proposal = self._unfinished.pop(0)
            self._register(trial_id, proposal)
        elif self._numbers:
            number = self._numbers.pop(0)

            def draw(family: str, given: JsonObject | None) -> tuple[JsonObject, JsonObject]:
                return self._families[family].propose(trial_id, number, given)

            proposal = self._compose(number, draw)
            self._journal(proposal)
        else:
            return str(Searcher.FINISHED)
        self._specs[trial_id] = proposal.spec
        return {"number": proposal.spec.number, "spec": vars(proposal.spec)}

    def _register(self, trial_id: str, proposal: Proposal) -> None:
        """Let the family's sampler know a proposal that an earlier session made."""
        if proposal.draws is not None:
            self._families[proposal.spec.family].propose(trial_id, proposal.spec.number, proposal.draws)

    def replay(self, proposal: Proposal, result: TrialResult, ndcg: float | None = None) -> None:
        """Teach a finished trial of an earlier session (or an older run) to its family's sampler."""
        if proposal.draws is None or proposal.spec.family not in self._families:
            return
        family = self._families[proposal.spec.family]
        trial_id = f"replayed-{proposal.spec.name}-{proposal.spec.number}"
        family.propose(trial_id, proposal.spec.number, proposal.draws)
        for row in running_best(result):
            family.on_trial_result(trial_id, row)
        family.on_trial_complete(trial_id, final_row(result, ndcg))

    def on_trial_result(self, trial_id: str, result: JsonObject) -> None:
        spec = self._specs.get(trial_id)
        if spec is not None and spec.family in self._families:
            self._families[spec.family].on_trial_result(trial_id, result)

    def on_trial_complete(self, trial_id: str, result: JsonObject | None = None, error: bool = False) -> None:
        spec = self._specs.get(trial_id)
        if spec is not None and spec.family in self._families:
            self._families[spec.family].on_trial_complete(trial_id, result, error)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the run's journal is what a resumed run is rebuilt from."""

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a run is resumed from its journal")

    def __getstate__(self) -> JsonObject:
        """Nothing, for the same reason: Tune keeps a pickle of what it was given."""
        return {}


def running_best(result: TrialResult) -> list[JsonObject]:
    """What a trial told after each epoch: its best rmse so far."""
    best = math.inf
    rows = []
    for report in result.reports:
        best = min(best, report.rmse) if math.isfinite(report.rmse) else best
        rows.append({"epoch": report.epoch, "rmse": best})
    return rows


def final_row(result: TrialResult, ndcg: float | None) -> JsonObject:
    """What a trial told at its end."""
    gap = next((row.gap for row in result.reports if row.epoch == result.best_epoch), math.nan)
    figures = {"rmse": result.rmse, "loss": result.loss, "ndcg_at_10": ndcg}
    return {"status": result.status.value, "gap": gap, **figures}
