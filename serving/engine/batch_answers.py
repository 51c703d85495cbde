"""Batched recommendations of a release; a known user whose state fails is folded in."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from recsys.release.queries import Query, RecommendationList
from recsys.release.recommender import FAILURES
from serving.engine.served_release import ServedRelease


def recommend_or_fold_in(loaded: ServedRelease, queries: list[Query]) -> list[RecommendationList]:
    """The list of each query."""
    answers = loaded.recommender.recommend(queries, loaded.rules)
    for index, (query, answer) in enumerate(zip(queries, answers, strict=True)):
        if answer.fallback and query.user is not None:
            answers[index] = fold_in_known_user(loaded, query, answer)
    return answers


def fold_in_known_user(loaded: ServedRelease, query: Query, failed: RecommendationList) -> RecommendationList:
    """The list of a known user whose state failed, as of a new user with the same ratings; ``failed`` if that
    fails too."""
    history = loaded.recommender.user_state(query).history
    as_new = replace(
        query, user=None, history=type(history)(np.asarray(history.items), np.asarray(history.values))
    )
    try:
        answer = loaded.recommender.recommend([as_new], loaded.rules)[0]
    except FAILURES:
        return failed
    if answer.fallback:
        return failed
    return RecommendationList(answer.recommendations, answer.source, answer.milliseconds, failed.fallback)
