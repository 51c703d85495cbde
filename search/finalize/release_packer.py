"""Packs release/ from the chosen members and a ranker: once to be evaluated, once for good."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys.data.split import SliceName
from recsys.ensemble.blend import Blend
from recsys.errors import InputError
from recsys.models.artifact import load_artifact
from recsys.ranking.list_blend import RANKER_ONLY, choose_list_blend
from recsys.ranking.list_selection import ListSelection
from recsys.ranking.ranker import Ranker
from recsys.release.load import load_release, read_manifest
from recsys.release.loaded_release import Release
from recsys.release.manifest import MetricsCard
from recsys.release.pack import pack_release
from recsys.release.release_writer import ReleaseMember
from recsys.training.trial_types import TrialResult
from search.finalize.evaluator import Evaluator, rating_predictor
from search.finalize.interval_calibration import CalibratedIntervals
from search.results.schema import ModelResult, Results

RELEASE = "release"


def release_member(folder: Path, result: TrialResult, *, weight: float) -> ReleaseMember:
    """A trial's packed member with its weight in the blend."""
    spec = result.spec
    return ReleaseMember(
        name=f"{spec.number:04d}-{spec.family}",
        packed=load_artifact(folder),
        config=result.trained_config,
        parameters=result.parameters,
        weight=weight,
    )


class ReleasePacker:
    """Packs one run's release of ``blend`` and ``lists``; ``valid_stars`` (valid rows,) are the blend's
    predictions, the reference for drift; ``calibrated`` intervals go around them once test was looked at."""

    def __init__(
        self,
        run: Path,
        judge: Evaluator,
        blend: Blend,
        valid_stars: NDArray[np.float32],
        *,
        lists: ListSelection,
        seed: int,
        log: Callable[[str], None],
    ) -> None:
        self._run, self._judge, self._seed = run, judge, seed
        self._selection = lists
        self._rankers: dict[frozenset[SliceName], Ranker] = {}
        self._mix = RANKER_ONLY
        self._log = log
        self._blend, self._valid_stars = blend, valid_stars
        self.calibrated: CalibratedIntervals | None = None

    def choose_mix(self, members: Sequence[ReleaseMember]) -> None:
        """Choose the weight of ``members``' stars in a list, on valid: they were trained on train alone."""
        train, valid = self._judge.slice("train"), self._judge.slice("valid")
        rate = rating_predictor(members, train, self._blend.correction)
        on_train = self._selection.fit(train, seed=self._seed)
        self._mix = choose_list_blend(on_train, rate, train, valid, seed=self._seed)
        self._log(
            f"lists: {self._selection.family} x {self._mix.ranking_weight:g} "
            f"+ predicted rating x {self._mix.rating_weight:g}, by NDCG@10 on valid"
        )

    @contextmanager
    def provisional(self, members: Sequence[ReleaseMember]) -> Iterator[Release]:
        """The release as it is judged; gone afterwards."""
        folder = self._run / f".{RELEASE}-judged"
        shutil.rmtree(folder, ignore_errors=True)
        try:
            yield load_release(self._pack(folder, members, ("train", "valid"), MetricsCard()))
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def final(
        self,
        members: Sequence[ReleaseMember],
        *,
        metrics: MetricsCard,
        trained_on: Sequence[SliceName],
    ) -> Path:
        """release/, in place of one that an earlier session left; the same one keeps its time and its id."""
        new, old = self._run / f".{RELEASE}-new", self._run / f".{RELEASE}-old"
        target = self._run / RELEASE
        for folder in (new, old):
            shutil.rmtree(folder, ignore_errors=True)
        self._pack(new, members, trained_on, metrics)
        if target.exists():
            reuse_identity(target, new)
            target.rename(old)
        new.rename(target)
        shutil.rmtree(old, ignore_errors=True)
        return target

    def _pack(
        self,
        folder: Path,
        members: Sequence[ReleaseMember],
        trained_on: Sequence[SliceName],
        metrics: MetricsCard,
    ) -> Path:
        judge = self._judge
        names: frozenset[SliceName] = frozenset({"train", "valid", *trained_on})
        if names not in self._rankers:  # the judged release and the final one mostly hold the same
            ratings = judge.dataset.ratings.take(judge.split.joined(*names))
            self._rankers[names] = self._selection.fit(ratings, seed=self._seed)
        ranker = self._rankers[names]
        return pack_release(
            folder,
            dataset=judge.dataset,
            split=judge.split,
            trained_on=trained_on,
            members=members,
            method=self._blend.method,
            correction=self._blend.correction,
            intervals=None if self.calibrated is None else self.calibrated.intervals,
            ranker=ranker,
            ranking_report=self._selection.report(),
            metrics=metrics,
            valid_predictions=self._valid_stars,
            valid_deviations=None if self.calibrated is None else self.calibrated.valid_deviations,
            mix=self._mix,
        )


def reuse_identity(before: Path, after: Path) -> None:
    """Copy the manifest of ``before`` to ``after`` where only the creation time differs: a release that was
    packed again keeps its id, for the registry and for the gate."""
    with suppress(InputError):
        manifests = [read_manifest(folder) for folder in (before, after)]
        first, second = (
            manifest.model_copy(update={"created": "", "release_id": ""}) for manifest in manifests
        )
        if first == second:
            shutil.copyfile(before / "manifest.json", after / "manifest.json")


def metrics_card(results: Results) -> MetricsCard:
    """Figures for the manifest, by slice."""

    def card(model: ModelResult | None) -> dict[str, object]:
        if model is None:
            return {}
        slices = {"valid": model.valid, "test": model.test}
        return {
            name: {} if figures is None else figures.model_dump(exclude_none=True)
            for name, figures in slices.items()
        }

    return MetricsCard(
        formula=card(results.formula),
        best=card(results.best),
        ensemble=card(results.ensemble),
        recommender=card(results.recommender),
    )
