"""The recommender of a release: the same object answers in evaluation and over HTTP.

A list is made in stages: history -> the ranker's exact top candidates that are not seen, hidden, excluded or
filtered, for many queries together -> predicted stars of those that can still make the list -> blend ->
diversity. Only numpy, on memory-mapped arrays except for a large ranker's sorted factors; no torch. Lists are
ordered by
    ranking x (ranker's score / the best candidate's score) + rating x (stars on 0..1) + boost
which does not depend on the number of candidates. Users without a history get popular items; a query whose
stage fails or is late falls back to popular items and is marked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from recsys.errors import InputError
from recsys.ranking.retrieval import RankedItems, RetrievalRequest, Retriever, top_k_filtered
from recsys.release.candidates import CandidateList, rerank, retrieval_request, supporting_items
from recsys.release.item_lists import ItemLists
from recsys.release.loaded_release import Release
from recsys.release.queries import (
    NO_RULES,
    Query,
    Recommendation,
    RecommendationList,
    RecommendationSource,
    Rules,
)
from recsys.release.topk_pruning import score_with_pruning
from recsys.release.user_state import UserState, UserStateCache
from recsys.types import IntArray

BATCH = 32  # queries per matrix product; more gains little and delays the first of them
# What a broken member or ranker raises; any other exception is a bug and passes through.
FAILURES = (ArithmeticError, ValueError, IndexError, KeyError, TypeError, OSError, MemoryError)


class Recommender(ItemLists):
    """Answers from one release. Safe to call from several threads."""

    def __init__(self, release: Release) -> None:
        super().__init__(release)
        self._user_states = UserStateCache(release.histories)
        self._weights = release.manifest.ranking.weights
        self.retriever = Retriever(release.ranker)

    def recommend(
        self, queries: Sequence[Query], rules: Rules = NO_RULES, *, deadline_ms: float | None = None
    ) -> list[RecommendationList]:
        """Recommends items for each query.

        Args:
            queries: Any number of them; they share matrix products.
            rules: Of the deployment.
            deadline_ms: Once it has passed, the remaining queries get popular items. None: no deadline.

        Returns:
            One list per query, in order.

        Raises:
            InputError: An item or user row that the release does not have, or a count below 1.
        """
        started = perf_counter()
        for query in queries:
            self._check(query)
        answers: list[RecommendationList] = []
        for first in range(0, len(queries), BATCH):
            answers += self._batch(queries[first : first + BATCH], rules, started, deadline_ms)
        return answers

    def predict(self, query: Query, items: IntArray) -> NDArray[np.float32]:
        """Predicted stars.

        Args:
            query: The user.
            items: (n,) item rows.

        Returns:
            (n,) stars inside the scale.

        Raises:
            InputError: As ``recommend``.
        """
        self.check_items(items)
        return self._ensemble.predict(self._ensemble.states(self.user_state(query)), items)

    def predict_interval(
        self, query: Query, items: IntArray
    ) -> tuple[NDArray[np.float32], tuple[NDArray[np.float32], NDArray[np.float32]] | None]:
        """Predicted stars with their prediction interval.

        Returns:
            (len(items),) stars as ``predict`` gives them, and the lower and upper ends, both (len(items),);
            None in place of the ends where the release carries no intervals. An item that nobody has rated
            has at least the range of the usual ratings.
        """
        stars = self.predict(query, items)
        intervals, user_state = self.release.manifest.rating_blend.intervals, self.user_state(query)
        if intervals is None:
            return stars, None
        ensemble = self._ensemble
        deviations = ensemble.deviations(ensemble.states(user_state), items) if intervals.scaled else None
        low, high = intervals.ends(stars, len(user_state.history.items), self._scale, deviations)
        new = self.release.popularity.counts[items] == 0
        if new.any():  # nobody's ratings speak for these: wide enough for ratings of any item
            least, most = self._usual_ratings
            low[new], high[new] = np.minimum(low[new], least), np.maximum(high[new], most)
        return stars, (low, high)

    def user_state(self, query: Query) -> UserState:
        """The user of a query, from the cache where the same history was seen lately."""
        return self._user_states.of(query)

    def fold_in_steps(self, queries: Sequence[Query]) -> Iterator[None]:
        """Folds histories in ahead of ``recommend``, one ensemble member per step.

        A caller that shares its thread with other work can run that between the steps. Failures are ignored:
        ``recommend`` folds in what is missing, with its fallbacks.
        """
        try:
            user_states = [self.user_state(query) for query in queries]
            yield from self._ensemble.state_steps([user for user in user_states if user.folds_history_in])
        except FAILURES:
            return

    def clear_cache(self) -> None:
        """Drops the cached states of recent users."""
        self._user_states.clear()

    def _batch(
        self, queries: Sequence[Query], rules: Rules, started: float, deadline_ms: float | None
    ) -> list[RecommendationList]:
        user_states = [self.user_state(query) for query in queries]
        pairs = list(zip(queries, user_states, strict=True))
        start = perf_counter()
        requests = [
            retrieval_request(query, user_state, rules, self.release.manifest) for query, user_state in pairs
        ]
        results, failure = self._retrieve(requests)
        candidate_lists = []
        for (query, user_state), request, retrieved in zip(pairs, requests, results, strict=True):
            late = deadline_ms is not None and 1000 * (perf_counter() - started) > deadline_ms
            reason = failure if len(request.history.items) else ""  # without a history nothing was retrieved
            reason = reason or ("the deadline had passed" if late else "")
            candidate_lists.append(self._candidates(query, user_state, rules, request, retrieved, reason))
        drafted = perf_counter()
        self._fold_in([candidates for candidates in candidate_lists if candidates.need_states], rules)
        folded = perf_counter()
        stars = self._rate(candidate_lists, rules)
        shared = {
            "retrieve": 1000 * (drafted - start),
            "fold_in": 1000 * (folded - drafted),
            "score": 1000 * (perf_counter() - folded),
        }
        return [
            self._finish(candidates, predicted, rules, shared)
            for candidates, predicted in zip(candidate_lists, stars, strict=True)
        ]

    def _retrieve(self, requests: Sequence[RetrievalRequest]) -> tuple[list[RankedItems | None], str]:
        """The ranker's candidates, None for users without a history; and the error where it failed."""
        results: list[RankedItems | None] = [None] * len(requests)
        indices = [index for index, request in enumerate(requests) if len(request.history.items)]
        if not indices:
            return results, ""
        try:
            best = self.retriever.best([requests[index] for index in indices])
        except FAILURES as error:
            return results, f"{type(error).__name__}: {error}"
        for index, ranked in zip(indices, best, strict=True):
            results[index] = ranked
        return results, ""

    def _candidates(
        self,
        query: Query,
        user_state: UserState,
        rules: Rules,
        request: RetrievalRequest,
        retrieved: RankedItems | None,
        reason: str,
    ) -> CandidateList:
        """The candidates of a query, with popular items as its fallback."""
        known = len(user_state.history.items) > 0
        source: RecommendationSource = (
            "popular" if not known else "folded_in" if user_state.needs_fold_in else "personal"
        )
        if not reason:
            try:
                return self._ranked(query, user_state, rules, request, retrieved, source)
            except FAILURES as error:
                reason = f"{type(error).__name__}: {error}"
        return self._popular_candidates(query, user_state, rules, request, f"{source}: {reason}")

    def _ranked(
        self,
        query: Query,
        user_state: UserState,
        rules: Rules,
        request: RetrievalRequest,
        retrieved: RankedItems | None,
        source: RecommendationSource,
    ) -> CandidateList:
        ranked = retrieved or top_k_filtered(self.popularity_scores(trending=False), request)
        best = ranked.scores[0] if len(ranked.items) else 0
        candidates = CandidateList(
            query, user_state, source, ranked.items, ranked.scores / best if best > 0 else ranked.scores
        )
        if source == "popular" or self._weights.rating == 0:  # stars are needed of the listed items only
            rerank(candidates, rules, self.release.items)
        return candidates

    def _popular_candidates(
        self, query: Query, user_state: UserState, rules: Rules, request: RetrievalRequest, fallback: str
    ) -> CandidateList:
        """The fallback: popular items, with the items' mean ratings as stars."""
        ranked = top_k_filtered(self.popularity_scores(trending=False), request)
        candidates = CandidateList(
            query, user_state, "popular", ranked.items, ranked.scores, fallback=fallback
        )
        rerank(candidates, rules, self.release.items)
        return candidates

    def _fold_in(self, candidate_lists: list[CandidateList], rules: Rules) -> None:
        """The members' states of every user: all together, or one by one where that fails."""
        try:
            states = self._ensemble.states_many([candidates.user_state for candidates in candidate_lists])
        except FAILURES as error:
            if len(candidate_lists) > 1:
                for candidates in candidate_lists:
                    self._fold_in([candidates], rules)
            else:
                self._fall_back(candidate_lists[0], rules, error)
            return
        for candidates, member_states in zip(candidate_lists, states, strict=True):
            candidates.states = member_states

    def _fall_back(self, candidates: CandidateList, rules: Rules, error: Exception) -> None:
        """Replaces ``candidates`` by popular items."""
        query, user_state = candidates.query, candidates.user_state
        request = retrieval_request(query, user_state, rules, self.release.manifest)
        reason = f"{candidates.source}: {type(error).__name__}: {error}"
        vars(candidates).update(vars(self._popular_candidates(query, user_state, rules, request, reason)))

    def _rate(self, candidate_lists: list[CandidateList], rules: Rules) -> list[NDArray[np.float32]]:
        """Stars of the candidates that can make each list: all together, or one by one where that fails."""
        means = self.release.popularity.means
        known = [candidates for candidates in candidate_lists if candidates.states is not None]
        try:
            rated = iter(score_with_pruning(self._ensemble, known, self._weights, rules, self._scale))
            return [
                means[candidates.items] if candidates.states is None else next(rated)
                for candidates in candidate_lists
            ]
        except FAILURES as error:
            if len(candidate_lists) > 1:
                return [self._rate([candidates], rules)[0] for candidates in candidate_lists]
            self._fall_back(candidate_lists[0], rules, error)
            return [means[candidate_lists[0].items]]

    def _finish(
        self, candidates: CandidateList, stars: NDArray[np.float32], rules: Rules, shared: dict[str, float]
    ) -> RecommendationList:
        start = perf_counter()
        if not candidates.chosen:
            unit = (stars - self._scale.low) / np.float32(self._scale.span)
            candidates.ranking = self._weights.ranking * candidates.ranking + self._weights.rating * unit
            stars = stars[rerank(candidates, rules, self.release.items)]
        ranker, explain = self.release.ranker, candidates.query.explain
        listed = tuple(
            Recommendation(
                item=int(item),
                score=float(score),
                predicted_rating=float(star),
                because=supporting_items(ranker, candidates.user_state, int(item)) if explain else (),
            )
            for item, score, star in zip(candidates.items, candidates.ranking, stars, strict=True)
        )
        milliseconds = shared | {"blend": 1000 * (perf_counter() - start)}
        return RecommendationList(listed, candidates.source, milliseconds, candidates.fallback)

    def _check(self, query: Query) -> None:
        if query.count < 1:
            raise InputError(f"a list of {query.count} items was asked for, expected at least 1")
        if query.user is not None and not 0 <= query.user < len(self.release.histories):
            raise InputError(
                f"user row {query.user} is not in the release, which has {len(self.release.histories)}"
            )
        for rows in (query.exclude, None if query.history is None else query.history.items):
            if rows is not None:
                self.check_items(rows)
