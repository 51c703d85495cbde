"""Experiments side by side: figures, what differs in their settings, and whether a difference is sure.

The paired test is on valid, where both were judged alike; an ensemble's blend was fitted there, and the
table says so. It needs the same data and split, and the ratings themselves.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys.data.data_spec import DataSpec
from recsys.data.splits import make_split
from recsys.errors import InputError
from recsys.metrics.rating import squared_errors
from recsys.metrics.significance import rmse_difference
from recsys.text_table import number, text_table
from search.experiments.status import ExperimentStatus
from search.finalize.selection import ENSEMBLE_VALID
from search.report.parameters import value_text
from search.results.schema import Results


def comparison(statuses: Sequence[ExperimentStatus]) -> str:
    """The whole text."""
    parts = [figures_table(statuses)]
    settings = settings_table(statuses)
    parts.append(settings or "Their settings are the same.")
    first, *others = statuses
    lines = [paired_line(other, first) for other in others]
    parts.append("\n".join(lines))
    return "\n\n".join(parts)


def figures_table(statuses: Sequence[ExperimentStatus]) -> str:
    """Loss and rmse of each, on valid and test."""
    rows = []
    for status in statuses:
        results = status.results
        rows.append(
            [
                status.name,
                status.state,
                what(status),
                number(status.valid.loss),
                number(status.valid.rmse),
                number(status.test.loss),
                number(status.test.rmse),
                "-"
                if status.model is None or status.model.parameters is None
                else f"{status.model.parameters:,}",
                "-" if results is None else f"{results.seconds.get('search', 0.0):.0f}",
                "-" if results is None else f"{results.budget.usd:.2f}",
            ]
        )
    header = ["", "state", "figures of", "valid loss", "valid rmse", "test loss", "test rmse", "parameters",
              "search s", "$"]  # fmt: skip
    return text_table(header, rows, right=range(3, 10))


def what(status: ExperimentStatus) -> str:
    """What a row's figures are of."""
    if status.model is None:
        return "-"
    ensemble = status.results.ensemble if status.results else None
    return f"blend of {len(ensemble.members)}" if status.model is ensemble and ensemble else "one model"


def settings_table(statuses: Sequence[ExperimentStatus]) -> str:
    """Only what differs between the cards; "" when nothing does."""
    configs = [
        {
            **status.card.config,
            "template": status.card.template,
            "family": status.card.family,
            "epochs": status.card.epochs,
            "seed": status.card.seed,
            "data": status.card.data,
            "split": status.card.split,
        }
        if status.card
        else {}
        for status in statuses
    ]
    names = sorted({name for config in configs for name in config})
    texts = {name: [value_text(config.get(name)) for config in configs] for name in names}
    rows = [[name, *values] for name, values in texts.items() if len(set(values)) > 1]
    return text_table(["", *(status.name for status in statuses)], rows, right=()) if rows else ""


def paired_line(first: ExperimentStatus, second: ExperimentStatus) -> str:
    """``one`` against ``other`` on the ratings of valid, in a sentence."""
    if first.results is None or second.results is None:
        return f"{first.name} against {second.name}: not both have been run."
    if first.results.split.fingerprint != second.results.split.fingerprint:
        return (
            f"{first.name} against {second.name}: not comparable, they were run on different data or splits."
        )
    try:
        values, users = _valid_ratings(second.folder, second.results)
        errors = [squared_errors(_valid_predictions(each), values) for each in (first, second)]
    except (InputError, OSError, ValueError, KeyError) as error:
        return f"{first.name} against {second.name}: no paired test ({error})."
    difference = rmse_difference(errors[0], errors[1], seed=0, clusters=users)
    verdict = "better" if difference.below_zero else "worse" if difference.low > 0 else "not told apart"
    return (
        f"{first.name} against {second.name}, valid rmse: {difference.value:+.4f} stars "
        f"(95% interval {difference.low:+.4f} to {difference.high:+.4f}): {verdict}."
    )


def _valid_ratings(folder: Path, results: Results) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    about = json.loads((folder / "run.json").read_text())
    dataset = DataSpec.from_json(about["source"]).load()
    split = make_split(dataset, results.split.protocol, seed=results.split.seed)
    if split.fingerprint != results.split.fingerprint:
        raise InputError("the ratings are no longer those that it was run on")
    valid = dataset.ratings.take(split.valid)
    return valid.values, valid.users


def _valid_predictions(status: ExperimentStatus) -> NDArray[np.float32]:
    """Of its blend, or of its best trial."""
    folders = {trial.spec.number: status.folder / trial.folder for trial in status.trials}
    results, model = status.results, status.model
    if results is None or model is None:
        raise InputError(f"{status.name} came to nothing")
    ensemble = results.ensemble
    if ensemble is not None and model is ensemble:
        if (status.folder / ENSEMBLE_VALID).exists():
            stars: NDArray[np.float32] = np.load(status.folder / ENSEMBLE_VALID, allow_pickle=False)
            return stars
        parts = [  # a run of an older version, without that file
            member.weight * np.load(folders[member.trial] / "valid.npy")
            for member in ensemble.members
            if member.trial is not None
        ]
        low, high = results.dataset.scale
        blended: NDArray[np.float32] = np.clip(np.sum(parts, axis=0), low, high).astype(np.float32)
        return blended
    if model.trial is None:
        raise InputError(f"{status.name} has no best trial")
    predictions: NDArray[np.float32] = np.load(folders[model.trial] / "valid.npy")
    return predictions
