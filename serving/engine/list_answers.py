"""Lists for users: assignment to an arm, lookup or computation, and the record of the exposure.

No disk access is awaited: assignment is a hash, a list is cached or computed, a thread writes the exposure.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from time import perf_counter

from recsys.data.event_store import ANONYMOUS
from recsys.errors import InputError
from recsys.release.queries import Query, Recommendation, RecommendationList
from serving.assignment import Assignment
from serving.engine.admission import BatchCall, Overloaded
from serving.engine.exploration import candidate_count, explored
from serving.engine.list_computation import ListComputation, is_memorable
from serving.engine.list_memo import CachedList
from serving.engine.merged_lists import ArmAnswer, MergedList, interleave
from serving.engine.pending_work import DeadlineExceeded
from serving.engine.recent_ratings import NO_RATINGS, RecentRatings
from serving.engine.release_loader import Deployment
from serving.engine.requests import (
    RecommendationRequest,
    Recommended,
    fitting_unreleased,
    to_exposure,
    to_query,
)
from serving.engine.served_release import ServedRelease
from serving.engine.shadow_answers import ShadowAnswers
from serving.engine.shared_lists import SharedLists
from serving.events.event_writer import EventWriter
from serving.identifiers import new_exposure_id

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Draft:
    """A list before its exposure is recorded; times are of ``perf_counter``."""

    count: int
    exposure_id: str
    user_id: str
    assignment: Assignment
    explore: float
    request: RecommendationRequest | None
    began: float
    placed: float


class ListAnswers:
    """``deployment`` returns the revision in service."""

    def __init__(
        self,
        deployment: Callable[[], Deployment],
        *,
        computation: ListComputation,
        writer: EventWriter,
        recent_ratings: RecentRatings,
        shadows: ShadowAnswers,
        shared: SharedLists,
    ) -> None:
        self._deployment = deployment
        self._computation = computation
        self._writer = writer
        self._recent_ratings = recent_ratings
        self._shadows = shadows
        self._shared = shared

    async def recommend(
        self, request: RecommendationRequest, *, batch: BatchCall | None = None
    ) -> Recommended:
        """The list of a request: one of a ``batch`` waits its turn, another is computed at once or refused.

        Raises:
            InputError: An unknown genre or arm.
            Overloaded: Too many lists are being computed.
        """
        began = perf_counter()
        deployment = self._deployment()
        _check_arm(deployment, request)
        if request.plain_user_id is not None:
            cached = self.cached_list(request.plain_user_id, request.count, arm=request.arm)
            if cached is not None:
                return cached
        exposure_id = new_exposure_id()
        user_id = request.user_id if request.user_id is not None else f"{ANONYMOUS}{exposure_id}"
        assignment = deployment.assign(user_id, request.arm)
        explore = deployment.explore[assignment.arm]
        count = candidate_count(request.count) if explore else request.count
        placed = perf_counter()
        merged = None
        if deployment.interleaves(assignment):
            arms = deployment.state.interleaved_arms
            lists = await asyncio.gather(
                *(self._known_or_computed(deployment, arm, request, batch=batch) for arm in arms),
                return_exceptions=True,
            )
            made, merged = interleave(lists, request.count, preferred=assignment.arm, exposure_id=exposure_id)
        else:
            made = await self._computed(deployment, assignment.arm, request, count, batch=batch)
        return self._shown(
            Draft(request.count, exposure_id, user_id, assignment, explore, request, began, placed),
            deployment,
            made,
            merged,
        )

    async def _known_or_computed(
        self, deployment: Deployment, arm: str, request: RecommendationRequest, *, batch: BatchCall | None
    ) -> ArmAnswer:
        """An arm's list for an interleaved one, from the cache if possible."""
        began, loaded = perf_counter(), deployment.arms[arm]
        user_id = request.plain_user_id
        cached = None if user_id is None else self._cached(loaded, user_id, request.count)
        if cached is None:
            return await self._computed(deployment, arm, request, request.count, batch=batch)
        return ArmAnswer(arm, loaded, cached.answer, {"lookup": 1000 * (perf_counter() - began)}, cached)

    async def _computed(
        self,
        deployment: Deployment,
        arm: str,
        request: RecommendationRequest,
        count: int,
        *,
        batch: BatchCall | None,
    ) -> ArmAnswer:
        """An arm's list of ``count`` items, which is cached if possible."""
        loaded = deployment.arms[arm]
        query = replace(to_query(loaded, request, self._recent_ratings), count=count)
        began = perf_counter()
        ratings = self._ratings_of(request, query)
        cached, ready = None, None if request.ratings else loaded.filtered_list(query)
        memorable = is_memorable(request, query)
        if memorable:
            ready = self._shared.get(loaded, query)
        if ready is None:
            answer = await self._computation.recommend(loaded, query, arm=arm, request=request, batch=batch)
            if memorable:
                self._shared.put(loaded, query, answer)
        else:
            answer = replace(ready, milliseconds={"lookup": 1000 * (perf_counter() - began)})
        if memorable and not answer.fallback:
            person = None if query.history is None else request.user_id
            cached = loaded.remember(query.user, person, query.count, ratings, answer)
        if deployment.explore[arm] and not answer.fallback:
            answer = await self._with_new_items(loaded, replace(query, count=request.count), request, answer)
        return ArmAnswer(arm, loaded, answer, answer.milliseconds, cached)

    async def _with_new_items(
        self,
        loaded: ServedRelease,
        query: Query,
        request: RecommendationRequest,
        answer: RecommendationList,
    ) -> RecommendationList:
        """``answer`` followed by the best new items, at most ``query.count``: those of the release without
        ratings and those added since, alternately. Without them if they are late."""
        began = perf_counter()
        calls: list[Callable[[], Sequence[Recommendation]]] = []
        if loaded.new_items is not None:
            unrated = replace(query, allowed=loaded.new_among(query.allowed))
            calls.append(lambda: loaded.recommender.recommend([unrated], loaded.rules)[0].recommendations)
        unreleased = fitting_unreleased(loaded, request, self._recent_ratings)
        if len(unreleased):
            calls.append(lambda: loaded.recommend_unreleased(query, unreleased))
        if not calls:
            return answer
        try:
            new_items = await self._computation.call(_call_all, calls)
        except (Overloaded, DeadlineExceeded):
            return answer
        except Exception:
            log.exception("new items of release %s failed", loaded.release_id[:12])
            return answer
        alternately = [item for turn in zip_longest(*new_items) for item in turn if item is not None]
        return _joined(answer, alternately[: query.count], {"new": 1000 * (perf_counter() - began)})

    def cached_list(self, user_id: str, count: int, *, arm: str | None = None) -> Recommended | None:
        """The plain list of a user from the cache.

        Args:
            user_id: Any id; all unknown users share a list.
            count: Items.
            arm: Forces an arm by name.

        Returns:
            The list, with its exposure recorded; None if it has to be computed.
        """
        began = perf_counter()
        deployment = self._deployment()
        assignment = deployment.assign(user_id, arm)
        if deployment.interleaves(assignment):
            return None
        loaded = deployment.arms[assignment.arm]
        explore = deployment.explore[assignment.arm]
        if explore and (loaded.new_items is not None or len(loaded.unreleased.rows)):
            return None  # lists with new items are not cached
        placed = perf_counter()
        cached = self._cached(loaded, user_id, candidate_count(count) if explore else count)
        if cached is None:
            return None
        request = RecommendationRequest(user_id=user_id, count=count, arm=arm) if deployment.shadows else None
        stages = {"lookup": 1000 * (perf_counter() - placed)}
        return self._shown(
            Draft(count, new_exposure_id(), user_id, assignment, explore, request, began, placed),
            deployment,
            ArmAnswer(assignment.arm, loaded, cached.answer, stages, cached),
        )

    def _cached(self, loaded: ServedRelease, user_id: str, count: int) -> CachedList | None:
        """A user's cached plain list of a release."""
        user, person, ratings = loaded.rows.user(user_id), None, self._recent_ratings.of(user_id)
        if ratings is not NO_RATINGS:
            if loaded.rows.history(user_id, ratings) is None:
                ratings = NO_RATINGS
            else:
                person = user_id
        return loaded.cached_list(user, person, count, ratings)

    def _shown(
        self, draft: Draft, deployment: Deployment, made: ArmAnswer, merged: MergedList | None = None
    ) -> Recommended:
        """Records the exposure of a list and starts the shadow arms; ``merged`` is an interleaved list."""
        propensities, answer = None, made.answer
        cached = made.cached if merged is None else None
        if draft.explore:
            cached = None
            share = 0.0 if answer.fallback else draft.explore
            listed, propensities = explored(
                answer.recommendations, draft.count, share=share, exposure_id=draft.exposure_id
            )
            answer = replace(answer, recommendations=listed)
        ended, stages = perf_counter(), made.stages
        wait = max(0.0, (ended - draft.placed) * 1000 - sum(stages.values()))
        total = (ended - draft.began) * 1000
        spent = {"assign": (draft.placed - draft.began) * 1000, "wait": wait, **stages, "total": total}
        exposure = to_exposure(
            draft.exposure_id,
            draft.user_id,
            deployment,
            draft.assignment,
            made.loaded,
            answer,
            total,
            cached,
            propensities=propensities,
        )
        if merged is not None:
            exposure = replace(exposure, **merged.exposed)
        self._writer.add_exposure(exposure, repeated=None if cached is None else cached.repeated(exposure))
        if draft.request is not None and draft.request.arm is None:
            for shadow in deployment.shadows:
                self._shadows.start(shadow, deployment, draft.request, exposure)
        name = deployment.state.name
        return Recommended(exposure, name, draft.assignment, answer, made.loaded, spent, cached, merged)

    def validate(self, request: RecommendationRequest) -> None:
        """Checks a request; raises InputError for an unknown genre or arm, as ``recommend`` does."""
        deployment = self._deployment()
        _check_arm(deployment, request)
        for loaded in deployment.arms.values():
            to_query(loaded, request, self._recent_ratings)

    def _ratings_of(self, request: RecommendationRequest, query: Query) -> object:
        """The recent ratings that a list depends on; the same object until the user rates."""
        if query.history is None or request.user_id is None:
            return NO_RATINGS
        return self._recent_ratings.of(request.user_id)


def _check_arm(deployment: Deployment, request: RecommendationRequest) -> None:
    """Raises InputError for an unknown arm."""
    if request.arm is not None and request.arm not in deployment.arms:
        raise InputError(f"there is no arm {request.arm!r}; there are {', '.join(deployment.arms)}")


def _call_all(calls: Sequence[Callable[[], Sequence[Recommendation]]]) -> list[Sequence[Recommendation]]:
    return [call() for call in calls]


def _joined(
    ranked: RecommendationList, new: Sequence[Recommendation], stages: Mapping[str, float]
) -> RecommendationList:
    """``ranked`` followed by the items of ``new`` that it lacks: the candidates of exploration."""
    items = {item.item: item for item in (*ranked.recommendations, *new)}
    spent = Counter(ranked.milliseconds)
    spent.update(stages)
    return replace(ranked, recommendations=tuple(items.values()), milliseconds=dict(spent))
