"""A list for somebody: assigned to an arm, looked up or computed, and its exposure recorded.

Nothing here waits on a disk: assignment is a hash, the list is known or comes from the worker's thread, the
exposure goes to the writer's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from time import perf_counter

from recsys.errors import InputError
from recsys.release.queries import Query
from serving.engine.exploration import candidate_count, explored
from serving.engine.list_computation import ListComputation, is_memorable
from serving.engine.list_memo import KnownList
from serving.engine.recent_ratings import NO_RATINGS, RecentRatings
from serving.engine.release_loader import Deployment
from serving.engine.requests import RecommendationRequest, Recommended, new_id, to_exposure, to_query
from serving.engine.served_release import ServedRelease
from serving.engine.shadow_answers import ShadowAnswers
from serving.events.event_writer import EventWriter


class ListAnswers:
    """``deployment`` gives the revision that answers now."""

    def __init__(
        self,
        deployment: Callable[[], Deployment],
        *,
        computation: ListComputation,
        writer: EventWriter,
        recent_ratings: RecentRatings,
        shadows: ShadowAnswers,
    ) -> None:
        self._deployment = deployment
        self._computation = computation
        self._writer = writer
        self._recent_ratings = recent_ratings
        self._shadows = shadows

    async def recommend(self, request: RecommendationRequest, *, batched: bool = False) -> Recommended:
        """One list. ``batched`` lists wait for their turn; others are computed at once or refused.

        Raises:
            InputError: an unknown genre or arm.
            Overloaded: as many lists as may be are being computed.
        """
        began = perf_counter()
        deployment = self._deployment()
        _check_arm(deployment, request)
        exposure_id = new_id()
        user_id = request.user_id if request.user_id is not None else f"anonymous-{exposure_id}"
        assignment = deployment.assign(user_id, request.arm)
        arm = assignment.arm
        loaded = deployment.arms[arm]
        query = to_query(loaded, request, self._recent_ratings)
        placed = perf_counter()
        explore = deployment.explore[arm]
        known = None if explore else self._look_up(loaded, request, query)
        propensities = None
        if explore:
            asked = replace(query, count=candidate_count(query.count))
            answer = await self._computation.recommend(
                loaded, asked, arm=arm, request=request, batched=batched
            )
            stages = answer.milliseconds
            share = 0.0 if answer.fallback else explore
            listed, propensities = explored(
                answer.recommendations, query.count, share=share, exposure_id=exposure_id
            )
            answer = replace(answer, recommendations=listed)
        elif known is None:
            ratings = self._ratings_of(request, query)
            answer = await self._computation.recommend(
                loaded, query, arm=arm, request=request, batched=batched
            )
            stages = answer.milliseconds
            if is_memorable(request, query) and not answer.fallback:
                person = None if query.history is None else request.user_id
                known = loaded.remember(query.user, person, query.count, ratings, answer)
        else:
            answer, stages = known.answer, {"lookup": 1000 * (perf_counter() - placed)}
        ended = perf_counter()
        wait = max(0.0, (ended - placed) * 1000 - sum(stages.values()))
        total = (ended - began) * 1000
        spent = {"assign": (placed - began) * 1000, "wait": wait, **stages, "total": total}
        exposure = to_exposure(
            exposure_id,
            user_id,
            deployment,
            assignment,
            loaded,
            answer,
            total,
            known,
            propensities=propensities,
        )
        self._writer.add_exposure(exposure, encoded=None if known is None else known.exposed)
        if request.arm is None:
            for shadow in deployment.shadows:
                self._shadows.start(shadow, deployment, request, exposure)
        return Recommended(exposure, deployment.state.name, assignment, answer, loaded, spent, known)

    def validate(self, request: RecommendationRequest) -> None:
        """Raises InputError for what ``recommend`` would refuse."""
        deployment = self._deployment()
        _check_arm(deployment, request)
        for loaded in deployment.arms.values():
            to_query(loaded, request, self._recent_ratings)

    def _look_up(
        self, loaded: ServedRelease, request: RecommendationRequest, query: Query
    ) -> KnownList | None:
        if not is_memorable(request, query):
            return None
        person = None if query.history is None else request.user_id
        return loaded.look_up(query.user, person, query.count, self._ratings_of(request, query))

    def _ratings_of(self, request: RecommendationRequest, query: Query) -> object:
        """What a list was made from beside the release; the same object as long as nothing is rated."""
        if query.history is None or request.user_id is None:
            return NO_RATINGS
        return self._recent_ratings.of(request.user_id)


def _check_arm(deployment: Deployment, request: RecommendationRequest) -> None:
    """Raises InputError where ``request`` names an arm that is not there."""
    if request.arm is not None and request.arm not in deployment.arms:
        raise InputError(f"there is no arm {request.arm!r}; there are {', '.join(deployment.arms)}")
