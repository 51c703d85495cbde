"""results.json, field by field: what a run was, what it came to, and a verdict for every target.

``loss`` is MSE + 0.01 · KL with that fixed weight, ``rmse`` is in stars; the two always stand side by
side. None means "not measured", never zero. ``python -m search.results`` prints this as a JSON schema.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

SCHEMA_VERSION = 1

Verdict = Literal["met", "missed", "not measured"]


class Document(BaseModel):
    """A part of results.json: no field more, none unexplained."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class Figures(Document):
    """What one model does on one slice."""

    loss: float | None = None
    """MSE + 0.01 · KL; the plan's targets are judged on it."""
    rmse: float | None = None
    """Root mean squared error, stars."""
    mae: float | None = None
    """Mean absolute error, stars."""
    kl: float | None = None
    """KL divergence, nats, mean over latent dimensions; 0 for a model without a latent."""
    ratings: int | None = None
    """Ratings that the error figures are over."""
    precision_at_10: float | None = None
    """Share of the top 10 of the whole catalogue, seen items removed, that the user rated in the slice."""
    recall_at_10: float | None = None
    """Share of the user's items in the slice that the top 10 holds."""
    ndcg_at_10: float | None = None
    """Normalised discounted cumulative gain of the top 10."""
    map_at_10: float | None = None
    """Mean average precision of the top 10."""
    coverage: float | None = None
    """Share of the catalogue that any user's top 10 holds."""
    diversity: float | None = None
    """Mean distance between the items of one list, 0 to 1."""
    novelty: float | None = None
    """Mean self-information of the recommended items, bits."""


class ModelResult(Document):
    """A model, and its figures as far as it has them."""

    name: str
    """What the report calls it."""
    family: str = ""
    """Its family in the registry; "" for a blend."""
    trial: int | None = None
    """The trial that made it; None when it is not a trial's."""
    parameters: int | None = None
    """Trainable numbers, every table counted."""
    config: dict[str, Any] = {}
    """The family's fields, as trained."""
    epochs: int | None = None
    """Epochs trained until its best."""
    note: str = ""
    """What a reader must know, e.g. "optimised, scaled"."""
    valid: Figures | None = None
    """On the slice that search, early stopping and blending see."""
    test: Figures | None = None
    """On the slice that is looked at once."""


class Member(Document):
    """A model in the ensemble."""

    trial: int | None
    """The trial that made it."""
    name: str
    """The trial's name."""
    family: str
    """Its family in the registry."""
    weight: float
    """What its predictions are multiplied with; the weights need not sum to 1."""


class EnsembleResult(ModelResult):
    """The blend of the best trials."""

    members: list[Member] = []
    """Heaviest first."""
    method: str = ""
    """How the weights were found: mean, greedy selection or non-negative least squares."""


class RecommenderResult(ModelResult):
    """What HTTP will serve: the ranker blended with the predicted rating."""

    ranker: str = ""
    """The ranking family."""
    weights: dict[str, float] = {}
    """The blend of ranking score and predicted rating."""
    candidates: int | None = None
    """Items retrieved before scoring."""


class QualityFacts(Document):
    """The data quality report at load; rows of the first four kinds were left out."""

    rows: int = 0
    """Rows read."""
    unparsable: int = 0
    """Rows that do not parse."""
    outside_scale: int = 0
    """Ratings outside the scale."""
    duplicate_pairs: int = 0
    """Rows that repeat a user and item."""
    impossible_times: int = 0
    """Timestamps that cannot be."""
    users_with_few: int = 0
    """Users with so few ratings that little can be learned of them (kept)."""
    items_with_few: int = 0
    """Items with few ratings (kept)."""
    examples: list[str] = []
    """A few of the rows left out, with their place."""


class DatasetFacts(Document):
    """The ratings that the run used."""

    name: str
    """An official release's name, or the user's file."""
    ratings: int
    """Ratings after bad rows are left out."""
    users: int
    """Users with an id."""
    items: int
    """Items with an id."""
    sha256: str
    """Of the rating columns and ids."""
    licence: str = ""
    """What its makers ask."""
    scale: tuple[float, float] = (0.5, 5.0)
    """Lowest and highest rating, stars."""
    quality: QualityFacts = QualityFacts()
    """What was found wrong at load."""


class SplitFacts(Document):
    """How the ratings were cut."""

    protocol: str
    """The split's name, e.g. "random"."""
    seed: int
    """Its seed."""
    fingerprint: str
    """sha256 of protocol, seed and rows."""
    train: int
    """Ratings to learn from."""
    valid: int
    """Ratings for search, early stopping and blending."""
    gate: int
    """Ratings for promotion only."""
    test: int
    """Ratings for the one look."""
    future: int
    """The newest ratings, kept for replay."""


class Comparison(Document):
    """Two models on the same ratings: paired bootstrap over users."""

    a: str
    """The model that should be better."""
    b: str
    """The one it is compared with."""
    slice: str
    """The slice, e.g. "test"."""
    metric: Literal["loss", "rmse"]
    """What is compared."""
    difference: float
    """Metric of a minus metric of b: below 0, a is better."""
    low: float
    """Lower end of the 95% interval."""
    high: float
    """Upper end."""
    better: bool
    """The whole interval is below 0."""


class Interval(Document):
    """A model's figure with its 95% interval (bootstrap over users)."""

    model: str
    """The model's key, e.g. "formula"."""
    slice: str
    """The slice."""
    metric: Literal["loss", "rmse"]
    """What is measured."""
    value: float
    """The figure itself."""
    low: float
    """Lower end."""
    high: float
    """Upper end."""


class ErrorGroup(Document):
    """Error in one group of ratings, e.g. those of 4 stars, or of users with few ratings."""

    by: Literal["rating", "activity", "popularity"]
    """What groups: the rating's value, the user's ratings in train, the item's ratings in train."""
    group: str
    """The group's label."""
    order: int
    """Its place on the axis."""
    ratings: int
    """Ratings in it."""
    rmse: dict[str, float]
    """Model key -> rmse, stars."""
    bias: dict[str, float]
    """Model key -> mean of predicted minus given, stars."""


class Event(Document):
    """A warning sign, a contingency or a milestone."""

    kind: str
    """An EventKind's value."""
    at: float
    """Unix seconds."""
    trial: int | None = None
    """Which trial; None for the whole run."""
    epoch: int | None = None
    """Which epoch."""
    value: float | None = None
    """What was seen."""
    threshold: float | None = None
    """What it was held against."""
    message: str = ""
    """In words."""
    action: str = ""
    """What was done about it."""
    outcome: str = ""
    """What came of that."""


class Budget(Document):
    """Money and time, and what they bought."""

    usd: float = 0.0
    """Spent."""
    cap_usd: float | None = None
    """The most that may be spent; None without a cap."""
    hours: float = 0.0
    """Wall-clock hours."""
    cap_hours: float | None = None
    """The most hours; None without a cap."""
    price_per_hour_usd: float = 0.0
    """All nodes together; 0 locally unless --price is given."""
    usd_per_trial: float | None = None
    """Spent by trials started."""
    usd_per_improvement: float | None = None
    """Spent by 0.01 of rmse won over the formula on valid; None where nothing was won or paid."""
    seconds_per_trial: float | None = None
    """Median training seconds of a trial."""
    nodes: int = 1
    """Machines that the price is for."""
    computed: str = ""
    """How the most that it could cost was computed."""


class Target(Document):
    """A target of the owner's plan."""

    name: str
    """What the plan asks for."""
    protocol: str
    """The data and split that it is judged on."""
    target: str
    """The bound, in words: "loss < 0.55"."""
    value: float | None
    """The figure under the protocol; None when not measured."""
    verdict: Verdict
    """Met, missed or not measured."""
    here: float | None = None
    """The same figure on this run's own data: for orientation, no verdict."""
    command: str = ""
    """What would measure it; "" when it is measured."""


class SampleItem(Document):
    """One title of a sample list."""

    title: str
    """As in the catalogue, or the item's id."""
    stars: float | None = None
    """Given (rated) or predicted (recommended); None where not said."""


class Sample(Document):
    """What one user rated highest, and what would be recommended."""

    user: str
    """The user's id."""
    rated: list[SampleItem]
    """Their highest ratings."""
    recommended: list[SampleItem]
    """The list, best first."""


class Results(Document):
    """A run, whole."""

    schema_version: Literal[1] = 1
    """Grows when a field changes its meaning or goes."""
    name: str
    """The run's name: its folder."""
    command: list[str]
    """The command line."""
    seed: int
    """The run's root seed."""
    started: float
    """Unix seconds."""
    status: str = "finished"
    """"finished", "budget" (a cap ended it) or "interrupted"."""
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
    baselines: dict[str, ModelResult] = {}
    """The honest yardsticks: bias, matrix factorisation."""
    best: ModelResult | None = None
    """The best single trial on valid."""
    ensemble: EnsembleResult | None = None
    recommender: RecommenderResult | None = None
    comparisons: list[Comparison] = []
    intervals: list[Interval] = []
    errors: list[ErrorGroup] = []
    samples: list[Sample] = []
    trials: dict[str, int]
    """State -> how many; the trials themselves are in trials.json."""
    tuning: dict[str, int] = {}
    """Family -> trials spent on it: the tuning budget that each yardstick had."""
    front: list[int] = []
    """Trials that no other beats in both loss and NDCG@10; empty with one objective."""
    warnings: list[Event] = []
    """Warning signs, in time order."""
    contingencies: list[Event] = []
    """What was done about them."""
    milestones: list[Event] = []
    """Start, new bests, budget, failures, end."""
    budget: Budget
    cluster: dict[str, Any] = {}
    """Where it ran: name, nodes, CPUs, GPUs."""
    targets: list[Target] = []
    """Every target of the owner's plan."""
    refit: dict[str, Any] | None = None
    """Members, slices and epochs of the refit; None without --refit."""
    promotion: dict[str, Any] | None = None
    """The verdict against the champion on gate; None when not compared."""
    seconds: dict[str, float] = {}
    """total, data, search, ensemble, report."""
    versions: dict[str, str] = {}
    """Python and the libraries that the figures depend on."""
