"""Schemas of the catalogue's routes: item fields, pages of items, and their answers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StringConstraints,
    model_validator,
)

from serving.api.schemas import Count, Id, RequestModel, Revision, Where
from serving.engine.item_view import OWN_NAMES

MAX_CHANGES = 1_000  # items of one body
MAX_YEARS = (0.0, 4_102_444_800.0)  # 1970 to 2100, in Unix seconds
Text = Annotated[str, StringConstraints(max_length=1_000, pattern=r"^[^\x00]*$")]
Number = Annotated[StrictInt | StrictFloat, Field(ge=-1e15, le=1e15, allow_inf_nan=False)]
Vector = Annotated[list[Number], Field(max_length=2_048)]
Feature = StrictBool | Number | Text | Annotated[list[Text], Field(max_length=100)] | Vector | None
FeatureName = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f]+$")]
Actor = Annotated[str, StringConstraints(min_length=1, max_length=100)]
Reason = Annotated[str, StringConstraints(max_length=1_000)]


def _with_zone(moment: datetime) -> datetime:
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if not MAX_YEARS[0] <= moment.timestamp() <= MAX_YEARS[1]:
        raise ValueError("a time lies between 1970 and 2100")
    return moment


Moment = Annotated[datetime, AfterValidator(_with_zone)]


class ItemFields(RequestModel):
    """Fields of an item. A feature is a number, a text, a boolean, a list of texts or a vector of numbers;
    null removes it. Times are ISO 8601, UTC without a zone."""

    title: Text | None = None
    genres: list[Annotated[Text, Field(min_length=1)]] | None = Field(None, max_length=50)
    features: dict[FeatureName, Feature] = Field(default_factory=dict, max_length=200)
    available_from: Moment | None = None
    available_to: Moment | None = None
    hidden: bool = False

    @model_validator(mode="after")
    def _check_names(self) -> ItemFields:
        reserved = sorted(self.features.keys() & (set(OWN_NAMES) - {"year"}))
        if reserved:
            raise ValueError(f"features cannot be named {', '.join(reserved)}")
        return self

    def changed_fields(self) -> dict[str, Any]:
        """The fields that the request named, as ``CatalogueItem`` has them."""
        fields = {
            name: getattr(self, name) for name in self.model_fields_set & ItemFields.model_fields.keys()
        }
        if fields.get("genres") is not None:
            fields["genres"] = tuple(dict.fromkeys(fields["genres"]))
        for name in ("available_from", "available_to"):
            if fields.get(name) is not None:
                fields[name] = fields[name].timestamp()
        if "features" in fields:
            fields["features"] = {
                name: tuple(value) if isinstance(value, list) else value
                for name, value in fields["features"].items()
            }
        return fields


class ItemPageQuery(RequestModel):
    """A page of items in the order of ids; with ``title`` most rated first."""

    title: Annotated[str, StringConstraints(min_length=1, max_length=100)] | None = Field(
        None, description="a text that the title contains"
    )
    where: Where = None
    count: Count = 10
    cursor: Id | None = Field(None, description="`next` of the previous page")
    unavailable: bool = Field(False, description="include items outside of their availability")


class ItemChangeQuery(RequestModel):
    """Actor and reason of a change."""

    actor: Actor = "admin"
    reason: Reason = ""


class ItemBody(ItemFields):
    """A change made from ``revision`` (409 if that is no longer the newest); null: from any."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "title": "A New Film (2026)",
                    "genres": ["Drama"],
                    "features": {"price": 3.5, "language": "en"},
                    "available_from": "2026-12-01T00:00:00Z",
                    "reason": "licensed",
                }
            ]
        }
    )
    revision: Revision | None = None
    actor: Actor = "admin"
    reason: Reason = ""


class BulkItem(ItemFields):
    """The fields of one item."""

    id: Id


class BulkItemsBody(ItemChangeQuery):
    """Many items in one change, all or none; fields that a row does not name stay."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"items": [{"id": "1", "features": {"price": 2}}, {"id": "2", "hidden": True}]}]
        }
    )
    items: list[BulkItem] = Field(min_length=1, max_length=MAX_CHANGES)

    @model_validator(mode="after")
    def _check_unique(self) -> BulkItemsBody:
        ids = [item.id for item in self.items]
        if len(set(ids)) < len(ids):
            repeated = next(item_id for item_id in ids if ids.count(item_id) > 1)
            raise ValueError(f"item {repeated!r} is there more than once")
        return self


# -- answers ---------------------------------------------------------------------------------------


class ItemDetails(BaseModel):
    """An item. ``listed``: whether lists may contain it now, and ``reason`` why not; ``new``: without
    ratings; ``notes``: fields of an added item that the release does not use; ``revision`` counts run-time
    changes."""

    id: str
    title: str
    genres: list[str]
    year: float | str | bool | list[str] | None
    features: dict[str, float | str | bool | list[str] | list[float]]
    new: bool
    listed: bool
    reason: str | None
    notes: list[str]
    available: bool
    available_from: str | None
    available_to: str | None
    revision: int


class ItemPage(BaseModel):
    """A page. ``next`` is the cursor of the next page, null on the last; ``total`` counts items of all
    pages."""

    items: list[ItemDetails]
    next: str | None
    total: int


class ChangedItem(ItemDetails):
    """An item after a change."""

    hidden: bool


class BulkResponse(BaseModel):
    """The number of items, and the revision of each by id."""

    items: int
    revisions: dict[str, int]


class ItemRevision(BaseModel):
    """A change: the fields set before and after."""

    revision: int
    at: float
    actor: str
    reason: str
    before: dict[str, Any] | None
    after: dict[str, Any]


class ItemHistory(BaseModel):
    """Changes of an item, newest first."""

    id: str
    changes: list[ItemRevision]
