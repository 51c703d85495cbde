"""What goes out over HTTP, described for OpenAPI: answers are plain dicts, and a test holds them to these."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from serving.domain import ArmSpec, ExperimentKind, Owner, SlotRange


class ItemCard(BaseModel):
    id: str
    title: str
    genres: list[str]
    new: bool = Field(False, description="nobody has rated it: it is scored from its features")


class RecommendationReason(BaseModel):
    id: str
    title: str


class ListedItem(ItemCard):
    score: float
    predicted_rating: float
    because: list[RecommendationReason] | None = None


class ListResponse(BaseModel):
    """``source`` says how the list came about, ``fallback`` why it is not what it should have been."""

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
    answers: list[ListResponse]


class ItemsResponse(BaseModel):
    arm: str
    model_version: str
    items: list[ListedItem]


class Prediction(BaseModel):
    """``interval`` holds the rating with the release's confidence (80%); null where it carries none."""

    id: str
    predicted_rating: float
    interval: list[float] | None = None


class PredictionsResponse(BaseModel):
    user_id: str
    arm: str
    model_version: str
    predictions: list[Prediction]


class Health(BaseModel):
    status: str


class Readiness(Health):
    events: Literal["available", "away"]


class ScaleBounds(BaseModel):
    low: float
    high: float


class ServedArm(BaseModel):
    name: str
    share: float
    shadow: bool
    model_version: str
    created: str


class About(BaseModel):
    """``example_users`` are ids to try."""

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
    """``ranges`` are slots of a million that users are hashed to; ``removed`` is what a PUT took out;
    ``note`` says where a change changed nothing."""

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
    """Shares by arm before and after; ``changed`` is what else did, field to [before, after]; ``metrics`` as
    they then were, null for the deployment's."""

    at: float
    actor: str
    reason: str
    revision: int | None
    before: dict[str, float] | None
    after: dict[str, float] | None
    changed: dict[str, list[Any]]
    metrics: dict[str, Any] | None


class HistoryResponse(BaseModel):
    revisions: list[ExperimentResponse]
    changes: list[RevisionChange]


class FeedbackResponse(BaseModel):
    """``duplicates`` had been stored before; both are safe on disk."""

    stored: list[str]
    duplicates: list[str]


class ErrorDetail(BaseModel):
    where: str
    message: str


class ErrorBody(BaseModel):
    code: str
    message: str
    details: list[ErrorDetail] | None = None


class ErrorResponse(BaseModel):
    """Every answer that is not 200 has this shape."""

    error: ErrorBody
    request_id: str
