"""Train chosen trials again on more of the data, for exactly the epochs that valid chose.

``retrain_on_valid`` of a plan: on train and valid, before the one look at test, so that test judges models
that have seen all that a peer without a validation slice would have. ``refit``: on every slice, after that
look, for the release alone; nothing is measured on the result, since there is nothing left that it has not
seen. Both keep the schedule that the trial was searched with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from recsys.data.dataset import Dataset
from recsys.data.split import SLICES, SliceName, Split, TrainingData
from recsys.release.release_writer import ReleaseMember
from recsys.training.trial import Trial
from recsys.training.trial_types import TrialResult, TrialStatus
from search.finalize.release_packer import release_member
from search.finalize.selection import MEMBER
from search.storage.trial_dir import RESULT

FOLDER = "refit"
WITH_VALID = "retrained"


def refit_members(
    run: Path,
    members: Sequence[TrialResult],
    weights: Sequence[float],
    dataset: Dataset,
    split: Split,
    *,
    log: Callable[[str], None],
) -> tuple[list[ReleaseMember], tuple[SliceName, ...]]:
    """The members trained on all slices, with their weights, and the slices. Goes on where it was cut."""
    slices: tuple[SliceName, ...] = tuple(name for name in SLICES if len(split.rows(name)))
    parts = []
    for result, weight in zip(members, weights, strict=True):
        folder = retrain(run / FOLDER, result, dataset, split, slices, log=log)
        parts.append(release_member(folder, result, weight=float(weight)))
    return parts, slices


def retrain(
    root: Path,
    result: TrialResult,
    dataset: Dataset,
    split: Split,
    slices: Sequence[SliceName],
    *,
    log: Callable[[str], None],
) -> Path:
    """The packed member of ``result``'s trial, trained on ``slices``; one that is there already stays."""
    folder = root / f"{result.spec.number:04d}"
    if not (folder / RESULT).exists():
        assert result.best_epoch is not None
        log(f"{root.name}: trial {result.spec.number} on {', '.join(slices)}, {result.best_epoch} epochs")
        data = TrainingData(
            train=dataset.ratings.take(split.joined(*slices)),
            valid=dataset.ratings.take(split.valid),
            user_features=dataset.user_features,
            item_features=dataset.item_features,
        )
        spec = replace(result.spec, early_stop=False, origin="refit")
        trial = Trial(spec, data, folder=folder, small_batch_allowed=True)
        for epoch in range(result.best_epoch):
            for change in result.changes_before_best:
                if change.epoch == epoch:
                    trial.change_config(change.changes)
            trial.step()
        trial.finish(TrialStatus.FINISHED)
    return folder / MEMBER
