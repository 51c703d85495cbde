"""Request schemas of the API: query strings and bodies, with limits, examples and OpenAPI descriptions.

Unknown fields are refused, so that a misspelt one is not silently ignored.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from recsys.types import JsonObject
from serving.domain import ArmSpec, ExperimentKind, FeedbackKind, Owner, Share
from serving.engine.requests import split_ids
from serving.experiment_settings import ExperimentSettings, first_fault

MAX_ITEMS = 100
MAX_EXCLUDED = 1_000
MAX_RATINGS = 1_000
MAX_EVENTS = 1_000
MAX_LISTS = 100

MAX_FILTER = 2_000  # characters
MAX_ID = 4_096  # characters

# No zero byte: PostgreSQL's text cannot hold one, nor can a release.
Id = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID, pattern=r"^[^\x00]+$")]
Genre = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID)]
IdValues = Annotated[
    list[Annotated[str, StringConstraints(max_length=40_000)]], Field(max_length=MAX_EXCLUDED)
]
ArmName = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Count = Annotated[int, Field(ge=1, le=MAX_ITEMS, description="number of items")]
# In a body: neither true nor "5".
BodyCount = Annotated[Count, Field(strict=True)]
Revision = Annotated[
    int, Field(strict=True, ge=0, le=2**31 - 1, description="the revision that this change was made from")
]
Where = Annotated[
    str | None,
    Field(
        max_length=MAX_FILTER,
        min_length=1,
        description="a filter: `year >= 1995 and genre in (Drama, Comedy)`; see docs/guide/serving.md",
        examples=["year >= 1995 and genre in (Drama, Comedy)"],
    ),
]


class RequestModel(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class ListQuery(RequestModel):
    """Query string of a list."""

    count: Count = 10
    genres: list[Annotated[str, StringConstraints(max_length=1_000)]] = Field(
        default=[], max_length=10, description="items with any of these genres; repeated or comma-separated"
    )
    exclude: IdValues = Field(
        default=[], description=f"item ids, repeated or comma-separated, at most {MAX_EXCLUDED}"
    )
    include_seen: bool = Field(False, description="include items that the user has rated")
    explain: bool = Field(False, description="name the rated items that contribute most to each")
    arm: ArmName | None = Field(None, description="request an arm by name; not counted in the experiment")
    where: Where = None

    @model_validator(mode="after")
    def _check_count(self) -> ListQuery:
        count = max(len(self.exclude), *(len(split_ids(value)) for value in self.exclude), 0)
        if count > MAX_EXCLUDED:
            raise ValueError(f"at most {MAX_EXCLUDED} items can be excluded, got {count}")
        return self


class UserListQuery(ListQuery):
    user_id: Id


class CountQuery(RequestModel):
    count: Count = 10
    where: Where = None


class PopularQuery(RequestModel):
    count: Count = 10
    genre: str | None = Field(None, max_length=MAX_ID)
    trending: bool = Field(False, description="with exponential decay of older ratings")
    where: Where = None


class ItemQuery(RequestModel):
    item_id: Id


class SimilarQuery(CountQuery):
    item_id: Id


class PredictionsQuery(RequestModel):
    items: IdValues = Field(description=f"item ids, repeated or comma-separated, at most {MAX_ITEMS}")

    @model_validator(mode="after")
    def _check_count(self) -> PredictionsQuery:
        count = max(len(self.items), *(len(split_ids(value)) for value in self.items), 0)
        if not any(map(split_ids, self.items)) or count > MAX_ITEMS:
            raise ValueError(f"1 to {MAX_ITEMS} item ids are expected, got {count}")
        return self


class UserPredictionsQuery(PredictionsQuery):
    user_id: Id


class SessionRating(RequestModel):
    item_id: Id
    rating: float = Field(description="in stars", strict=True)


class SessionBody(RequestModel):
    """A list for a session: ``ratings`` are added to those known of ``user_id``, if given."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "ratings": [{"item_id": "1", "rating": 5}, {"item_id": "50", "rating": 4.5}],
                    "count": 5,
                    "explain": True,
                }
            ]
        }
    )
    user_id: Id | None = None
    ratings: list[SessionRating] = Field(default_factory=list, max_length=MAX_RATINGS)
    count: BodyCount = 10
    genres: list[Genre] = Field(default_factory=list, max_length=50)
    exclude: list[Id] = Field(default_factory=list, max_length=MAX_EXCLUDED)
    include_seen: bool = False
    explain: bool = False
    arm: ArmName | None = None
    where: Where = None


class BatchBody(RequestModel):
    """Many lists in one call."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"requests": [{"user_id": "1"}, {"user_id": "2", "count": 3}]}]}
    )
    requests: list[SessionBody] = Field(min_length=1, max_length=MAX_LISTS)


class FeedbackEvent(RequestModel):
    """An event of a user. A rating needs ``item_id`` and ``rating``; any other kind except ``impression``
    needs ``item_id``."""

    event_id: Id = Field(description="chosen by the sender; an id is stored once, however often it is sent")
    kind: FeedbackKind
    user_id: Id
    item_id: Id | None = None
    exposure_id: Id | None = Field(None, description="the list that the event responds to")
    rating: float | None = Field(None, description="in stars", strict=True)
    at: float | None = Field(
        None, strict=True, ge=0, le=4_102_444_800, description="Unix seconds; the default is now"
    )

    @model_validator(mode="after")
    def _check_fields(self) -> FeedbackEvent:
        if self.kind != "impression" and self.item_id is None:
            raise ValueError(f"a {self.kind} needs an item_id")
        if (self.kind == "rating") != (self.rating is not None):
            raise ValueError("a rating, and only a rating, has a rating")
        return self


class FeedbackBody(RequestModel):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "events": [
                        {"event_id": "a-1", "kind": "rating", "user_id": "1", "item_id": "50", "rating": 4.0}
                    ]
                }
            ]
        }
    )
    events: list[FeedbackEvent] = Field(min_length=1, max_length=MAX_EVENTS)


class ExperimentChange(RequestModel):
    """A change made from ``revision`` (409 if that is no longer the newest)."""

    revision: Revision
    owner: Owner = "manual"
    take_over: bool = Field(False, description="change it although a roll-out owns the experiment")
    actor: Annotated[str, StringConstraints(min_length=1, max_length=100)] = "admin"
    reason: Annotated[str, StringConstraints(max_length=1_000)] = ""


def _metric_rules(metrics: JsonObject | None) -> JsonObject | None:
    """An experiment's ``metrics`` with defaults filled in. Raises ValueError."""
    if metrics is None:
        return None
    try:
        return ExperimentSettings.model_validate({"metrics": metrics}).rules
    except ValidationError as error:
        raise ValueError(first_fault(error).removeprefix("metrics.")) from None


MetricRules = Annotated[
    dict[str, Any] | None,
    AfterValidator(_metric_rules),
    Field(description="as `metrics` in serve.yaml; null: the deployment's. New rules restart the counts"),
]


class ExperimentBody(ExperimentChange):
    """A complete state: what is not named is removed."""

    arms: list[ArmSpec] = Field(min_length=1, max_length=20)
    kind: ExperimentKind = Field("split", description="interleaved: merge the arms' lists for each user")
    salt: str | None = Field(None, max_length=200, description="a new salt reassigns all users")
    metrics: MetricRules = None
    holdout: Share = 0.0
    overrides: dict[Id, ArmName] = Field(default_factory=dict, max_length=1_000)


class ExperimentPatch(ExperimentChange):
    """A change of shares; arms that are not named and fields that are null stay."""

    shares: dict[ArmName, Share] = Field(default_factory=dict, max_length=20)
    metrics: MetricRules = None
    holdout: Share | None = None
    overrides: dict[Id, ArmName] | None = Field(None, max_length=1_000)
