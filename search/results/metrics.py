"""The parts of results.json that measure: models, their figures, comparisons, error in groups."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from recsys.metrics.significance import ConfidenceInterval
from search.results.document import Document


class Metrics(Document):
    """What one model does on one slice."""

    loss: float | None = None
    """MSE of the slice's ratings + 0.01 · ``kl``; the plan's targets are judged on it."""
    rmse: float | None = None
    """Root mean squared error, stars."""
    mae: float | None = None
    """Mean absolute error, stars."""
    kl: float | None = None
    """KL divergence, nats, mean over latent dimensions and the slice's pairs; 0 for a model without a latent.
    On test it is the packed member's own; valid's at the best epoch where the latent's prior is one of
    features, which is not packed, and for members packed by older versions."""
    ratings: int | None = None
    """Ratings that the error figures are over."""
    list_users: int | None = None
    """People whose lists the figures below average over; a sample of many (see the note)."""
    precision_at_10: float | None = None
    """Share of the top 10 of the whole catalogue, seen items removed, that the user rated in the slice."""
    recall_at_10: float | None = None
    """Share of the user's items in the slice that the top 10 holds."""
    ndcg_at_10: float | None = None
    """Normalised discounted cumulative gain of the top 10."""
    map_at_10: float | None = None
    """Mean average precision of the top 10."""
    mrr_at_10: float | None = None
    """Mean reciprocal rank of the first hit in the top 10."""
    hit_rate_at_10: float | None = None
    """Share of users with a hit in the top 10."""
    popular_share: float | None = None
    """Share of the listed places that the most popular tenth of the items takes."""
    popular_share_of_ratings: float | None = None
    """Share of the known ratings that the same items have: what ``popular_share`` is to be held against."""
    coverage: float | None = None
    """Share of the catalogue that any user's top 10 holds."""
    diversity: float | None = None
    """Mean distance between the items of one list, 0 to 1."""
    novelty: float | None = None
    """Mean self-information of the recommended items, bits."""

    @classmethod
    def of(cls, figures: Mapping[str, float]) -> Metrics:
        """Of named figures; those without a field here, and those that are not finite, are left out."""
        return cls.model_validate(
            {
                name: float(value)
                for name, value in figures.items()
                if name in cls.model_fields and math.isfinite(value)
            }
        )


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
    config: dict[str, Any] = Field(default_factory=dict)
    """The family's fields, as trained."""
    epochs: int | None = None
    """Epochs trained until its best."""
    note: str = ""
    """What a reader must know, e.g. "optimised, scaled"."""
    valid: Metrics | None = None
    """On the slice that search, early stopping and blending see."""
    test: Metrics | None = None
    """On test, which is evaluated once."""


def metrics_on(model: ModelResult | None, slice_name: Literal["valid", "test"]) -> Metrics:
    """A model's metrics on a slice; all None where there is no model or it was not measured."""
    figures = None if model is None else (model.valid if slice_name == "valid" else model.test)
    return figures or Metrics()


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

    members: list[Member] = Field(default_factory=list)
    """Heaviest first."""
    method: str = ""
    """How the weights were found: mean, greedy selection or non-negative least squares."""


class RecommenderResult(ModelResult):
    """What HTTP will serve: the ranker blended with the predicted rating."""

    ranker: str = ""
    """The ranking family."""
    weights: dict[str, float] = Field(default_factory=dict)
    """The blend of ranking score and predicted rating."""
    candidates: int | None = None
    """Items retrieved before scoring."""


class ListMemberResult(Document):
    """One config in the blend of lists."""

    trial: int | None
    """Its trial; None where the families' starting points were blended."""
    family: str
    """A list family."""
    config: dict[str, Any]
    """Its settings."""
    weight: float
    """On its raw scores."""
    ndcg_at_10: float | None = None
    """Alone, on people that it was not fitted on."""


class ListsResult(Document):
    """The list track: its trials, and the blend that ranks the lists."""

    family: str
    """The members' families, joined by +."""
    selected_by: str = ""
    """What the trials were judged by; "" where nothing was."""
    people: int = 0
    """People that the blend was chosen on, by ratings that no member was fitted on."""
    ndcg_at_10: float | None = None
    """Of the blend on those people."""
    members: list[ListMemberResult] = Field(default_factory=list)
    newcomers: float = 0.0
    """Ratings that popularity is worth beside the members."""
    trials: dict[int, float] = Field(default_factory=dict)
    """List trial -> NDCG@10 on the held-out items of all people."""
    reason: str = ""
    """Why nothing was searched; "" where it was."""


class PairedComparison(Document):
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


class MetricInterval(Document):
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


class ListFigure(Document):
    """A figure of lists with its 95% interval over people."""

    metric: str
    """precision, recall, ndcg, map, mrr, hit_rate; of the top 10 coverage, novelty (bits), diversity,
    popular_share (of places, taken by the most popular tenth of the items), popular_share_of_ratings
    (theirs)."""
    at: int | None = None
    """The lists' length."""
    value: float
    """The figure itself."""
    low: float | None = None
    """Lower end; None for a fact of the data, or one person."""
    high: float | None = None
    """Upper end."""


class JudgedListsResult(Document):
    """Lists on test: of the recommender, and of the small check on the protocol of the plan's targets."""

    model: str
    """"recommender" or "list_check"."""
    protocol: str
    """The split."""
    people: int
    """With something to find."""
    folded_in: int
    """Of them, whom nothing was fitted on: ``strong:USERS``."""
    figures: list[ListFigure]

    @classmethod
    def of(
        cls,
        model: str,
        protocol: str,
        figures: Mapping[str, ConfidenceInterval],
        *,
        people: int,
        folded_in: int,
    ) -> JudgedListsResult:
        """Of figures by name: "ndcg_at_10", "coverage"."""
        rows = []
        for name, figure in figures.items():
            metric, _, at = name.partition("_at_")
            ends = {end: value for end in ("low", "high") if math.isfinite(value := getattr(figure, end))}
            rows.append(ListFigure(metric=metric, at=int(at) if at else None, value=figure.value, **ends))
        return cls(model=model, protocol=protocol, people=people, folded_in=folded_in, figures=rows)

    def metrics(self) -> Metrics:
        """The values alone, as far as ``Metrics`` has them."""
        return Metrics.of(
            {row.metric if row.at is None else f"{row.metric}_at_{row.at}": row.value for row in self.figures}
        )


class IntervalBand(Document):
    """Prediction intervals of users with about as many known ratings, judged on test."""

    least_ratings: int
    """Known ratings from which a user is in this band."""
    ratings: int
    """Test ratings in the band."""
    coverage: float
    """The share of them inside their interval."""
    width: float
    """Mean width, stars."""


class RatingIntervalSummary(Document):
    """The ensemble's prediction intervals: made on valid, judged on test."""

    level: float
    """The share that should lie inside."""
    coverage: float
    """The share of all test ratings that does."""
    bands: list[IntervalBand]


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
    """Model key -> mean of predicted less true rating, stars."""
