"""Computation of lists with admission control, deadlines and fallbacks.

A late list is replaced by the user's previous one, or, like a failed one, by popular items; fallbacks are
marked and counted. Under overload the user's previous list is better than a refusal.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from recsys.release.queries import Query, RecommendationList
from serving.engine.admission import Admission, BatchCall, Overloaded
from serving.engine.list_memo import is_plain
from serving.engine.micro_batcher import MicroBatcher
from serving.engine.pending_work import DeadlineExceeded
from serving.engine.requests import RecommendationRequest
from serving.engine.served_release import ServedRelease
from serving.service_metrics import ServiceMetrics

log = logging.getLogger(__name__)


def is_memorable(request: RecommendationRequest, query: Query) -> bool:
    """Whether the list depends on the user's ratings and its length alone, so that it can be cached."""
    return is_plain(query) and not request.ratings


class ListComputation:
    """The compute thread of a replica, behind its admission control."""

    def __init__(self, metrics: ServiceMetrics, *, deadline_ms: float, max_in_flight: int) -> None:
        self._metrics = metrics
        self._deadline_ms = deadline_ms
        self._deadline = deadline_ms / 1000
        self.admission = Admission(max_in_flight, deadline=self._deadline)
        self.batcher = MicroBatcher()

    async def recommend(
        self,
        loaded: ServedRelease,
        query: Query,
        *,
        arm: str,
        request: RecommendationRequest,
        batch: BatchCall | None = None,
    ) -> RecommendationList:
        """The list of ``query``, or its fallback.

        Args:
            loaded: The release of the arm.
            query: ``request`` in its rows.
            arm: For the metrics.
            request: Of the client.
            batch: The call of a list that waits for its turn; others are computed at once or refused.

        Raises:
            Overloaded: Too many lists are being computed, or the queue is too slow, and no previous list is
                cached.
        """
        memorable = request.user_id is not None and is_memorable(request, query)
        person = request.user_id if memorable else None
        if self.batcher.stuck_for() > self._deadline:
            answer = self._late_list(loaded, query, person, "the recommender is busy")
        else:
            try:
                async with self.admission.slot(batch=batch, patient=memorable):
                    answer = await self.batcher.submit(loaded, query, seconds=self._deadline)
            except Overloaded:
                outdated = self._older_list(loaded, query, person)
                if outdated is None:
                    self.count_refusal()
                    raise
                answer = outdated
            except DeadlineExceeded:
                answer = self._late_list(loaded, query, person, f"no list within {self._deadline_ms:g} ms")
            except Exception as error:
                log.exception("a list of arm %s failed", arm)
                answer = loaded.popular_list(query, f"{type(error).__name__}: {error}")
        if answer.fallback:
            self._metrics.fallbacks.labels(arm, answer.source).inc()
        return answer

    def _older_list(
        self, loaded: ServedRelease, query: Query, person: str | None
    ) -> RecommendationList | None:
        """The previous plain list of ``person``, if it is cached."""
        older = None if person is None else loaded.outdated_list(query.user, person, query)
        if older is not None:
            self._metrics.overloads.labels("stored").inc()
        return older

    def _late_list(
        self, loaded: ServedRelease, query: Query, person: str | None, reason: str
    ) -> RecommendationList:
        return self._older_list(loaded, query, person) or loaded.popular_list(query, reason)

    @property
    def full(self) -> bool:
        """Whether a list that had to be computed would be refused now."""
        return self.admission.full

    def count_refusal(self) -> None:
        self._metrics.overloads.labels("refused").inc()

    async def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Runs other work on a release, under admission control.

        Raises:
            Overloaded: Too much is being computed.
            DeadlineExceeded: It was late. Errors of ``function`` are raised as they are.
        """
        async with self.admission.slot():
            return await self.call_unlimited(function, *arguments)

    async def call_unlimited(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """As ``call``, for work that must not be refused."""
        kind = getattr(function, "__qualname__", "")
        return await self.batcher.call(
            lambda: function(*arguments), kind=kind, seconds=max(1.0, self._deadline)
        )
