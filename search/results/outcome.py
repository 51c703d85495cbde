"""What a whole run came to: handed once to results.json, the report and the tracker.

Plain values and arrays, nothing of Ray or Optuna: whoever shows a run reads only this.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from recsys.data.dataset import Dataset
from recsys.data.split import Split
from recsys.ensemble.rating_intervals import BandCoverage, RatingIntervals
from recsys.metrics.significance import ConfidenceInterval
from recsys.training.trial_types import RunEvent, TrialResult
from recsys.types import JsonObject

# Named numbers: "loss", "rmse", "mae", "kl", and where lists were ranked "precision_at_10", "ndcg_at_10", ...
Figures = dict[str, float]
RunStatus = Literal["finished", "budget", "interrupted", "target", "plateau"]


@dataclass(frozen=True)
class Entry:
    """One competitor: the formula, a baseline, the best trial, the ensemble, the recommender.

    ``test_predictions`` (test rows,) stars are in the split's test order; None where nothing predicts
    ratings. ``trial`` is None for what is not one trial.
    """

    name: str
    family: str
    trial: int | None
    config: JsonObject
    epochs: int | None
    parameters: int | None
    valid: Figures | None
    test: Figures | None
    test_predictions: NDArray[np.float32] | None = None
    note: str = ""


@dataclass(frozen=True)
class JudgedLists:
    """The lists of ``model`` on test of the split ``protocol``: every figure with its interval over
    ``people``, ``folded_in`` of whom nothing was fitted on."""

    model: str
    protocol: str
    people: int
    folded_in: int
    figures: dict[str, ConfidenceInterval]


@dataclass(frozen=True)
class Sample:
    """A user's list for the report: titles they rated highest, and (title, predicted stars) recommended."""

    user_id: str
    liked: tuple[str, ...]
    recommended: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class BudgetReport:
    """Money and time: spent against the caps. ``reason`` says how the maximum was computed."""

    usd: float
    cap_usd: float
    hours: float
    cap_hours: float | None
    price_usd_per_hour: float
    nodes: int
    reason: str


@dataclass(frozen=True)
class Outcome:
    """Everything a run leaves to be told. ``members`` are (trial number, weight in the blend).

    ``tuning`` counts trials by family: the budget that the comparison states. ``front`` are the trials
    that no other beats in both loss and NDCG@10, () with one objective; ``ndcg_at_10`` is theirs and the
    others' on valid. ``seconds`` by stage.
    ``template`` is the plan's optimised template, ``best_hybrid_vae`` the best of those where ``best`` is of
    another family. ``gate_predictions`` (gate rows,) stars are the
    ensemble's before any refit, in the split's gate order: promotion compares them with the champion.
    """

    name: str
    folder: Path
    created: float
    status: RunStatus
    command: tuple[str, ...]
    plan: JsonObject
    dataset: Dataset
    split: Split
    trials: tuple[TrialResult, ...]
    events: tuple[RunEvent, ...]
    formula: Entry | None
    formula_recalibrated: Entry | None
    baselines: dict[str, Entry]
    best: Entry | None
    ensemble: Entry | None
    recommender: Entry | None
    members: tuple[tuple[int, float], ...]
    blend_method: str
    tuning: dict[str, int]
    budget: BudgetReport
    seconds: dict[str, float]
    versions: dict[str, str]
    front: tuple[int, ...] = ()
    ndcg_at_10: dict[int, float] = field(default_factory=dict)
    samples: tuple[Sample, ...] = ()
    list_check: JudgedLists | None = None  # of lists on a per-user split, where the run has another
    served_lists: JudgedLists | None = None  # the recommender's
    lists: JsonObject = field(default_factory=dict)  # what the lists are, as ListSelection.report has it
    cluster: JsonObject = field(default_factory=dict)
    refit: JsonObject | None = None
    warm_start: str | None = None
    forecasts: tuple[JsonObject, ...] = ()
    template: Entry | None = None
    best_hybrid_vae: Entry | None = None
    rating_intervals: RatingIntervals | None = None
    interval_coverage: tuple[BandCoverage, ...] = ()
    gate_predictions: NDArray[np.float32] | None = None
