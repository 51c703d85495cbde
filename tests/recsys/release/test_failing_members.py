"""Lists while a member of the release fails, folds in by steps, or is late: popular items, and said so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from recsys.models.base import History, Scorer
from recsys.release.loaded_release import LoadedMember, Release
from recsys.release.queries import Query
from recsys.release.recommender import Recommender
from tests.recsys.release.test_topk_pruning import history, items_of


class Broken:
    """A member whose every answer fails."""

    def known_user(self, *arguments: Any) -> Any:
        raise ValueError("rows are gone")

    fold_in = score = known_user


def test_a_broken_member_falls_back_to_popular_and_says_so(release: Release) -> None:
    broken = replace(release, members=(LoadedMember("broken", 1.0, Broken()),))
    (answer,) = Recommender(broken).recommend([Query(user=3)])
    assert answer.source == "popular"
    assert answer.fallback == "personal: ValueError: rows are gone"
    assert len(answer.recommendations) == 10
    assert not set(items_of(answer)) & set(release.histories(3).items.tolist())


class Picky:
    """The scorer it wraps, but for one user whose scores fail."""

    def __init__(self, scorer: Scorer, user: int) -> None:
        self.scorer, self.user = scorer, user

    def known_user(self, user: int) -> object:
        return user, self.scorer.known_user(user)

    def fold_in(self, history: History, user: int | None = None) -> object:
        return user, self.scorer.fold_in(history, user)

    def score(self, state: tuple[int, object], items: np.ndarray) -> np.ndarray:
        if state[0] == self.user:
            raise FloatingPointError("overflow")
        return np.asarray(self.scorer.score(state[1], items))


def test_one_user_that_fails_takes_nobody_along(release: Release, recommender: Recommender) -> None:
    picky = LoadedMember("picky", 1.0, Picky(release.members[0].scorer, user=4))
    queries = [Query(user=row) for row in (3, 4, 5)]
    answers = Recommender(replace(release, members=(picky, release.members[1]))).recommend(queries)
    assert [answer.source for answer in answers] == ["personal", "popular", "personal"]
    assert answers[1].fallback == "personal: FloatingPointError: overflow"
    assert not set(items_of(answers[1])) & set(release.histories(4).items.tolist())


class Unfoldable(Picky):
    """Fails before that already, when it takes in the ratings."""

    def fold_in(self, history: History, user: int | None = None) -> object:
        if user == self.user:
            raise FloatingPointError("overflow")
        return super().fold_in(history, user)

    def fold_in_many(self, histories: list[History], users: list[int | None]) -> list[object]:
        return [self.fold_in(own, user) for own, user in zip(histories, users, strict=True)]


def test_one_user_that_cannot_be_folded_in_takes_nobody_along(release: Release) -> None:
    member = LoadedMember("unfoldable", 1.0, Unfoldable(release.members[0].scorer, user=4))
    queries = [Query(3), *(Query(user, history({2: 5.0})) for user in (4, 5, None))]
    answers = Recommender(replace(release, members=(member, release.members[1]))).recommend(queries)
    assert [answer.source for answer in answers] == ["personal", "popular", "folded_in", "folded_in"]
    assert answers[1].fallback == "folded_in: FloatingPointError: overflow"
    assert [len(answer.recommendations) for answer in answers] == [10] * 4


class Together(Picky):
    """Scores several people in one call, and counts the calls."""

    calls = folds = 0

    def fold_in_many(self, histories: list[History], users: list[int | None]) -> list[object]:
        self.folds += 1
        return [self.fold_in(own, user) for own, user in zip(histories, users, strict=True)]

    def score_many(self, states: list[tuple[int, object]], items: list[np.ndarray]) -> list[np.ndarray]:
        self.calls += 1
        return [self.score(state, rows) for state, rows in zip(states, items, strict=True)]


def test_folding_in_by_steps_is_found_by_the_answer(release: Release, recommender: Recommender) -> None:
    together = [Together(member.scorer, user=-1) for member in release.members]
    members = tuple(LoadedMember("m", 1.0, scorer) for scorer in together)
    stepwise = Recommender(replace(release, members=members))
    queries = [Query(3), Query(4, history({2: 5.0})), Query(None, history({7: 1.0, 2: 4.0}))]
    assert len(list(stepwise.fold_in_steps(queries))) == len(members)
    assert [scorer.folds for scorer in together] == [1] * len(members)
    answers = stepwise.recommend(queries)
    assert [scorer.folds for scorer in together] == [1] * len(members)
    whole = Recommender(replace(release, members=members)).recommend(queries)
    assert [answer.recommendations for answer in answers] == [answer.recommendations for answer in whole]
    assert list(stepwise.fold_in_steps(queries)) == []
    unfoldable = LoadedMember("unfoldable", 1.0, Unfoldable(release.members[0].scorer, user=4))
    broken = Recommender(replace(release, members=(unfoldable,)))
    assert list(broken.fold_in_steps(queries)) == []
    assert [answer.source for answer in broken.recommend(queries)] == ["personal", "popular", "folded_in"]


def test_a_scorer_that_can_is_asked_once_for_a_batch(release: Release, recommender: Recommender) -> None:
    together = [Together(member.scorer, user=-1) for member in release.members]
    members = tuple(
        LoadedMember(member.name, member.weight, scorer)
        for member, scorer in zip(release.members, together, strict=True)
    )
    queries = [Query(user=row) for row in range(20)] + [Query(None, history({row: 4.0})) for row in range(8)]
    answers = Recommender(replace(release, members=members)).recommend(queries)
    assert [(entry.calls, entry.folds) for entry in together] == [(1, 1), (1, 1)]
    for answer, plain in zip(answers, recommender.recommend(queries), strict=True):
        assert answer.recommendations == plain.recommendations


def test_past_the_deadline_popular_items_are_given(recommender: Recommender) -> None:
    answers = recommender.recommend([Query(user=3), Query(user=4)], deadline_ms=0.0)
    assert {answer.source for answer in answers} == {"popular"}
    assert {answer.fallback for answer in answers} == {"personal: the deadline had passed"}
