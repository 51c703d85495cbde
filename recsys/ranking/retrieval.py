"""Exact maximum inner product search for a batch of users, with length-based pruning.

Scores of a large catalogue are inner products with item factors, whose lengths follow popularity: few long
ones and a long tail of short ones. So items are sorted by descending length, and the short ones are only
scored where, by Cauchy-Schwarz, |u| |q| of the longest of them plus their largest prior could still reach a
user's list: the first step of LEMP (Teflioudi, Gemulla & Mykytiuk, SIGMOD 2015). Products in float32 only
select candidates; the list and its order are by scores summed in float64 and rounded once. So retrieval with
and without pruning returns the same rows and scores, and ties go to the lower row.
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
LONG_SHARE = 0.125  # share of the items, the longest, that is scored first for every user
ROUNDING = 1e-5  # bound on the error of a float32 product, in shares of |u| |q|
Scores = NDArray[np.float32]
NO_ROWS = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class RetrievalRequest:
    """Request for a user's list from a ranker.

    Attributes:
        history: The user's ratings.
        user: The row of a user whose history is the one of training, None for others.
        count: Items of the list.
        exclude: Rows that must not be listed.
        allowed: (items,) whether an item may be listed; None: all.
        always_include: Rows that are appended whatever their score.
    """

    history: History
    user: int | None
    count: int
    exclude: Sequence[IntArray] = ()
    allowed: BoolArray | None = None
    always_include: IntArray = field(default_factory=lambda: NO_ROWS)


@dataclass(frozen=True)
class RankedItems:
    """``items`` (n,) rows with their ``scores`` (n,), best first, then those always included."""

    items: NDArray[np.int64]
    scores: Scores


def top_k_filtered(scores: Scores, request: RetrievalRequest) -> RankedItems:
    """Top-k under a request's filters.

    Args:
        scores: (items,); masked in place.
        request: Whose list.

    Returns:
        The list.
    """
    for rows in request.exclude:
        scores[rows] = -np.inf
    if request.allowed is not None:
        scores[~request.allowed] = -np.inf
    items = top_k(scores, request.count)
    extra = request.always_include
    if len(extra):
        items = np.concatenate([items, np.setdiff1d(extra[np.isfinite(scores[extra])], items)])
    return RankedItems(items, scores[items])


class Retriever:
    """Top-k retrieval from a ranker. Thread-safe.

    Args:
        ranker: Its errors are not wrapped.
        fewest: Items from which pruning is used.
        long: Share of the items, the longest factors, that is scored first.
    """

    def __init__(self, ranker: Ranker, *, fewest: int = MIN_ITEMS, long: float = LONG_SHARE) -> None:
        self.ranker = ranker
        share = long if ranker.item_count >= fewest else 1.0
        self._sorted = _SortedFactors(ranker, share) if ranker.scores_by_factors else None
        self._local = threading.local()

    def best(self, requests: Sequence[RetrievalRequest]) -> list[RankedItems]:
        """The list of each of ``requests``, in order."""
        histories, users = [request.history for request in requests], [request.user for request in requests]
        if self._sorted is not None:
            vectors = self.ranker.user_factors(histories, users)
            weight = self.ranker.settings["newcomers"] if self.ranker.has("prior") else 0.0
            shares = prior_shares(histories, weight)
            return self._sorted.best(vectors, shares, requests, self._buffer(len(requests)))
        scores = self.ranker.scores(histories, users=users, out=self._buffer(len(requests)))
        return [top_k_filtered(row, request) for row, request in zip(scores, requests, strict=True)]

    def _buffer(self, count: int) -> Scores:
        """(count, items) of this thread: allocating one for each batch would cost as much as the scores."""
        buffer: Scores | None = getattr(self._local, "scores", None)
        if buffer is None or len(buffer) < count:
            buffer = self._local.scores = np.empty((count, self.ranker.item_count), dtype=np.float32)
        return buffer[:count]


class _SortedFactors:
    """Item factors by descending length: ``rows`` (items,) of the ranker, ``positions`` the inverse."""

    def __init__(self, ranker: Ranker, long: float) -> None:
        factors = ranker.arrays["factors"]
        lengths = np.sqrt(np.vecdot(factors, factors, dtype=np.float64))
        self.rows = np.argsort(-lengths, kind="stable")
        self.long = min(max(1, int(long * len(self.rows))), len(self.rows))
        self.positions = np.empty(len(self.rows), dtype=np.int32)
        self.positions[self.rows] = np.arange(len(self.rows), dtype=np.int32)
        self.factors = factors[self.rows]
        # A last length of 0: no item remains after the last position.
        self.lengths = np.append(lengths[self.rows], 0.0)
        self.prior: Scores | None = None
        if ranker.has("prior"):
            self.prior = ranker.arrays["prior"][self.rows]
            self.prior_after = np.append(np.maximum.accumulate(self.prior[::-1])[::-1], 0.0)

    def best(
        self, vectors: Scores, shares: Scores, requests: Sequence[RetrievalRequest], buffer: Scores
    ) -> list[RankedItems]:
        """The list of each request.

        Args:
            vectors: (requests, k) user factors.
            shares: (requests,) of ``prior_shares``.
            requests: In order.
            buffer: (requests, items), overwritten.
        """
        lists: dict[int, RankedItems] = {}
        open_requests, begin, end = list(range(len(requests))), 0, self.long
        while open_requests:
            count = len(open_requests)
            products(self.factors[begin:end], vectors[open_requests], out=buffer[:count, begin:end])
            unfinished, needed = [], end
            for index, number in enumerate(open_requests):
                share, request = float(shares[number]), requests[number]
                result = self._search(buffer[index, :end], vectors[number], share, request)
                if isinstance(result, RankedItems):
                    lists[number] = result
                else:
                    unfinished.append(index)
                    needed = max(needed, result)
            buffer[: len(unfinished), :end] = buffer[unfinished, :end]
            open_requests, begin, end = [open_requests[index] for index in unfinished], end, needed
        return [lists[number] for number in range(len(requests))]

    def _search(
        self, raw: Scores, vector: Scores, share: float, request: RetrievalRequest
    ) -> RankedItems | int:
        """The list by ``raw``, the products of the longest items; or, where a shorter item could still be
        listed, how many items have to be scored."""
        end = len(raw)
        length = float(np.linalg.norm(vector.astype(np.float64))) * (1 + ROUNDING)
        margin = 2 * ROUNDING * length * float(self.lengths[0]) + 1e-12
        scores = raw.copy() if end < len(self.rows) else raw
        bonus = 0.0  # that the prior adds to the most popular item
        if share > 0 and self.prior is not None:
            near = np.flatnonzero(raw >= raw.max() - margin)
            most = float(self._exact(near, vector, 0.0).max())
            if end < len(self.rows) and length * self.lengths[end] > most:
                return self._reach(length, 0.0, most)
            bonus = share * max(most, 0.0)
            scores += np.float32(bonus) * self.prior[:end]
        for rows in request.exclude:
            positions = self.positions[rows]
            scores[positions[positions < end]] = -np.inf
        if request.allowed is not None:
            scores[~request.allowed[self.rows[:end]]] = -np.inf
        listed = top_k(scores, request.count)
        full = len(listed) == request.count
        least = scores[listed[-1]] - margin if full else np.finfo(np.float32).min
        candidates = np.flatnonzero(scores >= least)
        exact = self._exact(candidates, vector, bonus)
        order = np.lexsort((self.rows[candidates], -exact))[: request.count]
        items, best = self.rows[candidates[order]], exact[order]
        last = float(best[-1]) if full else -np.inf
        if end < len(self.rows) and (needed := self._reach(length, bonus, last - margin)) > end:
            return needed
        ranked = RankedItems(items, best)
        return self._with_included(ranked, vector, bonus, request) if len(request.always_include) else ranked

    def _exact(self, positions: IntArray, vector: Scores, bonus: float) -> Scores:
        """(n,) scores of the items at ``positions``, summed in float64, so independent of the batch."""
        scores = np.vecdot(self.factors[positions].astype(np.float64), vector.astype(np.float64))
        if self.prior is not None:
            scores = scores + bonus * self.prior[positions].astype(np.float64)
        return np.asarray(scores, dtype=np.float32)

    def _reach(self, length: float, bonus: float, score: float) -> int:
        """Upper bound on the number of leading items that could have ``score`` or more."""
        low, high = 0, len(self.rows)
        while low < high:
            middle = (low + high) // 2
            most = length * self.lengths[middle]
            if self.prior is not None:
                most += bonus * self.prior_after[middle]
            low, high = (middle + 1, high) if most >= score else (low, middle)
        return low

    def _with_included(
        self, ranked: RankedItems, vector: Scores, bonus: float, request: RetrievalRequest
    ) -> RankedItems:
        extra = request.always_include
        may = ~np.isin(extra, np.concatenate([ranked.items, *request.exclude]))
        if request.allowed is not None:
            may &= request.allowed[extra]
        items = np.unique(extra[may])
        scores = self._exact(self.positions[items], vector, bonus)
        finite = np.isfinite(scores)
        return RankedItems(
            np.concatenate([ranked.items, items[finite]]), np.concatenate([ranked.scores, scores[finite]])
        )
