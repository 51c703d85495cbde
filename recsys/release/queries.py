"""Questions to a recommender and its answers: the same values in evaluation and over HTTP."""

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
    """One list wanted. ``user`` is a row of the release, or None for somebody it does not know.

    ``history`` are ratings given after the release was made (or all there are, for an unknown user):
    they count as seen and are folded in. ``exclude`` (n,) item rows and ``allowed`` (items,) mask
    narrow the catalogue; ``include_seen`` lets seen items back in.
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
    """What a deployment does to every list. ``hidden`` (n,) item rows never shown; ``boosts`` adds to
    an item's score; ``diversity`` 0 (off) to 1 is the MMR dial over genres and item vectors."""

    hidden: NDArray[np.int32] | None = None
    boosts: dict[int, float] = field(default_factory=dict)
    diversity: float = 0.0


NO_RULES = Rules()


@dataclass(frozen=True)
class Recommendation:
    """``item`` is the release's row; ``score`` is the blend that orders the list; stars are predicted.
    ``because`` names item rows of the user's history that speak most for it (``explain`` only)."""

    item: int
    score: float
    predicted_rating: float
    because: tuple[int, ...] = ()


@dataclass(frozen=True)
class RecommendationList:
    """One list, best first, and its source. ``milliseconds`` by stage (fold_in, retrieve, score, blend).

    ``fallback`` says why the list is not the one that this user should have had ("" where it is):
    "personal: ...", "folded_in: ..." name the stage that failed or came too late."""

    recommendations: tuple[Recommendation, ...]
    source: RecommendationSource
    milliseconds: dict[str, float] = field(default_factory=dict)
    fallback: str = ""
