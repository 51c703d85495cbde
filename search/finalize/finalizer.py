"""After the search: the ensemble, the one evaluation on test, the release.

Whatever ended the search (its plan, the budget, Ctrl-C), this is done with the trials there are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys.data.dataset import Dataset
from recsys.data.split import SLICES, SliceName, Split
from recsys.ensemble.blend import Blend, fit_blend, fit_corrected
from recsys.evaluation import evaluate_release
from recsys.models.optim.device import has_gpu, pick_device
from recsys.ranking.list_validation import ListValidation
from recsys.release.load import read_manifest
from recsys.release.recommender import Recommender
from recsys.release.release_writer import ReleaseMember
from recsys.seeds import derive_seed
from recsys.training.trial_types import TrialResult
from search.config.plan import SUBJECT, SearchPlan
from search.finalize import selection
from search.finalize.evaluator import Evaluator
from search.finalize.finished_run import FinishedRun
from search.finalize.interval_calibration import CalibratedIntervals, calibrate_intervals
from search.finalize.list_check import check_lists
from search.finalize.list_choice import choose_lists, lists_result
from search.finalize.model_results import ModelResults
from search.finalize.release_packer import ReleasePacker, metrics_card, release_member
from search.finalize.reserve import retrain_seconds
from search.finalize.retrain import refit_members
from search.finalize.sample_lists import sample_lists
from search.results.metrics import JudgedListsResult, Metrics, RecommenderResult, metrics_on
from search.results.model_comparisons import compare_models, rating_models
from search.results.schema import Results
from search.results.targets import LISTS_PROTOCOL
from search.sampling.trial_factory import SCALED


class Finalizer:
    """The end of one run, filling in its results.

    Args:
        run: Its folder.
        plan: Its plan.
        dataset: Its data.
        split: How the data was cut.
        lists: What list trials were judged on; None where lists were not searched.
        log: Prints a line.
        seconds_left: Of the budget; retraining that does not fit is left out.
        reserve: Seconds that blend, test and release take without retraining.
    """

    def __init__(
        self,
        run: Path,
        plan: SearchPlan,
        dataset: Dataset,
        split: Split,
        *,
        lists: ListValidation | None = None,
        log: Callable[[str], None],
        seconds_left: Callable[[], float] = lambda: math.inf,
        reserve: float = 0.0,
    ) -> None:
        self._run, self._plan, self._lists, self._log = run, plan, lists, log
        self._seconds_left, self._reserve = seconds_left, reserve
        self._judge = Evaluator.of(dataset, split)
        self._valid = self._judge.slice("valid")

    def finish(self, trials: Sequence[TrialResult], results: Results) -> FinishedRun:
        """Blend, judge on test, pack a release. Without a usable trial there is nothing to release.

        Args:
            trials: The run's trials that have ended.
            results: The run's, without models (``start_results``); they are filled in.
        """
        finished = FinishedRun(results)
        usable = selection.usable(trials, self._run)
        if not usable:
            self._log("no trial came to anything: there is no ensemble and no release")
            return finished
        with self._stage(finished, "ensemble", "blending the trials' predictions of valid"):
            members, blend, valid_stars = self._blend(usable)
        retrained = self._plan.retrain_on_valid
        if retrained:
            judged = selection.judged_on_test(usable, members)
            seconds = retrain_seconds(judged, self._judge.split, ("train", "valid"))
            retrained = self._fits("retraining on train and valid", seconds, margin=self._reserve)
        with self._stage(finished, "lists", "choosing the ranker of the lists"):
            lists = choose_lists(trials, self._lists, self._plan, self._judge.dataset, log=self._log)
            results.lists = lists_result(lists.report(), trials)
        models = ModelResults(self._run, self._judge, retrained=retrained, log=self._log)
        packer = ReleasePacker(
            self._run,
            self._judge,
            blend,
            valid_stars,
            lists=lists,
            seed=derive_seed(self._plan.seed, "ranker"),
            log=self._log,
        )
        with finished.timed("release"):
            parts = [
                release_member(models.member(trial), trial, weight=float(weight))
                for trial, weight in zip(members, blend.weights, strict=True)
            ]
            packer.choose_mix(parts)
            if self._seconds_left() < self._reserve / 2:
                self._log("little of the budget is left: a release is made before test is looked at")
                finished.release = packer.final(
                    parts, metrics=metrics_card(results), trained_on=("train", "valid")
                )
        with self._stage(finished, "test", "judging every model on test"):
            packer.calibrated = self._evaluate_on_test(models, usable, members, blend, valid_stars, finished)
        with self._stage(finished, "release", "packing the release and judging its lists on test"):
            self._release(models, members, packer, parts, retrained, finished)
        return finished

    @contextmanager
    def _stage(self, finished: FinishedRun, stage: str, what: str) -> Iterator[None]:
        """A timed stage, logged as it starts: at ML-32M's size each takes minutes."""
        remaining = self._seconds_left()
        budget = "" if math.isinf(remaining) else f", {max(remaining, 0) / 60:.1f} min of the budget left"
        self._log(f"finishing: {what}{budget}")
        with finished.timed(stage):
            yield

    def _fits(self, what: str, seconds: float, *, margin: float = 0.0) -> bool:
        """Whether ``what`` fits into the remaining budget less ``margin`` seconds; logs where it
        is left out."""
        remaining = self._seconds_left() - margin
        if seconds <= remaining:
            return True
        self._log(
            f"left out: {what} (about {seconds:.0f} s by the trials' times, the budget leaves "
            f"{max(remaining, 0):.0f} s); the release is made of what there is"
        )
        return False

    def _blend(self, usable: list[TrialResult]) -> tuple[list[TrialResult], Blend, NDArray[np.float32]]:
        """The members, their blend, and its stars of valid, which the run keeps."""
        train = self._judge.slice("train")
        pool = selection.candidates(usable, self._plan.ensemble)
        predictions = selection.valid_predictions(pool, self._run)
        seed = derive_seed(self._plan.seed, "blend")
        if self._plan.ensemble.corrected:
            blend = fit_corrected(predictions, self._valid, train, seed=seed)
        else:
            blend = fit_blend(predictions, self._valid.values, seed=seed, weights=self._valid.weights)
        selected = [index for index, weight in enumerate(blend.weights) if weight > 0]
        self._log(f"ensemble of {len(selected)} of {len(pool)} candidates by {blend.name}")
        blend = replace(blend, weights=blend.weights[selected])
        stars = blend.predict(predictions[selected], self._valid, train)
        selection.save_ensemble(self._run, stars)
        return [pool[index] for index in selected], blend, stars

    def _evaluate_on_test(
        self,
        models: ModelResults,
        usable: list[TrialResult],
        members: list[TrialResult],
        blend: Blend,
        valid_stars: NDArray[np.float32],
        finished: FinishedRun,
    ) -> CalibratedIntervals:
        """The one evaluation on test: every model, its intervals, differences and errors in groups."""
        results, judge = finished.results, self._judge
        test = judge.slice("test")
        results.formula = models.optional(selection.formula(usable))
        results.formula_recalibrated = models.optional(selection.formula_recalibrated(usable))
        results.template = models.optional(selection.best_of(usable, "template"))
        if results.template is not None and results.template.name.endswith(SCALED):
            scaled = "as written it breaks the safe bounds: its factors are scaled down until it fits"
            notes = "; ".join(filter(None, [scaled, results.template.note]))
            results.template = results.template.model_copy(update={"note": notes})
        results.baselines = {
            family: models.result(trial) for family, trial in selection.best_baselines(usable).items()
        }
        results.best = models.optional(selection.best_searched(usable))
        if results.best is not None and results.best.family != SUBJECT:
            results.best_hybrid_vae = models.optional(selection.best_of_family(usable, SUBJECT))
        results.ensemble, stars = models.ensemble(members, blend, valid_stars)
        finished.test_stars = {
            key: models.test_stars(model.trial)
            for key, model in rating_models(results).items()
            if model.trial is not None
        } | {"ensemble": stars}
        seen = judge.split.joined("train", "fold_in")
        compare_models(results, test, finished.test_stars, train=judge.dataset.ratings.take(seen))
        intervals = calibrate_intervals(
            judge,
            blend.weights.tolist(),
            searched=[models.member(trial) for trial in members],
            judged=[models.judged_member(trial) for trial in members],
            valid_stars=valid_stars,
            test_stars=stars,
        )
        results.rating_intervals = intervals.summary
        gate = judge.slice("gate")
        if len(gate):
            rows = np.stack([judge.predict(models.judged_member(trial), gate) for trial in members])
            finished.gate_stars = blend.predict(rows, gate, judge.known_ratings)
        return intervals

    def _release(
        self,
        models: ModelResults,
        members: list[TrialResult],
        packer: ReleasePacker,
        parts: list[ReleaseMember],
        retrained: bool,
        finished: FinishedRun,
    ) -> None:
        """Pack the evaluated models, evaluate the lists, and pack again with these figures (or refitted)."""
        plan, judge, results = self._plan, self._judge, finished.results
        if retrained:
            parts = [
                release_member(models.judged_member(trial), trial, weight=part.weight)
                for trial, part in zip(members, parts, strict=True)
            ]
        with packer.provisional(parts) as release:
            recommender = Recommender(release)
            figures = evaluate_release(
                recommender,
                judge.slice("test"),
                kl=metrics_on(results.ensemble, "test").kl or 0.0,
                at=plan.at,
                histories=judge.folded_in,
                card=pick_device() if has_gpu() else None,
            )
            note = figures.sample_note()
            if note:
                self._log(note)
            results.recommender = RecommenderResult(
                name="recommender", test=Metrics.of(figures.values()), note=note
            )
            results.judged_lists = [
                JudgedListsResult.of(
                    "recommender",
                    judge.split.protocol,
                    figures.lists,
                    people=figures.people,
                    folded_in=figures.folded_in,
                )
            ]
            results.samples = sample_lists(recommender, judge.dataset)
        slices: tuple[SliceName, ...] = ("train", "valid")
        # The release comes first: no later step may prevent it.
        finished.release = packer.final(parts, metrics=metrics_card(results), trained_on=slices)
        if plan.objective != "rating" and judge.split.protocol != LISTS_PROTOCOL:
            with self._stage(
                finished, "list_check", "judging lists on the per-user split of the plan's targets"
            ):
                checked = check_lists(
                    judge.dataset, seed=derive_seed(plan.seed, "ranker"), log=self._log, at=plan.at
                )
            if checked is not None:
                results.list_check = checked.metrics()
                results.judged_lists.append(checked)
        if plan.refit and self._fits(
            "the refit on every slice", retrain_seconds(members, judge.split, SLICES)
        ):
            with self._stage(finished, "refit", "training the members again on every slice"):
                parts, slices = refit_members(
                    self._run,
                    members,
                    [part.weight for part in parts],
                    judge.dataset,
                    judge.split,
                    log=self._log,
                )
            epochs = {part.name: trial.best_epoch for part, trial in zip(parts, members, strict=True)}
            results.refit = {"trained_on": list(slices), "epochs": epochs}
            finished.release = packer.final(parts, metrics=metrics_card(results), trained_on=slices)
        card = read_manifest(finished.release).ranking
        results.recommender.ranker = card.ranker
        results.recommender.weights = card.weights.model_dump()
        results.recommender.candidates = card.candidates
