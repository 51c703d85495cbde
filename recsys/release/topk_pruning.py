"""Top-k pruning: score only candidates whose upper bound can still reach the list.

Lists are ordered by base + weight x unit. The base is known for every candidate; its unit (predicted stars
on 0..1) costs a pass through every member. So candidates are scored in batches from the best base down, until
no remaining one could reach the list's last place even with the highest rating: the threshold algorithm of
Fagin, Lotem & Naor (2003). The list is exactly that of scoring all candidates.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recsys.data.ratings import RatingScale
from recsys.release.candidates import CandidateList, boost_values
from recsys.release.manifest import RankingWeights
from recsys.release.queries import Rules
from recsys.release.rating_ensemble import RatingEnsemble

FIRST_BATCH_EXTRA = 14  # beyond the list's length: another round of calls costs as much as these
BATCH_LIMIT = 16  # and at most so many more each time
ROUNDING = 1e-5


class PruningState:
    """The progress of one list; ``batch`` is how many candidates to score next, 0 when complete."""

    def __init__(
        self, candidates: CandidateList, weights: RankingWeights, rules: Rules, scale: RatingScale
    ) -> None:
        self.candidates, self._weight, self._scale = candidates, weights.rating, scale
        base = weights.ranking * candidates.ranking
        if rules.boosts:
            base = base + boost_values(candidates.items, rules)
        self._order = np.argsort(-base, kind="stable")
        self._base = base[self._order]
        self._stars = np.empty(len(base), dtype=np.float32)
        self._rated = 0
        # Diversity and a list already chosen need the stars of all.
        score_all = candidates.chosen or rules.diversity > 0
        self.batch = len(base) if score_all else min(len(base), candidates.query.count + FIRST_BATCH_EXTRA)

    @property
    def items(self) -> NDArray[np.int64]:
        """The item rows of the next batch."""
        return self.candidates.items[self._order[self._rated : self._rated + self.batch]]

    def add_scores(self, stars: NDArray[np.float32]) -> None:
        """Records the stars of a batch and sets the size of the next.

        Args:
            stars: (batch,) of ``items``, in their order.
        """
        self._stars[self._rated : self._rated + self.batch] = stars
        self._rated += self.batch
        remaining = len(self._base) - self._rated
        if not remaining:
            self.batch = 0
            return
        unit = (self._stars[: self._rated] - self._scale.low) / self._scale.span
        totals = self._base[: self._rated] + self._weight * unit
        last = np.partition(totals, -self.candidates.query.count)[-self.candidates.query.count]
        reachable = np.count_nonzero(self._base[self._rated :] + self._weight >= last - ROUNDING)
        self.batch = min(int(reachable), BATCH_LIMIT)

    def finish(self) -> NDArray[np.float32]:
        """Drops the candidates that were not scored.

        Returns:
            (scored,) stars of the remaining candidates, in their order.
        """
        scored = np.sort(self._order[: self._rated])
        stars = np.empty(len(self._base), dtype=np.float32)
        stars[self._order] = self._stars
        self.candidates.items, self.candidates.ranking = (
            self.candidates.items[scored],
            self.candidates.ranking[scored],
        )
        return stars[scored]


def score_with_pruning(
    stars: RatingEnsemble,
    candidate_lists: Sequence[CandidateList],
    weights: RankingWeights,
    rules: Rules,
    scale: RatingScale,
) -> list[NDArray[np.float32]]:
    """Stars of the candidates that can make each list, all lists scored together.

    Args:
        stars: The rating ensemble.
        candidate_lists: Changed only once every member has answered.
        weights: Of ranking and rating.
        rules: Of the deployment.
        scale: Of the ratings.

    Returns:
        One array of stars per list.
    """
    states = [PruningState(candidates, weights, rules, scale) for candidates in candidate_lists]
    while batch := [state for state in states if state.batch]:
        parts = [(state.candidates.states or [], state.items) for state in batch]
        for state, rated in zip(batch, stars.predict_batch(parts), strict=True):
            state.add_scores(rated)
    return [state.finish() for state in states]
