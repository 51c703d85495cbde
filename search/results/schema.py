"""The schema of results.json: a run's inputs, its results, and a verdict for every target.

``loss`` is MSE + 0.01 · KL with that fixed weight, ``rmse`` is in stars; the two always stand side by
side. None means "not measured", never zero. ``python -m search.results`` prints this as a JSON schema.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from search.results.document import Document
from search.results.metrics import (
    EnsembleResult,
    ErrorGroup,
    JudgedListsResult,
    ListFigure,
    ListMemberResult,
    ListsResult,
    Member,
    MetricInterval,
    Metrics,
    ModelResult,
    PairedComparison,
    RatingIntervalSummary,
    RecommenderResult,
)
from search.results.run_info import (
    BudgetSummary,
    DatasetFacts,
    EventRecord,
    ForecastRecord,
    QualityFacts,
    SampleItem,
    SampleList,
    SplitFacts,
    Target,
    Verdict,
)

SCHEMA_VERSION = 3  # 1 and 2 lacked what has a default since: forecasts, list_check, lists, ...

__all__ = [
    "SCHEMA_VERSION",
    "BudgetSummary",
    "DatasetFacts",
    "EnsembleResult",
    "ErrorGroup",
    "EventRecord",
    "ForecastRecord",
    "JudgedListsResult",
    "ListFigure",
    "ListMemberResult",
    "ListsResult",
    "Member",
    "MetricInterval",
    "Metrics",
    "ModelResult",
    "PairedComparison",
    "QualityFacts",
    "RecommenderResult",
    "Results",
    "SampleItem",
    "SampleList",
    "SplitFacts",
    "Target",
    "Verdict",
]


class Results(Document):
    """A run, whole."""

    schema_version: Literal[3] = 3
    """Grows with the fields; ``results_file.UPGRADES`` brings older ones up."""
    name: str
    """The run's name: its folder."""
    command: list[str]
    """The command line."""
    seed: int
    """The run's root seed."""
    started: float
    """Unix seconds."""
    status: str = "finished"
    """"finished", "budget" (a cap ended it), "interrupted", "target" (--target-loss) or "plateau"."""
    warm_start: str | None = None
    """The run whose results or configs this one took over."""
    plan: dict[str, Any]
    """The search plan as run."""
    dataset: DatasetFacts
    split: SplitFacts
    formula: ModelResult | None = None
    """The proven formula, as the plan writes it."""
    formula_recalibrated: ModelResult | None = None
    """The same weights, BatchNorm statistics estimated again without dropout."""
    template: ModelResult | None = None
    """The plan's optimised template (scaled into the bounds where its note says so)."""
    baselines: dict[str, ModelResult] = Field(default_factory=dict)
    """The honest yardsticks: bias, matrix factorisation."""
    best: ModelResult | None = None
    """The best single trial on valid."""
    best_hybrid_vae: ModelResult | None = None
    """The best hybrid VAE on valid, where ``best`` is of another family."""
    ensemble: EnsembleResult | None = None
    recommender: RecommenderResult | None = None
    lists: ListsResult | None = None
    """Where the recommender's lists come from: the list track of the search."""
    list_check: Metrics | None = None
    """Lists on a small per-user split, which the plan's list targets are judged on, where the run has another
    split; the families' starting points, blended on that split alone."""
    judged_lists: list[JudgedListsResult] = Field(default_factory=list)
    """Every list metric at every length asked for, with its interval over people."""
    comparisons: list[PairedComparison] = Field(default_factory=list)
    intervals: list[MetricInterval] = Field(default_factory=list)
    rating_intervals: RatingIntervalSummary | None = None
    """Prediction intervals of single ratings; ``intervals`` above are those of the metrics."""
    errors: list[ErrorGroup] = Field(default_factory=list)
    samples: list[SampleList] = Field(default_factory=list)
    trials: dict[str, int]
    """State -> how many; the trials themselves are in trials.json."""
    tuning: dict[str, int] = Field(default_factory=dict)
    """Family -> trials spent on it: the tuning budget that each yardstick had."""
    front: list[int] = Field(default_factory=list)
    """Trials that no other beats in both loss and NDCG@10; empty with one objective."""
    ndcg_at_10: dict[int, float] = Field(default_factory=dict)
    """Trial -> NDCG@10 on valid; empty with one objective."""
    warnings: list[EventRecord] = Field(default_factory=list)
    """Warning signs, in time order."""
    contingencies: list[EventRecord] = Field(default_factory=list)
    """What was done about them."""
    milestones: list[EventRecord] = Field(default_factory=list)
    """Start, new bests, budget, failures, end."""
    budget: BudgetSummary
    cluster: dict[str, Any] = Field(default_factory=dict)
    """Where it ran: name, nodes, CPUs, GPUs."""
    targets: list[Target] = Field(default_factory=list)
    """Every target of the owner's plan."""
    refit: dict[str, Any] | None = None
    """Members, slices and epochs of the refit; None without --refit."""
    promotion: dict[str, Any] | None = None
    """The verdict against the champion on gate; None when not compared."""
    forecasts: list[ForecastRecord] = Field(default_factory=list)
    """What was expected of the run before and at its start, beside what came."""
    seconds: dict[str, float] = Field(default_factory=dict)
    """total, data, search, ensemble, report."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Python and the libraries that the figures depend on."""
