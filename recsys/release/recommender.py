"""The recommender: the same object answers in evaluation and over HTTP.

The way of a list: history -> the ranker's best of what is not seen, hidden, excluded or filtered, exactly,
for many queries together -> members' predicted stars of those that can still make the list -> blend ->
diversity. Only numpy, on memory-mapped arrays but for a large ranker's sorted factors; no torch. The score
that orders a list is
    ranking x (ranker's score / the best that this query may have) + rating x (stars on 0..1) + boost
so it does not depend on how many candidates were looked at. Who has no history gets popular items; who
cannot be answered as they should gets the next best and is marked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
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

MIN_CANDIDATES = 100  # of the ranker, rescored for every list
FIXED_SINCE = 3  # schema version; older releases keep the number that their golden lists were made with
MOST_COUNTED = 1_000_000  # ratings that the usual ones are counted on
BATCH = 32  # queries a matrix product; more gains little and holds up the first of them
# What a broken member or ranker raises; anything else is a mistake of ours and may surface.
FAILURES = (ArithmeticError, ValueError, IndexError, KeyError, TypeError, OSError, MemoryError)


class Recommender(ItemLists):
    """Answers from one release. Safe to call from several threads."""

    def __init__(self, release: Release) -> None:
        super().__init__(release)
        self._people = UserStateCache(release.histories)
        self._weights = release.manifest.ranking.weights
        self.retriever = Retriever(release.ranker)

    def recommend(
        self, queries: Sequence[Query], rules: Rules = NO_RULES, *, deadline_ms: float | None = None
    ) -> list[RecommendationList]:
        """One answer a query, in order. Past ``deadline_ms`` the rest are answered by popularity.

        Raises InputError for an item row that the release does not have or a count below 1."""
        started = perf_counter()
        for query in queries:
            self._check(query)
        answers: list[RecommendationList] = []
        for first in range(0, len(queries), BATCH):
            answers += self._batch(queries[first : first + BATCH], rules, started, deadline_ms)
        return answers

    def predict(self, query: Query, items: IntArray) -> NDArray[np.float32]:
        """(len(items),) predicted stars for the person of ``query``."""
        self.check_items(items)
        return self._stars.rate(self._stars.states(self.person(query)), items)

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
        intervals, person = self.release.manifest.rating_blend.intervals, self.person(query)
        if intervals is None:
            return stars, None
        deviations = self._stars.deviations(self._stars.states(person), items) if intervals.scaled else None
        low, high = intervals.ends(stars, len(person.history.items), self._scale, deviations)
        new = self.release.popularity.counts[items] == 0
        if new.any():  # nobody's ratings speak for these: wide enough for ratings of any item
            least, most = self._usual_ratings
            low[new], high[new] = np.minimum(low[new], least), np.maximum(high[new], most)
        return stars, (low, high)

    def usual_interval(self, stars: float) -> tuple[float, float] | None:
        """The ends between which the usual ratings of any item lie, and ``stars``: for an item that was added
        after the release was made. None where the release carries no intervals."""
        if self.release.manifest.rating_blend.intervals is None:
            return None
        least, most = map(float, self._usual_ratings)
        return min(stars, least), max(stars, most)

    def person(self, query: Query) -> UserState:
        """Who asks."""
        return self._people.of(query)

    def fold_in_steps(self, queries: Sequence[Query]) -> Iterator[None]:
        """Works out the members' states of those who are folded in, a member a step: who shares a thread with
        other work can do that between them. ``recommend`` finds them there, and works out what fails here."""
        try:
            people = [self.person(query) for query in queries]
            yield from self._stars.state_steps(
                [person for person in people if person.needs_fold_in and len(person.history.items)]
            )
        except FAILURES:
            return

    def clear_cache(self) -> None:
        """Whoever asked lately."""
        self._people.forget()

    def _batch(
        self, queries: Sequence[Query], rules: Rules, started: float, deadline_ms: float | None
    ) -> list[RecommendationList]:
        people = [self.person(query) for query in queries]
        pairs = list(zip(queries, people, strict=True))
        began = perf_counter()
        wishes = [
            retrieval_request(query, person, rules, count=self._wanted(query, rules))
            for query, person in pairs
        ]
        found, failure = self._retrieve(wishes)
        drafts = []
        for (query, person), wish, own in zip(pairs, wishes, found, strict=True):
            late = deadline_ms is not None and 1000 * (perf_counter() - started) > deadline_ms
            reason = failure if len(wish.history.items) else ""  # others have asked the ranker nothing
            reason = reason or ("the deadline had passed" if late else "")
            drafts.append(self._draft(query, person, rules, wish, own, reason))
        drafted = perf_counter()
        self._fold_in([draft for draft in drafts if len(draft.items) and not draft.fallback], rules)
        folded = perf_counter()
        stars = self._rate(drafts, rules)
        shared = {
            "retrieve": 1000 * (drafted - began),
            "fold_in": 1000 * (folded - drafted),
            "score": 1000 * (perf_counter() - folded),
        }
        return [self._finish(draft, own, rules, shared) for draft, own in zip(drafts, stars, strict=True)]

    def _retrieve(self, wishes: Sequence[RetrievalRequest]) -> tuple[list[RankedItems | None], str]:
        """The candidates of everybody with a history, None for others, and why they are missing if so."""
        found: list[RankedItems | None] = [None] * len(wishes)
        places = [place for place, wish in enumerate(wishes) if len(wish.history.items)]
        if not places:
            return found, ""
        try:
            best = self.retriever.best([wishes[place] for place in places])
        except FAILURES as error:
            return found, f"{type(error).__name__}: {error}"
        for place, own in zip(places, best, strict=True):
            found[place] = own
        return found, ""

    def _draft(
        self,
        query: Query,
        person: UserState,
        rules: Rules,
        wish: RetrievalRequest,
        found: RankedItems | None,
        reason: str,
    ) -> CandidateList:
        """What ``query`` may have, by what was retrieved."""
        known = len(person.history.items) > 0
        source: RecommendationSource = (
            "popular" if not known else "folded_in" if person.needs_fold_in else "personal"
        )
        if not reason:
            try:
                return self._ranked(query, person, rules, wish, found, source)
            except FAILURES as error:
                reason = f"{type(error).__name__}: {error}"
        return self._popular_draft(query, person, rules, wish, f"{source}: {reason}")

    def _ranked(
        self,
        query: Query,
        person: UserState,
        rules: Rules,
        wish: RetrievalRequest,
        found: RankedItems | None,
        source: RecommendationSource,
    ) -> CandidateList:
        own = found or top_k_filtered(self.popularity_scores(trending=False), wish)
        best = own.scores[0] if len(own.items) else 0
        draft = CandidateList(query, person, source, own.items, own.scores / best if best > 0 else own.scores)
        if source == "popular" or self._weights.rating == 0:  # stars only of what will be shown
            rerank(draft, rules, self.release.items)
        return draft

    def _popular_draft(
        self, query: Query, person: UserState, rules: Rules, wish: RetrievalRequest, fallback: str
    ) -> CandidateList:
        """Popular items in place of what failed, their stars from the items' means."""
        found = top_k_filtered(self.popularity_scores(trending=False), wish)
        draft = CandidateList(query, person, "popular", found.items, found.scores, fallback=fallback)
        rerank(draft, rules, self.release.items)
        return draft

    def _fold_in(self, drafts: list[CandidateList], rules: Rules) -> None:
        """The members' states of every draft's person: all together, or one by one where that fails."""
        try:
            states = self._stars.states_many([draft.person for draft in drafts])
        except FAILURES as error:
            if len(drafts) > 1:
                for draft in drafts:
                    self._fold_in([draft], rules)
            else:
                self._give_up(drafts[0], rules, error)
            return
        for draft, own in zip(drafts, states, strict=True):
            draft.states = own

    def _give_up(self, draft: CandidateList, rules: Rules, error: Exception) -> None:
        """Makes ``draft`` one of popular items."""
        query, person = draft.query, draft.person
        wish = retrieval_request(query, person, rules, count=self._wanted(query, rules))
        reason = f"{draft.source}: {type(error).__name__}: {error}"
        vars(draft).update(vars(self._popular_draft(query, person, rules, wish, reason)))

    def _rate(self, drafts: list[CandidateList], rules: Rules) -> list[NDArray[np.float32]]:
        """Stars of every draft's items (of those that may be listed): all together, or one by one where
        that fails."""
        known = [draft for draft in drafts if draft.states is not None]
        try:
            rated = iter(score_with_pruning(self._stars, known, self._weights, rules, self._scale))
            return [self._means(draft) if draft.states is None else next(rated) for draft in drafts]
        except FAILURES as error:
            if len(drafts) > 1:
                return [self._rate([draft], rules)[0] for draft in drafts]
            self._give_up(drafts[0], rules, error)
            return [self._means(drafts[0])]

    def _finish(
        self, draft: CandidateList, stars: NDArray[np.float32], rules: Rules, shared: dict[str, float]
    ) -> RecommendationList:
        began = perf_counter()
        if not draft.chosen:
            unit = (stars - self._scale.low) / np.float32(self._scale.span)
            draft.ranking = self._weights.ranking * draft.ranking + self._weights.rating * unit
            stars = stars[rerank(draft, rules, self.release.items)]
        ranker, explain = self.release.ranker, draft.query.explain
        listed = tuple(
            Recommendation(
                item=int(item),
                score=float(score),
                predicted_rating=float(star),
                because=supporting_items(ranker, draft.person, int(item)) if explain else (),
            )
            for item, score, star in zip(draft.items, draft.ranking, stars, strict=True)
        )
        spent = shared | {"blend": 1000 * (perf_counter() - began)}
        return RecommendationList(listed, draft.source, spent, draft.fallback)

    def _wanted(self, query: Query, rules: Rules) -> int:
        """Candidates that are scored by the members: as many whatever the list's length, up to that many, so
        that the first ten of a top-100 are the top ten."""
        manifest = self.release.manifest
        rescored = self._weights.rating or rules.diversity or rules.boosts
        least = manifest.ranking.candidates
        if manifest.schema_version >= FIXED_SINCE:
            least = max(least, MIN_CANDIDATES)
        return max(query.count, least) if rescored else query.count

    def _means(self, draft: CandidateList) -> NDArray[np.float32]:
        return self.release.popularity.means[draft.items]

    @cached_property
    def _usual_ratings(self) -> NDArray[np.float32]:
        """(2,) stars between which the intervals' share of all ratings lies."""
        intervals, values = self.release.manifest.rating_blend.intervals, self.release.histories.values
        level = 1.0 if intervals is None else intervals.level
        if not len(values):
            return np.array([self._scale.low, self._scale.high], dtype=np.float32)
        some = values[:: max(1, len(values) // MOST_COUNTED)].astype(np.float32)
        return np.quantile(some, [(1 - level) / 2, (1 + level) / 2]).astype(np.float32)

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
