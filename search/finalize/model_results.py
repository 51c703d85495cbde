"""Figures of trials and of their blend: on valid as the search saw them, on test once.

With ``retrain_on_valid`` in the plan, test judges members trained again on train and valid; the figures of
valid stay those of the members that were trained on train.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys.ensemble.blend import Blend
from recsys.evaluation import rating_metrics
from recsys.training.trial_types import TrialResult
from search.finalize import selection
from search.finalize.evaluator import Evaluator
from search.finalize.retrain import WITH_VALID, retrain
from search.results.metrics import EnsembleResult, Member, Metrics, ModelResult, metrics_on

RETRAINED = "test judges it trained again on train and valid; valid is of the one trained on train"


class ModelResults:
    """Evaluates each trial at most once.

    Args:
        run: The run's folder.
        judge: The run's slices.
        retrained: Test judges members trained again on train and valid.
        log: Prints a line.
    """

    def __init__(self, run: Path, judge: Evaluator, *, retrained: bool, log: Callable[[str], None]) -> None:
        self._run, self._judge, self._retrained, self._log = run, judge, retrained, log
        self._valid, self._test = judge.slice("valid"), judge.slice("test")
        self._results: dict[int, ModelResult] = {}
        self._stars: dict[int, NDArray[np.float32]] = {}

    def member(self, trial: TrialResult) -> Path:
        """The packed member as the search trained it."""
        return self._run / trial.folder / selection.MEMBER

    def judged_member(self, trial: TrialResult) -> Path:
        """The packed member that test judges."""
        if not self._retrained:
            return self.member(trial)
        folder, judge = self._run / WITH_VALID, self._judge
        return retrain(folder, trial, judge.dataset, judge.split, ("train", "valid"), log=self._log)

    def optional(self, trial: TrialResult | None) -> ModelResult | None:
        """``result`` of ``trial``, None without one."""
        return None if trial is None else self.result(trial)

    def result(self, trial: TrialResult) -> ModelResult:
        """Config and figures of one trial."""
        number = trial.spec.number
        if number not in self._results:
            stars, kl = self._judge.judge(self.judged_member(trial), self._test)
            valid = np.load(self._run / trial.folder / selection.VALID, allow_pickle=False)
            self._stars[number] = stars
            self._results[number] = ModelResult(
                name=trial.spec.name,
                family=trial.spec.family,
                trial=number,
                config=trial.trained_config,
                epochs=trial.best_epoch,
                parameters=trial.parameters,
                valid=Metrics.of(rating_metrics(valid, self._valid, kl=trial.kl)),
                test=Metrics.of(rating_metrics(stars, self._test, kl=trial.kl if kl is None else kl)),
                note=RETRAINED if self._retrained else "",
            )
        return self._results[number]

    def test_stars(self, number: int) -> NDArray[np.float32]:
        """(test rows,) stars of a trial that ``result`` was made of."""
        return self._stars[number]

    def ensemble(
        self, members: Sequence[TrialResult], blend: Blend, valid_stars: NDArray[np.float32]
    ) -> tuple[EnsembleResult, NDArray[np.float32]]:
        """Figures of the blend, and its (test rows,) stars; ``valid_stars`` are its stars of valid."""
        singles = [self.result(trial) for trial in members]
        stars = np.stack([self._stars[trial.spec.number] for trial in members])
        blended = blend.predict(stars, self._test, self._judge.known_ratings)
        kl = blend.kl([trial.kl for trial in members])
        test_kl = blend.kl([metrics_on(single, "test").kl or 0.0 for single in singles])
        weights = zip(members, blend.weights, strict=True)
        result = EnsembleResult(
            name="ensemble",
            parameters=sum(trial.parameters for trial in members),
            valid=Metrics.of(rating_metrics(valid_stars, self._valid, kl=kl)),
            test=Metrics.of(rating_metrics(blended, self._test, kl=test_kl)),
            note=RETRAINED if self._retrained else "",
            members=[
                Member(
                    trial=trial.spec.number,
                    name=trial.spec.name,
                    family=trial.spec.family,
                    weight=float(weight),
                )
                for trial, weight in sorted(weights, key=lambda pair: -pair[1])
            ],
            method=blend.name,
        )
        return result, blended
