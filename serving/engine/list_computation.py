"""Lists and other figures that the recommender's thread computes: admitted, in time, or replaced.

A list that comes too late is replaced by the person's last one, or by popular items like one that fails,
marked and counted. Where too much is being computed the person's last list is better than a refusal.
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
    """Whether the list depends on the person's own ratings and its length alone."""
    return is_plain(query) and not request.ratings


class ListComputation:
    """The computing thread of a replica and the door in front of it."""

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
        """The list of ``query``, or what replaces it.

        Args:
            loaded: the release that answers.
            query: ``request`` in its rows.
            arm: whose list it is, for the metrics.
            request: what was asked for.
            batch: the call of a list that waits for its turn; others are computed at once or refused.

        Raises:
            Overloaded: as many lists as may be are being computed, or those before this one take too long,
                and no older list is known.
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
        """The last list of the ``person`` whose plain list was asked for, if one is known."""
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
        """Any other work on a release that somebody waits for. Raises what it raises, ``Overloaded`` or
        ``DeadlineExceeded``."""
        async with self.admission.slot():
            return await self.call_unlimited(function, *arguments)

    async def call_unlimited(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """The same for work that must not be refused."""
        kind = getattr(function, "__qualname__", "")
        return await self.batcher.call(
            lambda: function(*arguments), kind=kind, seconds=max(1.0, self._deadline)
        )
