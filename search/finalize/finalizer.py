"""After the search: the ensemble, the one look at test, the release, and what is told of it all.

Whatever ended the search (its plan, the budget, Ctrl-C), this is done with the trials there are.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys.data.dataset import Dataset
from recsys.data.split import SLICES, SliceName, Split
from recsys.ensemble.blend import Blend, fit_blend, fit_corrected
from recsys.ensemble.rating_intervals import (
    BandCoverage,
    RatingIntervals,
    coverage_by_band,
    fit_rating_intervals,
    user_activity,
)
from recsys.evaluation import evaluate_release, rating_metrics
from recsys.ranking.list_selection import ListSelection
from recsys.ranking.list_validation import ListValidation
from recsys.release.recommender import Recommender
from recsys.seeds import derive_seed
from recsys.training.trial_types import TrialResult
from recsys.types import JsonObject
from search.config.plan import SUBJECT, SearchPlan
from search.finalize import selection
from search.finalize.evaluator import Evaluator
from search.finalize.list_check import PROTOCOL, check_lists
from search.finalize.list_choice import choose_lists
from search.finalize.release_packer import ReleasePacker, metrics_card, release_member
from search.finalize.reserve import retrain_seconds
from search.finalize.retrain import WITH_VALID, refit_members, retrain
from search.finalize.sample_lists import sample_lists
from search.results.outcome import Entry, JudgedLists, Sample
from search.sampling.trial_factory import SCALED

RETRAINED = "test judges it trained again on train and valid; valid is of the one trained on train"


@dataclass
class Findings:
    """What the end of a run found out; ``seconds`` by stage."""

    formula: Entry | None = None
    formula_recalibrated: Entry | None = None
    baselines: dict[str, Entry] = field(default_factory=dict)
    template: Entry | None = None
    best: Entry | None = None
    best_hybrid_vae: Entry | None = None
    ensemble: Entry | None = None
    recommender: Entry | None = None
    list_check: JudgedLists | None = None
    served_lists: JudgedLists | None = None
    lists: JsonObject = field(default_factory=dict)
    rating_intervals: RatingIntervals | None = None
    interval_coverage: list[BandCoverage] = field(default_factory=list)
    members: tuple[tuple[int, float], ...] = ()
    blend_method: str = ""
    refit: JsonObject | None = None
    samples: tuple[Sample, ...] = ()
    release: Path | None = None
    gate_predictions: NDArray[np.float32] | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - began


class Finalizer:
    """One run's end. ``lists`` is what list trials were judged on (None: not searched); ``say`` prints."""

    def __init__(
        self,
        run: Path,
        plan: SearchPlan,
        dataset: Dataset,
        split: Split,
        *,
        lists: ListValidation | None = None,
        say: Callable[[str], None],
        seconds_left: Callable[[], float] = lambda: math.inf,
    ) -> None:
        self._seconds_left, self._retrain = seconds_left, plan.retrain_on_valid
        self._run, self._plan, self._say = run, plan, say
        self._lists = lists
        self._judge = Evaluator.of(dataset, split)
        self._valid = self._judge.slice("valid")
        self._test = self._judge.slice("test")
        self._entries: dict[int, Entry] = {}

    def finish(self, results: list[TrialResult]) -> Findings:
        """Blend, look, pack. With no usable trial there is nothing to release."""
        findings = Findings()
        usable = selection.usable(results, self._run)
        if not usable:
            self._say("no trial came to anything: there is no ensemble and no release")
            return findings
        with findings.timed("ensemble"):
            members, blend, valid_stars = self._blend(usable)
        if self._retrain:
            seconds = retrain_seconds(_judged_on_test(usable, members), self._judge.split, ("train", "valid"))
            self._retrain = self._fits("retraining on train and valid", seconds)
        with findings.timed("lists"):
            chosen = choose_lists(results, self._lists, self._plan, self._judge.dataset, say=self._say)
            findings.lists = chosen.report()
        with findings.timed("test"):
            self._look(usable, members, blend, valid_stars, findings)
        with findings.timed("release"):
            self._release(members, blend, valid_stars, chosen, findings)
        return findings

    def _fits(self, what: str, seconds: float) -> bool:
        """Whether ``what`` fits into what is left of the budget; says so where it is left out."""
        left = self._seconds_left()
        if seconds <= left:
            return True
        self._say(
            f"left out: {what} (about {seconds:.0f} s by the trials' own times, {max(left, 0):.0f} s of the "
            "budget are left); the release is made of what there is"
        )
        return False

    def _blend(self, usable: list[TrialResult]) -> tuple[list[TrialResult], Blend, NDArray[np.float32]]:
        """The members, their blend, and its stars of valid, which the run keeps."""
        train = self._judge.slice("train")
        pool = selection.candidates(usable, self._plan.ensemble)
        predictions, seed = (
            selection.valid_predictions(pool, self._run),
            derive_seed(self._plan.seed, "blend"),
        )
        if self._plan.ensemble.corrected:
            blend = fit_corrected(predictions, self._valid, train, seed=seed)
        else:
            blend = fit_blend(predictions, self._valid.values, seed=seed)
        kept = [place for place, weight in enumerate(blend.weights) if weight > 0]
        self._say(f"ensemble of {len(kept)} of {len(pool)} candidates by {blend.name}")
        blend = replace(blend, weights=blend.weights[kept])
        stars = blend.predict(predictions[kept], self._valid, train)
        selection.save_ensemble(self._run, stars)
        return [pool[place] for place in kept], blend, stars

    def _look(
        self,
        usable: list[TrialResult],
        members: list[TrialResult],
        blend: Blend,
        valid_stars: NDArray[np.float32],
        findings: Findings,
    ) -> None:
        """The one look at test."""
        findings.formula = self._entry_of(selection.formula(usable))
        findings.formula_recalibrated = self._entry_of(selection.formula_recalibrated(usable))
        findings.template = self._entry_of(selection.best_of(usable, "template"))
        if findings.template is not None and findings.template.name.endswith(SCALED):
            note = "as written it breaks the safe bounds: its factors are scaled down until it fits"
            notes = "; ".join(filter(None, [note, findings.template.note]))
            findings.template = replace(findings.template, note=notes)
        findings.best = self._entry_of(selection.best_searched(usable))
        if findings.best is not None and findings.best.family != SUBJECT:
            findings.best_hybrid_vae = self._entry_of(selection.best_of_family(usable, SUBJECT))
        findings.baselines = {
            name: self._entry(result) for name, result in selection.best_baselines(usable).items()
        }
        findings.members = tuple(
            (result.spec.number, float(weight)) for result, weight in zip(members, blend.weights, strict=True)
        )
        findings.blend_method = blend.name
        findings.ensemble = self._ensemble_entry(members, blend, valid_stars)
        known = user_activity(self._judge.slice("train"))
        findings.rating_intervals = fit_rating_intervals(valid_stars, self._valid, known)
        if findings.rating_intervals is not None and len(self._test):
            findings.interval_coverage = coverage_by_band(
                findings.rating_intervals,
                _stars(findings.ensemble),
                self._test,
                user_activity(self._judge.known),
            )
        gate = self._judge.slice("gate")
        if len(gate):
            rows = np.stack([self._judge.predict(self._judged(result), gate) for result in members])
            findings.gate_predictions = blend.predict(rows, gate, self._judge.known)

    def _member(self, result: TrialResult) -> Path:
        return self._run / result.folder / selection.MEMBER

    def _judged(self, result: TrialResult) -> Path:
        """The member that test judges: the trial's own, or, if the plan says so, trained on valid as well."""
        if not self._retrain:
            return self._member(result)
        place, judge = self._run / WITH_VALID, self._judge
        return retrain(place, result, judge.dataset, judge.split, ("train", "valid"), say=self._say)

    def _entry_of(self, result: TrialResult | None) -> Entry | None:
        return None if result is None else self._entry(result)

    def _entry(self, result: TrialResult) -> Entry:
        number = result.spec.number
        if number not in self._entries:
            stars, kl = self._judge.judge(self._judged(result), self._test)
            valid = np.load(self._run / result.folder / selection.VALID, allow_pickle=False)
            self._entries[number] = Entry(
                name=result.spec.name,
                family=result.spec.family,
                trial=number,
                config=result.trained_config,
                epochs=result.best_epoch,
                parameters=result.parameters,
                valid=rating_metrics(valid, self._valid, kl=result.kl),
                test=rating_metrics(stars, self._test, kl=result.kl if kl is None else kl),
                test_predictions=stars,
                note=RETRAINED if self._retrain else "",
            )
        return self._entries[number]

    def _ensemble_entry(
        self, members: list[TrialResult], blend: Blend, valid_stars: NDArray[np.float32]
    ) -> Entry:
        entries = [self._entry(result) for result in members]
        kl = blend.kl([result.kl for result in members])
        test_kl = blend.kl([(entry.test or {})["kl"] for entry in entries])
        test = blend.predict(np.stack([_stars(entry) for entry in entries]), self._test, self._judge.known)
        return Entry(
            name="ensemble",
            family="",
            trial=None,
            config={},
            epochs=None,
            parameters=sum(result.parameters for result in members),
            valid=rating_metrics(valid_stars, self._valid, kl=kl),
            test=rating_metrics(test, self._test, kl=test_kl),
            test_predictions=test,
            note=RETRAINED if self._retrain else "",
        )

    def _release(
        self,
        members: list[TrialResult],
        blend: Blend,
        valid_stars: NDArray[np.float32],
        lists: ListSelection,
        findings: Findings,
    ) -> None:
        """Pack what was judged, judge its lists, and pack it again with its figures (or refitted)."""
        plan, judge = self._plan, self._judge
        seed = derive_seed(plan.seed, "ranker")
        packer = ReleasePacker(
            self._run,
            judge,
            blend,
            valid_stars,
            intervals=findings.rating_intervals,
            lists=lists,
            seed=seed,
            say=self._say,
        )
        parts = [
            release_member(self._member(result), result, weight=float(weight))
            for result, weight in zip(members, blend.weights, strict=True)
        ]
        packer.choose_mix(parts)
        if self._retrain:
            parts = [
                release_member(self._judged(result), result, weight=part.weight)
                for result, part in zip(members, parts, strict=True)
            ]
        with packer.provisional(parts) as release:
            recommender = Recommender(release)
            findings.recommender = self._recommender_entry(recommender, findings)
            findings.samples = sample_lists(recommender, judge.dataset)
        if plan.objective != "rating" and judge.split.protocol != PROTOCOL:
            with findings.timed("list_check"):
                findings.list_check = check_lists(judge.dataset, seed=seed, say=self._say, at=plan.at)
        slices: tuple[SliceName, ...] = ("train", "valid")
        if plan.refit and self._fits(
            "the refit on every slice", retrain_seconds(members, judge.split, SLICES)
        ):
            # First a release of what there is: a refit that is cut short must not cost it.
            card = metrics_card(findings.formula, findings.best, findings.ensemble, findings.recommender)
            packer.final(parts, metrics=card, trained_on=slices)
            with findings.timed("refit"):
                parts, slices = refit_members(
                    self._run, members, list(blend.weights), judge.dataset, judge.split, say=self._say
                )
            epochs = {part.name: result.best_epoch for part, result in zip(parts, members, strict=True)}
            findings.refit = {"trained_on": list(slices), "epochs": epochs}
        card = metrics_card(findings.formula, findings.best, findings.ensemble, findings.recommender)
        findings.release = packer.final(parts, metrics=card, trained_on=slices)

    def _recommender_entry(self, recommender: Recommender, findings: Findings) -> Entry:
        assert findings.ensemble is not None
        figures = evaluate_release(
            recommender,
            self._test,
            kl=(findings.ensemble.test or {}).get("kl", 0.0),
            at=self._plan.at,
            histories=self._judge.folded_in,
        )
        note = figures.sample_note()
        if note:
            self._say(note)
        findings.served_lists = JudgedLists(
            "recommender", self._judge.split.protocol, figures.people, figures.folded_in, figures.lists
        )
        return Entry(
            name="recommender",
            family="",
            trial=None,
            config={},
            epochs=None,
            parameters=None,
            valid=None,
            test=figures.values(),
            note=note,
        )


def _judged_on_test(usable: list[TrialResult], members: list[TrialResult]) -> list[TrialResult]:
    """Every trial that test judges, once."""
    others = (
        selection.formula(usable),
        selection.formula_recalibrated(usable),
        selection.best_of(usable, "template"),
        selection.best_searched(usable),
        selection.best_of_family(usable, SUBJECT),
        *selection.best_baselines(usable).values(),
    )
    found = {result.spec.number: result for result in (*members, *others) if result is not None}
    return list(found.values())


def _stars(entry: Entry) -> NDArray[np.float32]:
    assert entry.test_predictions is not None
    return entry.test_predictions
