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


def comparison(standings: Sequence[ExperimentStatus]) -> str:
    """The whole text."""
    parts = [figures_table(standings)]
    settings = settings_table(standings)
    parts.append(settings or "Their settings are the same.")
    first, *others = standings
    lines = [paired_line(other, first) for other in others]
    parts.append("\n".join(lines))
    return "\n\n".join(parts)


def figures_table(standings: Sequence[ExperimentStatus]) -> str:
    """Loss and rmse of each, on valid and test."""
    rows = []
    for one in standings:
        results = one.results
        rows.append(
            [
                one.name,
                one.state,
                what(one),
                number(one.valid.loss),
                number(one.valid.rmse),
                number(one.test.loss),
                number(one.test.rmse),
                "-" if one.model is None or one.model.parameters is None else f"{one.model.parameters:,}",
                "-" if results is None else f"{results.seconds.get('search', 0.0):.0f}",
                "-" if results is None else f"{results.budget.usd:.2f}",
            ]
        )
    header = ["", "state", "figures of", "valid loss", "valid rmse", "test loss", "test rmse", "parameters",
              "search s", "$"]  # fmt: skip
    return text_table(header, rows, right=range(3, 10))


def what(one: ExperimentStatus) -> str:
    """What a row's figures are of."""
    if one.model is None:
        return "-"
    ensemble = one.results.ensemble if one.results else None
    return f"blend of {len(ensemble.members)}" if one.model is ensemble and ensemble else "one model"


def settings_table(standings: Sequence[ExperimentStatus]) -> str:
    """Only what differs between the cards; "" when nothing does."""
    configs = [
        {
            **one.card.config,
            "template": one.card.template,
            "family": one.card.family,
            "epochs": one.card.epochs,
            "seed": one.card.seed,
            "data": one.card.data,
            "split": one.card.split,
        }
        if one.card
        else {}
        for one in standings
    ]
    names = sorted({name for config in configs for name in config})
    texts = {name: [value_text(config.get(name)) for config in configs] for name in names}
    rows = [[name, *values] for name, values in texts.items() if len(set(values)) > 1]
    return text_table(["", *(one.name for one in standings)], rows, right=()) if rows else ""


def paired_line(one: ExperimentStatus, other: ExperimentStatus) -> str:
    """``one`` against ``other`` on the ratings of valid, in a sentence."""
    if one.results is None or other.results is None:
        return f"{one.name} against {other.name}: not both have been run."
    if one.results.split.fingerprint != other.results.split.fingerprint:
        return f"{one.name} against {other.name}: not comparable, they were run on different data or splits."
    try:
        given, users = _valid_ratings(other.folder, other.results)
        errors = [squared_errors(_valid_predictions(each), given) for each in (one, other)]
    except (InputError, OSError, ValueError, KeyError) as error:
        return f"{one.name} against {other.name}: no paired test ({error})."
    found = rmse_difference(errors[0], errors[1], seed=0, clusters=users)
    verdict = "better" if found.below_zero else "worse" if found.low > 0 else "not told apart"
    return (
        f"{one.name} against {other.name}, valid rmse: {found.value:+.4f} stars "
        f"(95% interval {found.low:+.4f} to {found.high:+.4f}): {verdict}."
    )


def _valid_ratings(folder: Path, results: Results) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    about = json.loads((folder / "run.json").read_text())
    dataset = DataSpec.from_json(about["source"]).load()
    split = make_split(dataset, results.split.protocol, seed=results.split.seed)
    if split.fingerprint != results.split.fingerprint:
        raise InputError("the ratings are no longer those that it was run on")
    valid = dataset.ratings.take(split.valid)
    return valid.values, valid.users


def _valid_predictions(one: ExperimentStatus) -> NDArray[np.float32]:
    """Of its blend, or of its best trial."""
    folders = {trial.spec.number: one.folder / trial.folder for trial in one.trials}
    results, model = one.results, one.model
    if results is None or model is None:
        raise InputError(f"{one.name} came to nothing")
    ensemble = results.ensemble
    if ensemble is not None and model is ensemble:
        if (one.folder / ENSEMBLE_VALID).exists():
            stars: NDArray[np.float32] = np.load(one.folder / ENSEMBLE_VALID, allow_pickle=False)
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
        raise InputError(f"{one.name} has no best trial")
    predictions: NDArray[np.float32] = np.load(folders[model.trial] / "valid.npy")
    return predictions
