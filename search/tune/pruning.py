"""Ray's ASHA as this search uses it: one bracket a family, some trials spared, ends announced.

Rating models are compared by rmse, list families that train by epochs by NDCG@10 on people of their own.

ASHA compares a trial with others at the same epoch, so families of different pace keep apart. A trial
that may not be pruned still counts on its rungs. Ray does not carry out a STOP: the trial gets a request,
and ends itself before its next epoch (see search.tune.trial_worker).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from recsys.training.trial_types import TrialResult
from recsys.types import JsonObject
from search.config.plan import PruningOptions
from search.config.tracks import search_family
from search.sampling.trial_queue import running_best
from search.tune.callbacks import spec_of


class Numbered:
    """A trial as ASHA sees it. It is known by its number, so that one that is assigned again
    (its process died, the run was resumed) finds its own place on the rungs."""

    def __init__(self, number: int) -> None:
        self.trial_id = str(number)


class FamilyPruning(FIFOScheduler):  # type: ignore[misc]
    """``prune(number)`` requests a trial's end; ``max_epochs`` is the longest that any trial runs."""

    def __init__(self, settings: PruningOptions, *, max_epochs: int, prune: Callable[[int], None]) -> None:
        super().__init__()
        self._settings = settings
        self._max_epochs = max(max_epochs, settings.grace_epochs)
        self._prune = prune
        self._families: dict[str, ASHAScheduler] = {}

    def _of(self, family: str) -> ASHAScheduler:
        if family not in self._families:
            lists = search_family(family).track == "lists"
            self._families[family] = ASHAScheduler(
                time_attr="epoch",
                metric="ndcg_at_10" if lists else "rmse",
                mode="max" if lists else "min",
                max_t=self._max_epochs,
                grace_period=self._settings.grace_epochs,
                reduction_factor=self._settings.reduction,
                stop_last_trials=False,
            )
        return self._families[family]

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        return True

    def replay(self, results: Iterable[TrialResult]) -> None:
        """Fill the rungs with what trials of earlier sessions reported."""
        for result in results:
            asha = self._of(result.spec.family)
            trial = Numbered(result.spec.number)
            asha.on_trial_add(None, trial)
            for row in running_best(result):
                asha.on_trial_result(None, trial, row)

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        spec = spec_of(trial)
        self._of(spec.family).on_trial_add(tune_controller, Numbered(spec.number))

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: JsonObject) -> str:
        spec = spec_of(trial)
        decision = self._of(spec.family).on_trial_result(tune_controller, Numbered(spec.number), result)
        if decision == TrialScheduler.STOP and spec.prunable and self._settings.enabled:
            self._prune(spec.number)
        return str(TrialScheduler.CONTINUE)

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: JsonObject) -> None:
        """Nothing: a trial's last figures are its best, not those of the epoch it got to."""

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """Does nothing: the trial's reports stay on the rungs."""

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        """Nothing: as above."""

    def __getstate__(self) -> JsonObject:
        """Empty: Tune pickles its scheduler, but a run is resumed from its journal."""
        return {}

    def debug_string(self) -> str:
        return "ASHA by family"
