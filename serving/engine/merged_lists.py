"""One list out of several arms' lists for the same person, for an interleaved experiment.

Releases have rows and catalogues of their own, so lists meet by item id and each item keeps the release that
brought it: its card, its score and its predicted rating are that release's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from recsys.release.queries import Recommendation, RecommendationList
from recsys.types import JsonObject
from serving.engine.admission import Overloaded
from serving.engine.list_memo import CachedList
from serving.engine.served_release import ServedRelease
from serving.experiments.team_draft import SHARED, team_draft


@dataclass(frozen=True)
class ArmAnswer:
    """One arm's list for a request; ``cached`` where its JSON exists, ``stages`` in milliseconds."""

    arm: str
    loaded: ServedRelease
    answer: RecommendationList
    stages: dict[str, float]
    cached: CachedList | None = None

    @property
    def item_ids(self) -> tuple[str, ...]:
        """The outside world's ids, best first."""
        if self.cached is not None:
            return self.cached.item_ids
        return tuple([self.loaded.card(item.item)["id"] for item in self.answer.recommendations])


@dataclass(frozen=True)
class MergedList:
    """(n,) items, each with the release that brought it, the arm's name and the chance of its place."""

    picks: tuple[tuple[ServedRelease, Recommendation], ...]
    item_ids: tuple[str, ...]
    teams: tuple[str, ...]
    propensities: tuple[float, ...]

    @property
    def exposed(self) -> dict[str, Any]:
        """The fields of its exposure; predicted ratings are those of the release that brought the item."""
        stars = tuple([found.predicted_rating for _, found in self.picks])
        return {
            "items": self.item_ids,
            "predicted": stars,
            "teams": self.teams,
            "propensities": self.propensities,
        }

    def listed(self, *, explain: bool) -> list[JsonObject]:
        """The items as they stand in an answer."""
        return [item for loaded, found in self.picks for item in loaded.listed([found], explain=explain)]


def interleave(
    found: Sequence[ArmAnswer | BaseException], count: int, *, preferred: str, exposure_id: str
) -> tuple[ArmAnswer, MergedList | None]:
    """The arms' lists merged, beside ``preferred``'s own. Where an arm has no list of its own (late, failed,
    refused) nothing can be compared: the answer is ``preferred``'s list, or another arm's that has one.

    Raises:
        Overloaded: every arm was refused.
    """
    answers = {made.arm: made for made in found if isinstance(made, ArmAnswer)}
    for error in found:
        if isinstance(error, BaseException) and not (answers and isinstance(error, Overloaded)):
            raise error
    whole = {arm: made for arm, made in answers.items() if not made.answer.fallback}
    if len(whole) < len(found):
        choice = whole or answers
        return choice.get(preferred) or next(iter(choice.values())), None
    slowest = max(whole.values(), key=lambda made: sum(made.stages.values()))
    merged = merge_lists(list(whole.values()), count, exposure_id=exposure_id)
    return replace(whole[preferred], stages=slowest.stages), merged


def merge_lists(answers: Sequence[ArmAnswer], count: int, *, exposure_id: str) -> MergedList:
    """The arms' lists by team draft; an item that nobody is credited with is the first arm's that has it."""
    draft = team_draft({made.arm: made.item_ids for made in answers}, count, seed=exposure_id)
    by_arm = {
        made.arm: dict(zip(made.item_ids, made.answer.recommendations, strict=True)) for made in answers
    }
    loaded = {made.arm: made.loaded for made in answers}
    picks = []
    for item, team in zip(draft.items, draft.teams, strict=True):
        arm = next(name for name in by_arm if item in by_arm[name]) if team == SHARED else team
        picks.append((loaded[arm], by_arm[arm][item]))
    return MergedList(tuple(picks), draft.items, draft.teams, draft.propensities)
