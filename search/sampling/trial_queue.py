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
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import TrialState
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from recsys.seeds import derive_seed
from recsys.training.trial_types import TrialResult, TrialStatus
from recsys.types import JsonObject
from search.sampling.search_space import Space
from search.sampling.trial_factory import Draw, Proposal

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


class FamilySampler(OptunaSearch):  # type: ignore[misc]
    """OptunaSearch over one family's space."""

    def __init__(self, space: Space, settings: SamplerSettings) -> None:
        self.family_space = space
        self.settings = settings
        self._told: dict[str, int] = {}  # the last epoch told of each trial
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
        trial = self._ot_trials.get(trial_id)
        if trial is None or len(self.settings.objectives) > 1:
            return
        step = int(result["epoch"])
        if step > self._told.get(trial_id, 0):
            self._told[trial_id] = step
            trial.report(_finite(result["rmse"]), step)

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
            self._ot_study.tell(trial, [_figure(result, name) for name in self.settings.objectives])
        else:
            self._ot_study.tell(trial, state=TrialState.PRUNED)


def _gap_constraint(trial: optuna.trial.FrozenTrial) -> tuple[float]:
    return (float(trial.user_attrs.get("gap_excess", 0.0)),)


def _figure(result: JsonObject, objective: str) -> float:
    value = _finite(result.get(objective))
    return 0.0 if objective == "ndcg_at_10" and value == WORST else value


def _finite(value: Any) -> float:
    number = math.nan if value is None else float(value)
    return number if math.isfinite(number) else WORST


class TrialQueue(Searcher):  # type: ignore[misc]
    """Hands out the run's trials in order: those cut short first, then the sequence's next ones.

    ``compose(number, draw)`` makes a Proposal (``draw`` asks a family's sampler); ``journal`` keeps it
    before it runs; ``is_open()`` False ends the handing out. A trial whose process died is handed out
    again, ``deaths`` times at most, and goes on from its checkpoint. Samplers know a trial by its number,
    so handing it out twice tells them nothing.
    """

    def __init__(
        self,
        *,
        families: Mapping[str, FamilySampler],
        numbers: list[int],
        unfinished: list[Proposal],
        compose: Callable[[int, Draw], Proposal],
        journal: Callable[[Proposal], None],
        is_open: Callable[[], bool],
        deaths: int = 0,
    ) -> None:
        super().__init__(metric="rmse", mode="min")
        self._families = dict(families)
        self._numbers = list(numbers)
        self._waiting = list(unfinished)
        self._compose = compose
        self._journal = journal
        self._is_open = is_open
        self._deaths = deaths
        self._died: Counter[int] = Counter()
        self._out: dict[str, Proposal] = {}
        self._unknown = {proposal.spec.number for proposal in unfinished}

    def suggest(self, trial_id: str) -> JsonObject | str | None:
        """The next trial; None while there is none but one that runs may come back."""
        if not self._is_open():
            return str(Searcher.FINISHED)
        if self._waiting:
            proposal = self._waiting.pop(0)
            self._register(proposal)
        elif self._numbers:
            proposal = self._next()
        else:
            return None if self._out else str(Searcher.FINISHED)
        self._out[trial_id] = proposal
        return {"number": proposal.spec.number, "spec": vars(proposal.spec)}

    def gave_up(self, number: int) -> bool:
        """Whether a trial that died is not handed out again."""
        return self._died[number] > self._deaths

    def _next(self) -> Proposal:
        number = self._numbers.pop(0)

        def draw(family: str, given: JsonObject | None) -> tuple[JsonObject, JsonObject]:
            return self._families[family].propose(str(number), number, given)

        proposal = self._compose(number, draw)
        self._journal(proposal)
        return proposal

    def _register(self, proposal: Proposal) -> None:
        """Let the family's sampler know a proposal that an earlier session made: after what it replayed,
        since the order of trials matters to TPE."""
        spec = proposal.spec
        if spec.number not in self._unknown:
            return
        self._unknown.remove(spec.number)
        if proposal.draws is not None and spec.family in self._families:
            self._families[spec.family].propose(str(spec.number), spec.number, proposal.draws)

    def replay(self, proposal: Proposal, result: TrialResult, ndcg: float | None = None) -> None:
        """Teach a finished trial of an earlier session (or an older run) to its family's sampler."""
        if proposal.draws is None or proposal.spec.family not in self._families:
            return
        family = self._families[proposal.spec.family]
        name = f"replayed-{proposal.spec.name}-{proposal.spec.number}"
        family.propose(name, proposal.spec.number, proposal.draws)
        for row in running_best(result):
            family.on_trial_result(name, row)
        family.on_trial_complete(name, final_row(result, ndcg))

    def on_trial_result(self, trial_id: str, result: JsonObject) -> None:
        spec = self._out[trial_id].spec
        if spec.family in self._families:
            self._families[spec.family].on_trial_result(str(spec.number), result)

    def on_trial_complete(self, trial_id: str, result: JsonObject | None = None, error: bool = False) -> None:
        proposal = self._out.pop(trial_id)
        spec = proposal.spec
        if error:
            self._died[spec.number] += 1
            if not self.gave_up(spec.number):
                self._waiting.insert(0, proposal)
                return
        if spec.family in self._families:
            self._families[spec.family].on_trial_complete(str(spec.number), result, error)

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
