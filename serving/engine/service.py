"""The service of one replica, without HTTP: questions in, answers and their exposures out.

Nothing here waits on a disk: assignment is a hash, the list comes from the worker's thread, the exposure
goes to the writer's. A list that fails or comes too late is replaced by popular items (known or unknown
user alike), marked and counted; only then does a request know of trouble at all.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Sequence
from dataclasses import replace
from time import monotonic, perf_counter
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from recsys.errors import InputError
from recsys.pseudonyms import fingerprint, pseudonym, pseudonym_key
from recsys.release.queries import Query, Recommendation, RecommendationList
from serving.assignment import Assignment
from serving.domain import ExperimentState, Exposure, Feedback
from serving.engine.admission import Admission, Overloaded
from serving.engine.exploration import candidate_count, explored
from serving.engine.list_memo import KnownList, is_plain
from serving.engine.micro_batcher import DeadlineExceeded, MicroBatcher
from serving.engine.rating_predictions import attach_predictions
from serving.engine.recent_ratings import NO_RATINGS, RecentRatings
from serving.engine.release_loader import Deployment, ReleaseLoader
from serving.engine.requests import (
    PredictedRatings,
    RecommendationRequest,
    Recommended,
    item_ids,
    new_id,
    to_exposure,
    to_query,
)
from serving.engine.served_release import RuleSet, ServedRelease
from serving.engine.store_sync import StoreSync
from serving.events.event_writer import EventWriter, StoreUnavailable
from serving.events.rows import JournalEntry
from serving.events.store import EventStore
from serving.release_registry import resolve
from serving.service_metrics import ServiceMetrics
from serving.settings import Settings

log = logging.getLogger(__name__)
ACKNOWLEDGE_SECONDS = 5.0  # feedback not committed by then is answered with 503
STORE_ERRORS: tuple[type[Exception], ...] = (SQLAlchemyError, OSError)
STUCK_SECONDS = 30.0  # a worker that takes longer for one turn makes the replica unhealthy
SAVE_METRICS_SECONDS = 1.0  # between copies of the metrics for the other replicas
SHADOW_QUEUE = 4  # shadow answers are left out while more than this waits


def _is_memorable(wanted: RecommendationRequest, query: Query) -> bool:
    """Whether the list depends on the person's own ratings and its length alone."""
    return is_plain(query) and not wanted.ratings


class Service:
    """``start`` blocks until it can answer; the rest is for an event loop, except ``load`` and ``close``."""

    def __init__(self, settings: Settings, metrics: ServiceMetrics | None = None) -> None:
        self.settings = settings
        self.metrics = metrics or ServiceMetrics()
        self.store = EventStore(settings.events)
        self.recent_ratings = RecentRatings()
        rules = settings.rules
        self.release_loader = ReleaseLoader(
            RuleSet(frozenset(rules.hidden), dict(rules.boosts), rules.diversity),
            resolve,
            lists=settings.lists_path,
        )
        self._deployment: Deployment | None = None
        self._deadline = settings.deadline_ms / 1000
        self._metrics_saved_at = 0.0
        self._admission = Admission(settings.max_in_flight)
        self._shadows: set[asyncio.Task[None]] = set()
        self._flushed = {"batches": 0, "batched": 0, "lost": 0}
        self.closing = False

    def start(self) -> None:
        """Raises InputError where the experiment or a release cannot be served."""
        state = self._stored_state() or self.settings.experiment.state()
        self.activate(self.release_loader.load(state, None))
        self.writer = EventWriter(self.store, folder=self.settings.spool_folder)
        self.batcher = MicroBatcher()
        self.store_sync = StoreSync(
            self.store,
            self,
            experiment=self.settings.experiment.name,
            seconds=self.settings.poll_seconds,
        )
        self.store_sync.start()
        # What is loaded now stays: the collector need not walk it again in the middle of a request.
        gc.collect()
        gc.freeze()

    def _stored_state(self) -> ExperimentState | None:
        try:
            self.store.create_tables()
            return self.store.experiment(self.settings.experiment.name)
        except InputError:
            raise
        except Exception as error:
            log.error("the event store cannot be read, starting without it: %s", type(error).__name__)
            return None

    @property
    def deployment(self) -> Deployment:
        assert self._deployment is not None, "the service has not been started"
        return self._deployment

    def activate(self, deployment: Deployment) -> None:
        """From now on this answers. Older revisions than the one in service are ignored."""
        before = self._deployment
        if before is not None and deployment.state.revision < before.state.revision:
            return
        self._deployment = deployment
        state, metrics = deployment.state, self.metrics
        metrics.revision.labels(state.name).set(state.revision)
        for arm in before.state.arms if before else ():
            metrics.share.labels(state.name, arm.name).set(0)
            metrics.release.labels(arm.name, before.arms[arm.name].release_id if before else "").set(0)
        for arm in state.arms:
            metrics.share.labels(state.name, arm.name).set(arm.share)
            metrics.release.labels(arm.name, deployment.arms[arm.name].release_id).set(1)
        metrics.loads.labels("taken").inc()
        metrics.deployment_changed()

    def change(self, state: ExperimentState, *, expected: int, actor: str, reason: str) -> ExperimentState:
        """Open what ``state`` needs, store it, serve it: in that order, so that a release that cannot be
        trusted changes nothing. Blocks. Raises InputError or ``Conflict``."""
        try:
            prepared = self.release_loader.load(state, self.deployment)
        except InputError:
            self.metrics.loads.labels("refused").inc()
            raise
        saved = self.store.save_experiment(state, expected=expected, actor=actor, reason=reason)
        self.activate(self.release_loader.with_state(prepared, saved))
        return saved

    @property
    def revision(self) -> int:
        """The revision of the experiment that is in service."""
        return self.deployment.state.revision

    def add_rating(self, event: Feedback) -> None:
        """Use a stored rating from the next list on."""
        self.recent_ratings.add(event)

    def load_state(self, state: ExperimentState) -> None:
        """Open what a stored revision needs and serve it. Blocks. Raises InputError or OSError."""
        try:
            self.activate(self.release_loader.load(state, self.deployment))
        except (InputError, OSError):
            self.metrics.loads.labels("refused").inc()
            raise

    def publish_metrics(self) -> None:
        """Gauges and counters that threads keep as plain numbers, brought to Prometheus."""
        self.metrics.waiting.set(self.writer.waiting)
        self.metrics.store.set(1 if self.writer.available else 0)
        self.flush_counts()
        if monotonic() - self._metrics_saved_at >= SAVE_METRICS_SECONDS:
            self._metrics_saved_at = monotonic()
            self.metrics.save()

    def erase_users(self, erasures: Sequence[JournalEntry]) -> None:
        """Keeps no rating of erased people from before their erasure, and nothing made of one."""
        key = pseudonym_key(self.settings.events)
        if any(entry.data.get("key") != fingerprint(key) for entry in erasures):
            log.warning("an erasure was named with another key: all recent ratings are read again")
            fresh = RecentRatings()
            for event in self.store.feedback(kind="rating"):
                fresh.add(event)
            self.recent_ratings = fresh
        else:
            erased = {entry.subject for entry in erasures}
            for user_id in self.recent_ratings.users():
                if pseudonym(user_id, key) in erased:
                    self.recent_ratings.erase_user(user_id)
                    for event in self.store.feedback(kind="rating", user_id=user_id):
                        self.recent_ratings.add(event)
        self._clear_caches()

    def drop_ratings_before(self, at: float) -> None:
        """What retention deleted is no longer used."""
        self.recent_ratings.drop_before(at)
        self._clear_caches()

    def _clear_caches(self) -> None:
        for loaded in self.deployment.arms.values():
            loaded.clear_cache()

    def flush_counts(self) -> None:
        """Counters that threads keep as plain numbers, brought to Prometheus from time to time."""
        for counter, counted, now in (
            ("batches", self._flushed["batches"], self.batcher.batches),
            ("batched", self._flushed["batched"], self.batcher.batched),
            ("lost", self._flushed["lost"], self.writer.lost),
        ):
            getattr(self.metrics, counter).inc(now - counted)
            self._flushed[counter] = now

    def health(self) -> str:
        """What is wrong, "" where nothing is."""
        stuck = self.batcher.stuck_for()
        return f"the recommender has been busy for {stuck:.0f} s" if stuck > STUCK_SECONDS else ""

    def close(self) -> None:
        self.closing = True
        self.store_sync.stop()
        self.batcher.close()
        self.writer.close()
        self.store.close()

    # -- questions ---------------------------------------------------------------------------------

    async def recommend(self, wanted: RecommendationRequest, *, batched: bool = False) -> Recommended:
        """One list. ``batched`` lists wait for their turn; others are computed at once or refused.

        Raises:
            InputError: an unknown genre or arm.
            Overloaded: as many lists as may be are being computed.
        """
        began = perf_counter()
        deployment = self.deployment
        if wanted.arm is not None and wanted.arm not in deployment.arms:
            raise InputError(f"there is no arm {wanted.arm!r}; there are {', '.join(deployment.arms)}")
        exposure_id = new_id()
        user_id = wanted.user_id if wanted.user_id is not None else f"anonymous-{exposure_id}"
        assignment = deployment.assign(user_id, wanted.arm)
        loaded = deployment.arms[assignment.arm]
        query = to_query(loaded, wanted, self.recent_ratings)
        placed = perf_counter()
        explore = deployment.explore[assignment.arm]
        known = None if explore else self._look_up(loaded, wanted, query)
        propensities = None
        if explore:
            asked = replace(query, count=candidate_count(query.count))
            answer = await self._recommend(loaded, asked, assignment.arm, wanted, batched=batched)
            stages = answer.milliseconds
            share = 0.0 if answer.fallback else explore
            listed, propensities = explored(
                answer.recommendations, query.count, share=share, exposure_id=exposure_id
            )
            answer = replace(answer, recommendations=listed)
        elif known is None:
            ratings = self._ratings_of(wanted, query)
            answer = await self._recommend(loaded, query, assignment.arm, wanted, batched=batched)
            stages = answer.milliseconds
            if _is_memorable(wanted, query) and not answer.fallback:
                person = None if query.history is None else wanted.user_id
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
        self.writer.add_exposure(exposure, encoded=None if known is None else known.exposed)
        if wanted.arm is None:
            for arm in deployment.shadows:
                self._shadow(arm, deployment, wanted, exposure)
        return Recommended(exposure, deployment.state.name, assignment, answer, loaded, spent, known)

    def _look_up(
        self, loaded: ServedRelease, wanted: RecommendationRequest, query: Query
    ) -> KnownList | None:
        if not _is_memorable(wanted, query):
            return None
        person = None if query.history is None else wanted.user_id
        return loaded.look_up(query.user, person, query.count, self._ratings_of(wanted, query))

    def _ratings_of(self, wanted: RecommendationRequest, query: Query) -> object:
        """What a list was made from beside the release; the same object as long as nothing is rated."""
        if query.history is None or wanted.user_id is None:
            return NO_RATINGS
        return self.recent_ratings.of(wanted.user_id)

    def validate(self, wanted: RecommendationRequest) -> None:
        """Raises InputError for what ``recommend`` would refuse."""
        deployment = self.deployment
        if wanted.arm is not None and wanted.arm not in deployment.arms:
            raise InputError(f"there is no arm {wanted.arm!r}; there are {', '.join(deployment.arms)}")
        for loaded in deployment.arms.values():
            to_query(loaded, wanted, self.recent_ratings)

    @property
    def scale(self) -> tuple[float, float]:
        """The lowest and highest rating, in stars."""
        scale = self.deployment.control.release.manifest.dataset.scale
        return scale.low, scale.high

    async def _recommend(
        self, loaded: ServedRelease, query: Query, arm: str, wanted: RecommendationRequest, *, batched: bool
    ) -> RecommendationList:
        if self.batcher.stuck_for() > self._deadline:
            answer = loaded.popular_list(query, "the recommender is busy")
        else:
            try:
                async with self._admission.place(batched=batched):
                    answer = await self.batcher.submit(loaded, query, seconds=self._deadline)
            except Overloaded:
                outdated = (
                    loaded.outdated_list(query.user, wanted.user_id, query)
                    if wanted.user_id is not None and _is_memorable(wanted, query)
                    else None
                )
                self.metrics.overloads.labels("refused" if outdated is None else "stored").inc()
                if outdated is None:
                    raise
                answer = outdated
            except DeadlineExceeded:
                answer = loaded.popular_list(query, f"no list within {self.settings.deadline_ms:g} ms")
            except Exception as error:
                log.exception("a list of arm %s failed", arm)
                answer = loaded.popular_list(query, f"{type(error).__name__}: {error}")
        if answer.fallback:
            self.metrics.fallbacks.labels(arm, answer.source).inc()
        return answer

    def _shadow(
        self, arm: str, deployment: Deployment, wanted: RecommendationRequest, shown: Exposure
    ) -> None:
        """The same question to an arm that nobody sees, after the answer has gone out."""
        if self.batcher.waiting > SHADOW_QUEUE or len(self._shadows) > SHADOW_QUEUE:
            self.metrics.shadows.labels(arm, "left_out").inc()
            return
        task = asyncio.create_task(self._recommend_shadow(arm, deployment, wanted, shown))
        self._shadows.add(task)
        task.add_done_callback(self._shadows.discard)

    async def _recommend_shadow(
        self, arm: str, deployment: Deployment, wanted: RecommendationRequest, shown: Exposure
    ) -> None:
        loaded = deployment.arms[arm]
        began = perf_counter()
        try:
            answer = await self.batcher.submit(
                loaded, to_query(loaded, wanted, self.recent_ratings), seconds=1.0
            )
        except Exception as error:
            self.metrics.shadows.labels(arm, "failed").inc()
            log.warning("shadow arm %s failed: %s", arm, type(error).__name__)
            return
        self.metrics.shadows.labels(arm, "answered").inc()
        exposure = to_exposure(
            f"{shown.exposure_id}-{arm}",
            shown.user_id,
            deployment,
            Assignment(arm, "share"),
            loaded,
            answer,
            (perf_counter() - began) * 1000,
        )
        self.writer.add_exposure(replace(exposure, shadow=True, experiment=shown.experiment))

    async def compute(self, function: Any, *arguments: Any) -> Any:
        """Any other work on a release that somebody waits for. Raises what it raises, ``Overloaded`` or
        ``DeadlineExceeded``."""
        async with self._admission.place(batched=False):
            return await self.compute_unlimited(function, *arguments)

    async def compute_unlimited(self, function: Any, *arguments: Any) -> Any:
        """The same for work that must not be refused."""
        return await self.batcher.call(lambda: function(*arguments), seconds=max(1.0, self._deadline))

    async def predict(self, user_id: str, values: Sequence[str]) -> PredictedRatings:
        """Stars for items that the user's arm must know (else KeyError with those it does not); ``values`` as
        in a query string."""
        deployment = self.deployment
        arm = deployment.assign(user_id, None).arm
        loaded = deployment.arms[arm]
        wanted = item_ids(loaded, values)
        unknown = [item for item in wanted if loaded.item(item) is None]
        if unknown:
            raise KeyError(unknown)
        query = to_query(loaded, RecommendationRequest(user_id=user_id), self.recent_ratings)
        stars, ends = await self.compute(loaded.recommender.predict_interval, query, loaded.items(wanted))
        return PredictedRatings(
            arm,
            deployment.arms[arm].release_id,
            item_ids=wanted,
            stars=[float(value) for value in stars],
            intervals=None
            if ends is None
            else [(float(low), float(high)) for low, high in zip(*ends, strict=True)],
        )

    async def similar(self, loaded: ServedRelease, row: int, count: int) -> list[Recommendation]:
        found: list[Recommendation] = await self.compute(
            loaded.recommender.similar, row, count + len(self._hidden(loaded))
        )
        return self._visible(loaded, found)[:count]

    async def popular(
        self, loaded: ServedRelease, count: int, genre: str | None, trending: bool
    ) -> list[Recommendation]:
        """Raises InputError for an unknown genre."""
        extra = count + len(self._hidden(loaded))
        found: list[Recommendation] = await self.compute(
            lambda: loaded.recommender.popular(extra, genre, trending=trending)
        )
        return self._visible(loaded, found)[:count]

    def _hidden(self, loaded: ServedRelease) -> set[int]:
        return set() if loaded.rules.hidden is None else set(loaded.rules.hidden.tolist())

    def _visible(self, loaded: ServedRelease, found: list[Recommendation]) -> list[Recommendation]:
        hidden = self._hidden(loaded)
        return [one for one in found if one.item not in hidden]

    # -- feedback ----------------------------------------------------------------------------------

    async def record_feedback(self, events: Sequence[Feedback]) -> set[str]:
        """The event ids that were new, once they are stored. Raises ``StoreUnavailable``."""
        events = await attach_predictions(
            events, deployment=self.deployment, recent=self.recent_ratings, compute=self.compute_unlimited
        )
        future = asyncio.wrap_future(self.writer.add_feedback(events))
        try:
            new = await asyncio.wait_for(asyncio.shield(future), ACKNOWLEDGE_SECONDS)
        except TimeoutError:
            raise StoreUnavailable("the event store took too long") from None
        for event in events:
            if event.event_id in new:
                self.recent_ratings.add(event)
        return new
