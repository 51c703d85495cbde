"""The parts of results.json that state: data, split, events, budget, targets, samples."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from recsys.types import JsonObject
from search.results.document import Document

RunStatus = Literal["finished", "budget", "interrupted", "target", "plateau"]
Verdict = Literal["met", "missed", "not measured"]


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
    examples: list[str] = Field(default_factory=list)
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
    lineage: JsonObject | None = None
    """Served ratings that were merged in: base, event watermark, counts; null without."""
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
    """Ratings for the one evaluation on test."""
    future: int
    """The newest ratings, kept for replay."""
    fold_in: int = 0
    """Ratings that people whom nothing was fitted on are folded in from: ``strong:USERS``."""


class EventRecord(Document):
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


class BudgetSummary(Document):
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
    """Median training seconds of a rating trial."""
    nodes: int = 1
    """Machines that the price is for."""
    computed: str = ""
    """How the most that it could cost was computed."""


class ForecastRecord(Document):
    """A forecast of the run and its error: forecast over what came, less one."""

    made: str
    """When and from what: the model of a card before the start, or the first epochs."""
    trials: float
    """Trials that would end."""
    hours: float
    """Wall-clock hours to the end, the cap included."""
    needed_hours: float
    """Hours that all planned trials would need, whatever the cap."""
    usd: float
    """Dollars to the end."""
    trials_error: float | None = None
    """Relative error; None where nothing ended."""
    hours_error: float | None = None
    """Relative error of the hours."""


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
    """The rating (rated) or the prediction (recommended); None where there is none."""


class SampleList(Document):
    """What one user rated highest, and what would be recommended."""

    user: str
    """The user's id."""
    rated: list[SampleItem]
    """Their highest ratings."""
    recommended: list[SampleItem]
    """The list, best first."""
