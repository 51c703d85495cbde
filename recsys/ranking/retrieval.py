"""A ranker's best items for several people at once, exactly, and seldom by looking at all of them.

Scores of a large catalogue are inner products with item factors, whose lengths follow popularity: some
long ones and a long tail of short. So items lie from the longest factor down, and the short ones are only
looked at where, by Cauchy-Schwarz, |u| |q| of the longest of them, with the most popularity they have,
could still reach somebody's list: length-based pruning, the first step of LEMP (Teflioudi, Gemulla &
Mykytiuk, SIGMOD 2015). The lists are those of scoring everything, but for the order of equal scores.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from recsys.models.base import History
from recsys.ranking.ranker import Ranker, prior_shares, products
from recsys.ranking.top_k import top_k
from recsys.types import BoolArray, IntArray

MIN_ITEMS = 8192  # items from which pruning pays
LONG_SHARE = 0.125  # share of the items, the longest, in which everybody's list is looked for first
ROUNDING = 1e-5  # by so much a bound must be missed: products are rounded
Scores = NDArray[np.float32]
NO_ROWS = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class RetrievalRequest:
    """Who wants how many of which items. ``user`` and ``history`` are as ``PackedRanker.scores`` takes
    them; ``barred`` are rows that must not come, ``allowed`` (items,) the only ones that may, ``also`` rows
    that come along whatever their score."""

    history: History
    user: int | None
    count: int
    exclude: Sequence[IntArray] = ()
    allowed: BoolArray | None = None
    always_include: IntArray = field(default_factory=lambda: NO_ROWS)


@dataclass(frozen=True)
class RankedItems:
    """``items`` (n,) rows with their ``scores`` (n,), the best first, then what came along."""

    items: NDArray[np.int64]
    scores: Scores


def top_k_filtered(scores: Scores, wish: RetrievalRequest) -> RankedItems:
    """What ``wish`` may have of (items,) ``scores``, which are masked in place."""
    for rows in wish.exclude:
        scores[rows] = -np.inf
    if wish.allowed is not None:
        scores[~wish.allowed] = -np.inf
    items = top_k(scores, wish.count)
    if len(wish.always_include):
        more = np.setdiff1d(wish.always_include[np.isfinite(scores[wish.always_include])], items)
        items = np.concatenate([items, more])
    return RankedItems(items, scores[items])


class Retriever:
    """Safe to ask from several threads. Raises what the ranker raises."""

    def __init__(self, ranker: Ranker, *, fewest: int = MIN_ITEMS, long: float = LONG_SHARE) -> None:
        self.ranker = ranker
        pruned = ranker.has("factors") and not ranker.has("weights") and ranker.item_count >= fewest
        self._sorted = _SortedFactors(ranker, long) if pruned else None
        self._local = threading.local()

    def best(self, wishes: Sequence[RetrievalRequest]) -> list[RankedItems]:
        """One answer a wish, in order."""
        histories, users = [wish.history for wish in wishes], [wish.user for wish in wishes]
        if self._sorted is not None:
            vectors = self.ranker.user_factors(histories, users)
            worth = self.ranker.settings["newcomers"] if self.ranker.has("prior") else 0.0
            shares = prior_shares(histories, worth)
            return self._sorted.best(vectors, shares, wishes, self._buffer(len(wishes)))
        scores = self.ranker.scores(histories, users=users, out=self._buffer(len(wishes)))
        return [top_k_filtered(row, wish) for row, wish in zip(scores, wishes, strict=True)]

    def _buffer(self, count: int) -> Scores:
        """(count, items), this thread's own: fresh pages for each batch would cost as much as the scores."""
        buffer: Scores | None = getattr(self._local, "scores", None)
        if buffer is None or len(buffer) < count:
            buffer = self._local.scores = np.empty((count, self.ranker.item_count), dtype=np.float32)
        return buffer[:count]


class _SortedFactors:
    """Item factors from the longest down: ``rows`` (items,) of the ranker, ``places`` the other way round."""

    def __init__(self, ranker: Ranker, long: float) -> None:
        factors = ranker.arrays["factors"]
        lengths = np.sqrt(np.vecdot(factors, factors, dtype=np.float64))
        self.rows = np.argsort(-lengths, kind="stable")
        self.long = max(1, int(long * len(self.rows)))
        self.places = np.empty(len(self.rows), dtype=np.int32)
        self.places[self.rows] = np.arange(len(self.rows), dtype=np.int32)
        self.factors = factors[self.rows]
        # With a last place that nobody reaches, so that what is left after it has length 0.
        self.lengths = np.append(lengths[self.rows], 0.0)
        self.prior: Scores | None = None
        if ranker.has("prior"):
            self.prior = ranker.arrays["prior"][self.rows]
            self.prior_left = np.append(np.maximum.accumulate(self.prior[::-1])[::-1], 0.0)

    def best(
        self, vectors: Scores, shares: Scores, wishes: Sequence[RetrievalRequest], buffer: Scores
    ) -> list[RankedItems]:
        """``vectors`` (wishes, k); ``shares`` (wishes,) as ``newcomer_shares`` gives them; ``buffer``
        (wishes, items) is written over."""
        found: dict[int, RankedItems] = {}
        asking, begin, end = list(range(len(wishes))), 0, self.long
        while asking:
            products(self.factors[begin:end], vectors[asking], out=buffer[: len(asking), begin:end])
            left, needed = [], end
            for place, number in enumerate(asking):
                share, wish = float(shares[number]), wishes[number]
                one = self._looked(buffer[place, :end], vectors[number], share, wish)
                if isinstance(one, RankedItems):
                    found[number] = one
                else:
                    left.append(place)
                    needed = max(needed, one)
            buffer[: len(left), :end] = buffer[left, :end]
            asking, begin, end = [asking[place] for place in left], end, needed
        return [found[number] for number in range(len(wishes))]

    def _looked(self, raw: Scores, vector: Scores, share: float, wish: RetrievalRequest) -> RankedItems | int:
        """What ``wish`` gets by ``raw``, the products of the longest items; where somebody further on could
        still come in, how many items have to be looked at."""
        end = len(raw)
        length = float(np.linalg.norm(vector)) * (1 + ROUNDING)
        scores = raw.copy() if end < len(self.rows) else raw
        bonus = 0.0  # of an item as popular as can be
        if share > 0 and self.prior is not None:
            most = float(raw.max())
            if end < len(self.rows) and length * self.lengths[end] > most:
                return self._reach(length, 0.0, most)
            bonus = share * max(most, 0.0)
            scores += np.float32(bonus) * self.prior[:end]
        for rows in wish.exclude:
            places = self.places[rows]
            scores[places[places < end]] = -np.inf
        if wish.allowed is not None:
            scores[~wish.allowed[self.rows[:end]]] = -np.inf
        best = top_k(scores, wish.count)
        last = float(scores[best[-1]]) if len(best) == wish.count else -np.inf
        if end < len(self.rows) and (needed := self._reach(length, bonus, last)) > end:
            return needed
        found = RankedItems(self.rows[best], scores[best])
        return self._joined(found, vector, bonus, wish) if len(wish.always_include) else found

    def _reach(self, length: float, bonus: float, score: float) -> int:
        """How many items could have ``score`` or more: those before the first from which on none can."""
        low, high = 0, len(self.rows)
        while low < high:
            middle = (low + high) // 2
            most = length * self.lengths[middle]
            if self.prior is not None:
                most += bonus * self.prior_left[middle]
            low, high = (middle + 1, high) if most >= score else (low, middle)
        return low

    def _joined(
        self, found: RankedItems, vector: Scores, bonus: float, wish: RetrievalRequest
    ) -> RankedItems:
        """With those that come along."""
        may = ~np.isin(wish.always_include, np.concatenate([found.items, *wish.exclude]))
        if wish.allowed is not None:
            may &= wish.allowed[wish.always_include]
        items = np.unique(wish.always_include[may])
        places = self.places[items]
        scores = self.factors[places] @ vector
        if self.prior is not None:
            scores += np.float32(bonus) * self.prior[places]
        there = np.isfinite(scores)
        return RankedItems(
            np.concatenate([found.items, items[there]]), np.concatenate([found.scores, scores[there]])
        )
