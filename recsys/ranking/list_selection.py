"""Result of a list search: members and weights of a blend, to be fitted to any ratings."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from recsys.data.ratings import Ratings
from recsys.ranking.list_data import ListData, with_positives
from recsys.ranking.list_families import LIST_FAMILIES
from recsys.ranking.ranker import Ranker
from recsys.ranking.ranker_sum import sum_rankers, with_prior
from recsys.ranking.rating_matrix import popularity
from recsys.seeds import derive_seed
from recsys.types import FloatArray, JsonObject


@dataclass(frozen=True)
class ListMember:
    """A config of a family, and the weight of its raw scores in the blend."""

    family: str
    config: Any
    weight: float

    def fit(self, data: ListData, *, seed: int) -> Ranker:
        """Fits this member to ``data``; its weight is not applied."""
        family = LIST_FAMILIES[self.family]
        seed = derive_seed(seed, "lists", self.family)
        return family.fit(data, family.usable(self.config, data), seed=seed)

    def describe(self) -> JsonObject:
        """As plain JSON."""
        return {"family": self.family, "config": asdict(self.config), "weight": self.weight}


@dataclass(frozen=True)
class ListSelection:
    """The chosen blend.

    Attributes:
        members: At least one.
        item_features: (items, columns) that a member may use, or None.
        newcomers: Ratings that the popularity prior weighs as much as; 0: no prior.
        search_report: Of the search, as plain JSON.
        reason: Why nothing was searched, "" after a search.
        positives: Implicit feedback that every fit uses in addition to ratings, or None.
    """

    members: tuple[ListMember, ...]
    item_features: FloatArray | None = None
    newcomers: float = 0.0
    search_report: JsonObject = field(default_factory=dict)
    reason: str = ""
    positives: Ratings | None = None

    @property
    def family(self) -> str:
        """The members' families, e.g. ``als+edlae``."""
        return "+".join(sorted({member.family for member in self.members}))

    def fit(self, ratings: Ratings, *, seed: int) -> Ranker:
        """Fits the blend to ``ratings``: train, train and valid, or every slice for a refit."""
        data = ListData(with_positives(ratings, self.positives), self.item_features)
        parts = [(member.fit(data, seed=seed), member.weight) for member in self.members]
        settings = {"members": [member.describe() for member in self.members]}
        blended = sum_rankers(parts, family=self.family, settings=settings)
        return with_prior(blended, {"prior": popularity(data.rated)}, self.newcomers)

    def report(self) -> JsonObject:
        """For the release's manifest and results.json."""
        recipe = {"members": [member.describe() for member in self.members], "newcomers": self.newcomers}
        return {"family": self.family, "recipe": recipe, **self.search_report, "reason": self.reason}


def fixed_lists(item_features: FloatArray | None = None) -> ListSelection:
    """ALS at its defaults, without a search: the lists of a run whose objective is ratings alone."""
    member = ListMember("als", LIST_FAMILIES["als"].config_type(), 1.0)
    return ListSelection((member,), item_features, newcomers=1.0, reason="the objective is ratings alone")
