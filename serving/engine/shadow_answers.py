"""Shadow arms: the same question to a release that nobody sees, after the answer has gone out."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from time import perf_counter

from serving.assignment import Assignment
from serving.domain import Exposure
from serving.engine.micro_batcher import MicroBatcher
from serving.engine.recent_ratings import RecentRatings
from serving.engine.release_loader import Deployment
from serving.engine.requests import RecommendationRequest, to_exposure, to_query
from serving.events.event_writer import EventWriter
from serving.service_metrics import ServiceMetrics

log = logging.getLogger(__name__)
SHADOW_QUEUE = 4  # shadow answers are left out while more than this waits
SHADOW_SECONDS = 1.0  # nobody waits for a shadow answer


class ShadowAnswers:
    """Computes and stores what shadow arms would have answered, while there is time for it."""

    def __init__(
        self,
        batcher: MicroBatcher,
        writer: EventWriter,
        metrics: ServiceMetrics,
        recent_ratings: RecentRatings,
    ) -> None:
        self._batcher = batcher
        self._writer = writer
        self._metrics = metrics
        self._recent_ratings = recent_ratings
        self._tasks: set[asyncio.Task[None]] = set()

    def start(
        self, arm: str, deployment: Deployment, request: RecommendationRequest, shown: Exposure
    ) -> None:
        """Asks ``arm`` in a task of its own; left out and counted where the recommender has no time."""
        if self._batcher.waiting > SHADOW_QUEUE or len(self._tasks) > SHADOW_QUEUE:
            self._metrics.shadows.labels(arm, "left_out").inc()
            return
        task = asyncio.create_task(self._recommend(arm, deployment, request, shown))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _recommend(
        self, arm: str, deployment: Deployment, request: RecommendationRequest, shown: Exposure
    ) -> None:
        loaded = deployment.arms[arm]
        began = perf_counter()
        try:
            query = to_query(loaded, request, self._recent_ratings)
            answer = await self._batcher.submit(loaded, query, seconds=SHADOW_SECONDS)
        except Exception as error:
            self._metrics.shadows.labels(arm, "failed").inc()
            log.warning("shadow arm %s failed: %s", arm, type(error).__name__)
            return
        self._metrics.shadows.labels(arm, "answered").inc()
        exposure = to_exposure(
            f"{shown.exposure_id}-{arm}",
            shown.user_id,
            deployment,
            Assignment(arm, "share"),
            loaded,
            answer,
            (perf_counter() - began) * 1000,
        )
        self._writer.add_exposure(replace(exposure, shadow=True, experiment=shown.experiment))
