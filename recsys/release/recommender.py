"""The recommender: the same object answers in evaluation and over HTTP.

The way of a list: history -> the ranker's score of every item, exactly, for many queries in one matrix
product -> seen, hidden, excluded and filtered items taken out -> the best candidates -> members' predicted
stars -> blend -> diversity. Only numpy on memory-mapped arrays; no torch. The score that orders a list is
    ranking x (ranker's score / the best that this query may have) + rating x (stars on 0..1) + boost
so it does not depend on how many candidates were looked at. Who has no history gets popular items; who
cannot be answered as they should gets the next best and is marked.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.data.ratings import RatingScale
from recsys.errors import InputError
from recsys.release.answers import NO_RULES, Answer, Query, Recommendation, Rules, Source
from recsys.release.diversity import diversify
from recsys.release.load import Release
from recsys.release.stars import NOTHING, Person, Stars, merge
from recsys.release.top import top
from recsys.types import IntArray

BATCH = 32  # queries a matrix product; more gains little and holds up the first of them
MMR_CANDIDATES = 100
REASONS = 3
# What a broken member or ranker raises; anything else is a mistake of ours and may surface.
FAILURES = (ArithmeticError, ValueError, IndexError, KeyError, TypeError, OSError, MemoryError)


class Recommender:
    """Answers from one release. Safe to call from several threads."""

    def __init__(self, release: Release) -> None:
        self.release = release
        scale = release.manifest.dataset.scale
        self._scale = RatingScale(scale.low, scale.high)
        self._stars = Stars(release.members, self._scale)
        self._weights = release.manifest.ranking.weights
        self._local = threading.local()

    def recommend(
        self, queries: Sequence[Query], rules: Rules = NO_RULES, *, deadline_ms: float | None = None
    ) -> list[Answer]:
        """One answer a query, in order. Past ``deadline_ms`` the rest are answered by popularity.

        Raises InputError for an item row that the release does not have or a count below 1."""
        started = perf_counter()
        for query in queries:
            self._check(query)
        answers: list[Answer] = []
        for first in range(0, len(queries), BATCH):
            answers += self._batch(queries[first : first + BATCH], rules, started, deadline_ms)
        return answers

    def predict(self, query: Query, items: IntArray) -> NDArray[np.float32]:
        """(len(items),) predicted stars for the person of ``query``."""
        self._known_items(items)
        return self._stars.rate(self._stars.states(self.person(query)), items)

    def similar(self, item: int, count: int = 10) -> list[Recommendation]:
        """The items most alike by who rated them; ``score`` is the cosine, stars are for a stranger."""
        self._known_items(np.array([item]))
        scores = self.release.items.vectors @ self.release.items.vectors[item]
        scores[item] = -np.inf
        return self._for_strangers(top(scores, count), scores)

    def popular(
        self, count: int, genre: str | None = None, *, trending: bool = False
    ) -> list[Recommendation]:
        """The most rated items, by ``trending`` with decay; ``score`` is 1 for the first of them all."""
        scores = self._popularity(trending)
        if genre is not None:
            try:
                scores[~self.release.items.with_genres([genre])] = -np.inf
            except KeyError:
                raise InputError(
                    f"unknown genre {genre!r}; there are {', '.join(self.release.items.genre_names)}"
                ) from None
        return self._for_strangers(top(scores, count), scores)

    def person(self, query: Query) -> Person:
        """Who asks: a row with what the release keeps of it, joined with the ratings of the query."""
        kept = NOTHING if query.user is None else self.release.histories(query.user)
        if query.history is None or not len(query.history.items):
            return Person(query.user, kept, fresh=False)
        return Person(query.user, merge(kept, query.history), fresh=True)

    def _batch(
        self, queries: Sequence[Query], rules: Rules, started: float, deadline_ms: float | None
    ) -> list[Answer]:
        people = [self.person(query) for query in queries]
        began = perf_counter()
        scores, failure = self._retrieve(people)
        retrieve = {"retrieve": 1000 * (perf_counter() - began)}
        answers = []
        for row, (query, person) in enumerate(zip(queries, people, strict=True)):
            late = deadline_ms is not None and 1000 * (perf_counter() - started) > deadline_ms
            reason = failure or ("the deadline had passed" if late else "")
            answer = self._answer(query, person, rules, scores[row], reason)
            answers.append(replace(answer, milliseconds=retrieve | answer.milliseconds))
        return answers

    def _retrieve(self, people: Sequence[Person]) -> tuple[NDArray[np.float32], str]:
        """(len(people), items) scores in this thread's own buffer, and why they are missing if they are."""
        buffer = getattr(self._local, "scores", None)
        if buffer is None:
            buffer = self._local.scores = np.empty((BATCH, len(self.release.items)), dtype=np.float32)
        scores: NDArray[np.float32] = buffer[: len(people)]
        places = [place for place, person in enumerate(people) if len(person.history.items)]
        if not places:
            return scores, ""
        histories = [people[place].history.items for place in places]
        known = [None if people[place].fresh else people[place].user for place in places]
        try:
            if len(places) == len(people):
                self.release.ranker.scores(histories, users=known, out=scores)
            else:
                scores[places] = self.release.ranker.scores(histories, users=known)
        except FAILURES as error:
            return scores, f"{type(error).__name__}: {error}"
        return scores, ""

    def _answer(
        self, query: Query, person: Person, rules: Rules, scores: NDArray[np.float32], reason: str
    ) -> Answer:
        source: Source = "folded_in" if person.fresh else "personal"
        if not len(person.history.items):
            scores[:] = self._popularity(trending=False)
            return self._listed(query, person, rules, scores, "popular")
        if not reason:
            try:
                return self._listed(query, person, rules, scores, source)
            except FAILURES as error:
                reason = f"{type(error).__name__}: {error}"
        scores[:] = self._popularity(trending=False)
        answer = self._listed(query, person, rules, scores, "popular", rated=False)
        return replace(answer, fallback=f"{source}: {reason}")

    def _listed(
        self,
        query: Query,
        person: Person,
        rules: Rules,
        scores: NDArray[np.float32],
        source: Source,
        *,
        rated: bool = True,
    ) -> Answer:
        """The list out of the retrieved ``scores`` (items,), which are masked in place. ``rated`` off
        takes stars from the items' means instead of the members."""
        clock = [perf_counter()]
        self._mask(query, person, rules, scores)
        items = self._candidates(query, rules, scores)
        if not len(items):
            return Answer((), source)
        best = scores[items[0]]
        ranking = scores[items] / best if best > 0 else scores[items]
        late = source == "popular" or self._weights.rating == 0  # stars only for what is shown
        clock.append(perf_counter())
        states = self._stars.states(person) if rated else []
        clock.append(perf_counter())
        if not late:
            stars = self._rate(states, items)
            ranking = self._weights.ranking * ranking + self._weights.rating * self._on_unit(stars)
        ranking = ranking + np.array([rules.boosts.get(int(item), 0.0) for item in items], dtype=np.float32)
        chosen = self._choose(items, ranking, query.count, rules.diversity)
        if late:
            stars = self._rate(states, items[chosen])
        else:
            stars = stars[chosen]
        clock.append(perf_counter())
        listed = tuple(
            Recommendation(
                int(items[place]),
                float(ranking[place]),
                float(star),
                self._because(person, int(items[place])) if query.explain else (),
            )
            for place, star in zip(chosen, stars, strict=True)
        )
        clock.append(perf_counter())
        stages = np.diff(clock) * 1000
        return Answer(
            listed, source, dict(zip(("mask", "fold_in", "score", "blend"), map(float, stages), strict=True))
        )

    def _mask(self, query: Query, person: Person, rules: Rules, scores: NDArray[np.float32]) -> None:
        if not query.include_seen:
            scores[person.history.items] = -np.inf
        for rows in (rules.hidden, query.exclude):
            if rows is not None:
                scores[rows] = -np.inf
        if query.allowed is not None:
            scores[~query.allowed] = -np.inf

    def _candidates(self, query: Query, rules: Rules, scores: NDArray[np.float32]) -> NDArray[np.int64]:
        """Rows to look at closer, best first; boosted items always come along."""
        count = query.count
        if self._weights.rating or rules.diversity or rules.boosts:
            count = max(count, self.release.manifest.ranking.candidates)
        if rules.diversity:
            count = max(count, MMR_CANDIDATES)
        items = top(scores, count)
        if rules.boosts:
            boosted = np.fromiter(rules.boosts, dtype=np.int64)
            boosted = boosted[np.isfinite(scores[boosted])]
            items = np.concatenate([items, np.setdiff1d(boosted, items)])
        return items

    def _choose(
        self, items: IntArray, ranking: NDArray[np.float32], count: int, dial: float
    ) -> NDArray[np.int64]:
        """Places in ``items`` of the list, in its order."""
        order = np.lexsort((items, -ranking))
        if not dial:
            return order[:count]
        pool = order[: max(count, MMR_CANDIDATES)]
        return pool[diversify(self.release.items, items[pool], ranking[pool], count=count, dial=dial)]

    def _rate(self, states: list[Any], items: IntArray) -> NDArray[np.float32]:
        return self._stars.rate(states, items) if states else self.release.popularity.means[items]

    def _on_unit(self, stars: NDArray[np.float32]) -> NDArray[np.float32]:
        return (stars - self._scale.low) / np.float32(self._scale.span)

    def _because(self, person: Person, item: int) -> tuple[int, ...]:
        """The items of the history that speak most for ``item``, the strongest first."""
        history = person.history.items
        voices = self.release.ranker.support(history, item)
        order = np.argsort(-voices, kind="stable")[:REASONS]
        return tuple(int(history[place]) for place in order if voices[place] > 0 and history[place] != item)

    def _popularity(self, trending: bool) -> NDArray[np.float32]:
        """(items,) on 0..1, a copy."""
        shelf = self.release.popularity
        counts = shelf.trending if trending else shelf.counts
        return counts / max(float(counts.max()), 1e-9)

    def _for_strangers(self, items: NDArray[np.int64], scores: NDArray[np.float32]) -> list[Recommendation]:
        """With the stars that somebody unknown would be predicted to give."""
        if not len(items):
            return []
        stars = self._stars.rate(self._strangers, items)
        return [
            Recommendation(int(item), float(scores[item]), float(star))
            for item, star in zip(items, stars, strict=True)
        ]

    @cached_property
    def _strangers(self) -> list[Any]:
        return self._stars.states(Person(None, NOTHING, fresh=False))

    def _check(self, query: Query) -> None:
        if query.count < 1:
            raise InputError(f"a list of {query.count} items was asked for, expected at least 1")
        if query.user is not None and not 0 <= query.user < len(self.release.histories):
            raise InputError(
                f"user row {query.user} is not in the release, which has {len(self.release.histories)}"
            )
        for rows in (query.exclude, None if query.history is None else query.history.items):
            if rows is not None:
                self._known_items(rows)

    def _known_items(self, items: IntArray) -> None:
        count = len(self.release.items)
        if len(items) and not (items.min() >= 0 and items.max() < count):
            raise InputError(f"item rows {items.min()} .. {items.max()}, expected 0 .. {count - 1}")
