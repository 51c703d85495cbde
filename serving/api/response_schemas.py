"""Response schemas for OpenAPI. Routes answer with plain dicts; a test validates them by these."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from serving.domain import ArmSpec, ExperimentKind, Owner, SlotRange


class ItemCard(BaseModel):
    """An item as lists show it."""

    id: str
    title: str
    genres: list[str]
    new: bool = Field(False, description="not rated yet: scored by its features")


class RecommendationReason(BaseModel):
    """A rated item that contributes to a recommendation."""

    id: str
    title: str


class ListedItem(ItemCard):
    """An item of a list, with its score and its predicted rating in stars."""

    score: float
    predicted_rating: float
    because: list[RecommendationReason] | None = None


class ListResponse(BaseModel):
    """A list. ``source`` is how it was made; ``fallback`` is the stage that failed, null for a full
    answer."""

    exposure_id: str
    user_id: str
    experiment: str
    arm: str
    assignment: Literal["share", "holdout", "override"]
    revision: int
    model_version: str
    source: Literal["personal", "folded_in", "popular"]
    fallback: str | None
    items: list[ListedItem]
    unknown_items: list[str] | None = None


class BatchResponse(BaseModel):
    """Lists in the order of the requests."""

    answers: list[ListResponse]


class ItemsResponse(BaseModel):
    """Items that are the same for every user."""

    arm: str
    model_version: str
    items: list[ListedItem]


class Prediction(BaseModel):
    """A predicted rating in stars. ``interval`` is the release's 80% prediction interval, null without
    one."""

    id: str
    predicted_rating: float
    interval: list[float] | None = None


class PredictionsResponse(BaseModel):
    """Predicted ratings of a user."""

    user_id: str
    arm: str
    model_version: str
    predictions: list[Prediction]


class Health(BaseModel):
    """``ok``, or what is wrong."""

    status: str


class Readiness(Health):
    """``ready`` or ``not ready``, and the state of the event store."""

    events: Literal["available", "away"]


class ScaleBounds(BaseModel):
    """The smallest and the largest rating."""

    low: float
    high: float


class ServedArm(BaseModel):
    """An arm with the release that it serves."""

    name: str
    share: float
    shadow: bool
    model_version: str
    created: str


class About(BaseModel):
    """The deployment; ``example_users`` are ids to try."""

    experiment: str
    revision: int
    arms: list[ServedArm]
    dataset: str
    users: int
    items: int
    scale: ScaleBounds
    genres: list[str]
    example_users: list[str]


class ExperimentResponse(BaseModel):
    """An experiment's state. ``ranges`` are the arms' ranges of the million hash slots; ``removed`` is what a
    PUT removed; ``note`` says that a request changed nothing."""

    name: str
    kind: ExperimentKind
    revision: int
    salt: str
    arms: list[ArmSpec]
    owner: Owner
    metrics: dict[str, Any] | None
    holdout: float
    overrides: dict[str, str]
    ranges: list[SlotRange]
    removed: dict[str, Any] | None = None
    note: str | None = None


class RevisionChange(BaseModel):
    """A change: shares by arm before and after; ``changed`` has the other fields as [before, after];
    ``metrics`` are those after it, null for the deployment's."""

    at: float
    actor: str
    reason: str
    revision: int | None
    before: dict[str, float] | None
    after: dict[str, float] | None
    changed: dict[str, list[Any]]
    metrics: dict[str, Any] | None


class HistoryResponse(BaseModel):
    """States and changes of an experiment, newest first."""

    revisions: list[ExperimentResponse]
    changes: list[RevisionChange]


class FeedbackResponse(BaseModel):
    """Ids of events stored now, and of ``duplicates`` stored before; both are on disk."""

    stored: list[str]
    duplicates: list[str]


class ErrorDetail(BaseModel):
    """An invalid field."""

    where: str
    message: str


class ErrorBody(BaseModel):
    """A stable code, a message for people, and the invalid fields."""

    code: str
    message: str
    details: list[ErrorDetail] | None = None


class ErrorResponse(BaseModel):
    """The body of every error."""

    error: ErrorBody
    request_id: str
