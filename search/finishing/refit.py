"""Train the chosen members again on every slice, after the one look at test, for the release alone.

Each runs exactly the epochs that the search chose, on the schedule it was searched with; nothing is
measured on the result, since there is nothing left that it has not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from recsys.data.dataset import Dataset
from recsys.data.split import SLICES, SliceName, Split, TrainingData
from recsys.release.writer import ReleaseMember
from recsys.training.trial import Trial
from recsys.training.trials import TrialResult, TrialStatus
from search.finishing.packing import release_member
from search.runner.trial_files import RESULT

FOLDER = "refit"


def refit_members(
    run: Path,
    members: Sequence[TrialResult],
    weights: Sequence[float],
    dataset: Dataset,
    split: Split,
    *,
    say: Callable[[str], None],
) -> tuple[list[ReleaseMember], tuple[SliceName, ...]]:
    """The members trained on all slices, with their weights, and the slices. Goes on where it was cut."""
    slices: tuple[SliceName, ...] = tuple(name for name in SLICES if len(split.rows(name)))
    data = TrainingData(
        train=dataset.ratings.take(np.arange(len(dataset.ratings))),
        valid=dataset.ratings.take(split.valid),
        user_features=dataset.user_features,
        item_features=dataset.item_features,
    )
    parts = []
    for result, weight in zip(members, weights, strict=True):
        folder = run / FOLDER / f"{result.spec.number:04d}"
        assert result.best_epoch is not None
        if not (folder / RESULT).exists():
            say(f"refit: trial {result.spec.number} on {', '.join(slices)}, {result.best_epoch} epochs")
            trial = Trial(replace(result.spec, early_stop=False), data, folder=folder)
            for _ in range(result.best_epoch):
                trial.step()
            trial.finish(TrialStatus.FINISHED)
        parts.append(release_member(folder / "member", result, weight=float(weight)))
    return parts, slices
