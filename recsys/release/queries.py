"""Queries to a recommender and its lists, the same in evaluation and over HTTP."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from recsys.models.base import History
from recsys.types import BoolArray

RecommendationSource = Literal["personal", "folded_in", "popular"]


@dataclass(frozen=True)
class Query:
    """A request for one list.

    Attributes:
        user: Row of the release; None for a user that it does not know.
        history: Ratings given after the release was made (all of them, for an unknown user); they count as
            seen and are folded in.
        count: Length of the list.
        exclude: (n,) item rows that must not be in it.
        allowed: (items,) mask that narrows the catalogue.
        include_seen: Whether seen items may be listed.
        explain: Whether to fill ``Recommendation.because``.
    """

    user: int | None
    history: History | None = None
    count: int = 10
    exclude: NDArray[np.int32] | None = None
    allowed: BoolArray | None = None
    include_seen: bool = False
    explain: bool = False


@dataclass(frozen=True)
class Rules:
    """What a deployment applies to every list.

    Attributes:
        hidden: (n,) item rows that are never listed.
        boosts: Added to an item's score, by row.
        diversity: The MMR dial over genres and item vectors, 0 (off) to 1.
    """

    hidden: NDArray[np.int32] | None = None
    boosts: dict[int, float] = field(default_factory=dict)
    diversity: float = 0.0


NO_RULES = Rules()


@dataclass(frozen=True)
class Recommendation:
    """A listed item.

    Attributes:
        item: Row of the release.
        score: The blend that orders the list.
        predicted_rating: Stars.
        because: Item rows of the user's history that contribute most (with ``explain`` only).
    """

    item: int
    score: float
    predicted_rating: float
    because: tuple[int, ...] = ()


@dataclass(frozen=True)
class RecommendationList:
    """A list, best first.

    Attributes:
        recommendations: The items.
        source: Of the list.
        milliseconds: By stage (retrieve, fold_in, score, blend).
        fallback: Why it is not the intended list, as "personal: ..." or "folded_in: ..." with the stage that
            failed or was late; "" where it is.
    """

    recommendations: tuple[Recommendation, ...]
    source: RecommendationSource
    milliseconds: dict[str, float] = field(default_factory=dict)
    fallback: str = ""
