"""A list asked for and a list given: from the outside world's ids to rows of a release, and back."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

from recsys.models.base import History
from recsys.release.queries import Query, RecommendationList
from recsys.types import JsonObject
from serving.assignment import Assignment
from serving.domain import Exposure
from serving.engine.list_memo import CachedList
from serving.engine.merged_lists import MergedList
from serving.engine.recent_ratings import RecentRatings
from serving.engine.release_loader import Deployment
from serving.engine.served_release import ServedRelease


@dataclass(frozen=True)
class RecommendationRequest:
    """One list asked for, in the outside world's ids. ``ratings`` are a session's, on top of what is
    known of the user; ``arm`` asks for one by name. ``split`` reads ``genres`` and ``exclude`` as a query
    string's values: one that is no name itself is a comma-separated list; ``where`` is a filter of
    ``serving.catalogue.filter_grammar``."""

    user_id: str | None = None
    ratings: dict[str, float] = field(default_factory=dict)
    count: int = 10
    genres: Sequence[str] = ()
    exclude: Sequence[str] = ()
    include_seen: bool = False
    explain: bool = False
    arm: str | None = None
    split: bool = False
    where: str | None = None

    @property
    def plain_user_id(self) -> str | None:
        """The user where nothing but the user and the length makes the list, else None."""
        narrowed = any(getattr(self, name) for name in NARROWING)
        return None if narrowed else self.user_id


NARROWING = tuple(
    entry.name
    for entry in fields(RecommendationRequest)
    if entry.name not in ("user_id", "count", "arm", "split")
)


@dataclass(frozen=True)
class Recommended:
    """A list, who gave it, and where the milliseconds went; ``cached`` where its JSON is there already."""

    exposure: Exposure
    experiment: str
    assignment: Assignment
    answer: RecommendationList
    loaded: ServedRelease
    milliseconds: dict[str, float]
    cached: CachedList | None = None
    merged: MergedList | None = None

    def listed(self, *, explain: bool = False) -> list[JsonObject]:
        """The items as they stand in an answer, with the rated items that speak for each if ``explain``."""
        if self.merged is not None:
            return self.merged.listed(explain=explain)
        return self.loaded.listed(self.answer.recommendations, explain=explain)


@dataclass(frozen=True)
class PredictedRatings:
    """Ratings that an arm's release predicts for a user, in stars, of ``item_ids`` in order.

    ``intervals`` are their lower and upper ends, None where the release carries none for an item."""

    arm: str
    release_id: str
    item_ids: list[str]
    stars: list[float]
    intervals: list[tuple[float, float] | None]


def to_query(loaded: ServedRelease, request: RecommendationRequest, recent_ratings: RecentRatings) -> Query:
    """In rows of the release. Raises InputError for an unknown genre or a filter that does not parse."""
    allowed = None
    exclude = excluded_ids(loaded, request)
    if request.genres:
        genres = loaded.genre_names(request.genres) if request.split else request.genres
        allowed = loaded.of_genres(genres)
    if request.where:
        fitting = loaded.where(request.where)
        allowed = fitting if allowed is None else allowed & fitting
    return Query(
        user=None if request.user_id is None else loaded.rows.user(request.user_id),
        history=_history(loaded, request, recent_ratings),
        count=request.count,
        exclude=loaded.rows.items(exclude) if exclude else None,
        allowed=allowed,
        include_seen=request.include_seen,
        explain=request.explain,
    )


def fitting_unreleased(
    loaded: ServedRelease, request: RecommendationRequest, recent_ratings: RecentRatings
) -> NDArray[np.int64]:
    """(n,) rows of ``loaded.unreleased`` that the request's filters leave and the person has not rated."""
    rows = loaded.unreleased.rows
    if not len(rows):
        return rows
    keep = np.ones(len(rows), dtype=np.bool_)
    if request.genres:
        genres = loaded.genre_names(request.genres) if request.split else request.genres
        keep &= loaded.view.with_genres(genres)[rows]
    if request.where:
        keep &= loaded.view.where(request.where)[rows]
    excluded = {loaded.view.row(item_id) for item_id in excluded_ids(loaded, request)}
    if not request.include_seen:
        rated = request.ratings.keys() | (
            set() if request.user_id is None else recent_ratings.of(request.user_id).keys()
        )
        excluded |= {loaded.view.row(item_id) for item_id in rated}
    keep &= ~np.isin(rows, [row for row in excluded if row is not None])
    return np.flatnonzero(keep)


def split_ids(text: str) -> list[str]:
    """A comma-separated list, empty parts left out."""
    return [part for piece in text.split(",") if (part := piece.strip())]


def excluded_ids(loaded: ServedRelease, request: RecommendationRequest) -> Sequence[str]:
    """The item ids that a request leaves out."""
    return item_ids(loaded, request.exclude) if request.split else request.exclude


def item_ids(loaded: ServedRelease, values: Sequence[str]) -> list[str]:
    """Item ids in a query string's values: one that is an id is that id, others are comma-separated."""
    return [
        name
        for value in values
        for name in ([value] if loaded.view.row(value) is not None else split_ids(value))
    ]


def _history(
    loaded: ServedRelease, request: RecommendationRequest, recent_ratings: RecentRatings
) -> History | None:
    recent = recent_ratings.of(request.user_id) if request.user_id is not None else {}
    if request.ratings:
        return loaded.rows.session({**recent, **request.ratings})
    return loaded.rows.history(request.user_id, recent) if recent and request.user_id is not None else None


def to_exposure(
    exposure_id: str,
    user_id: str,
    deployment: Deployment,
    assignment: Assignment,
    loaded: ServedRelease,
    answer: RecommendationList,
    milliseconds: float,
    cached: CachedList | None = None,
    *,
    propensities: tuple[float, ...] | None = None,
) -> Exposure:
    """Testers and the holdout are stored under a name of their own: they do not count.

    ``propensities`` (n,) of an explored list; None is a deterministic one.
    """
    name = deployment.state.name
    return Exposure(
        exposure_id=exposure_id,
        at=time.time(),
        user_id=user_id,
        experiment=name if assignment.reason == "share" else f"{name}:{assignment.reason}",
        arm=assignment.arm,
        revision=deployment.state.revision,
        release_id=loaded.release_id,
        items=tuple([loaded.card(item.item)["id"] for item in answer.recommendations])
        if cached is None
        else cached.item_ids,
        predicted=tuple([item.predicted_rating for item in answer.recommendations])
        if cached is None
        else cached.stars,
        source=answer.source,
        milliseconds=milliseconds,
        propensities=(1.0,) * len(answer.recommendations) if propensities is None else propensities,
    )
