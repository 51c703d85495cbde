"""The service of one replica, without HTTP: its parts, the revision that it serves, and what it learns.

``lists`` answers for people, ``computation`` whatever else needs the recommender's thread.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from collections.abc import Sequence
from time import monotonic

from sqlalchemy.exc import SQLAlchemyError

from recsys.errors import InputError
from recsys.pseudonyms import fingerprint, pseudonym, pseudonym_key
from serving.catalogue.rule_set import RuleSet
from serving.domain import ExperimentState, Feedback
from serving.engine.background_lists import ListJob
from serving.engine.list_answers import ListAnswers
from serving.engine.list_computation import ListComputation
from serving.engine.live_catalogue import LiveCatalogue
from serving.engine.live_popularity import LivePopularity
from serving.engine.rating_predictions import attach_predictions
from serving.engine.recent_ratings import RecentRatings
from serving.engine.release_loader import Deployment, ReleaseLoader
from serving.engine.shadow_answers import ShadowAnswers
from serving.engine.shared_lists import SharedLists
from serving.engine.store_sync import StoreSync
from serving.events.event_writer import EventWriter, StoreUnavailable
from serving.events.rows import JournalEntry
from serving.events.rule_log import RuleConflict, save_rules
from serving.events.store import EventStore
from serving.experiments.experiment_metrics import check_thresholds
from serving.release_registry import resolve
from serving.service_metrics import ServiceMetrics
from serving.settings import Settings

log = logging.getLogger(__name__)
ACKNOWLEDGE_SECONDS = 5.0  # feedback not committed by then is answered with 503
STORE_ERRORS: tuple[type[Exception], ...] = (SQLAlchemyError, OSError)
STUCK_SECONDS = 30.0  # a worker that takes longer for one turn makes the replica unhealthy
SHARED_LISTS = "lists.shared"  # beside the spool
SAVE_METRICS_SECONDS = 1.0  # between copies of the metrics for the other replicas


class Service:
    """``start`` blocks until it can answer; the rest is for an event loop, except ``load`` and ``close``."""

    def __init__(self, settings: Settings, metrics: ServiceMetrics | None = None) -> None:
        self.settings = settings
        self.metrics = metrics or ServiceMetrics()
        self.store = EventStore(settings.events)
        self.recent_ratings = RecentRatings()
        rules = settings.rules
        self.release_loader = ReleaseLoader(rules, resolve, lists=settings.lists_path)
        self.catalogue = LiveCatalogue(self.store, rules, stored_lists=self.release_loader.stored_lists)
        self._deployment: Deployment | None = None
        self._changing = threading.Lock()  # of the deployment in service
        self._metrics_saved_at = 0.0
        self._flushed = {"batches": 0, "batched": 0, "lost": 0}
        self.popularity: LivePopularity | None = None
        self.closing = False

    def start(self) -> None:
        """Raises InputError where the experiment or a release cannot be served."""
        state = self._stored_state() or self.settings.experiment.state()
        self.activate(self.release_loader.load(state, None))
        self.writer = EventWriter(self.store, folder=self.settings.spool_folder)
        self.computation = ListComputation(
            self.metrics,
            deadline_ms=self.settings.deadline_ms,
            max_in_flight=self.settings.max_in_flight,
        )
        self.batcher = self.computation.batcher
        self.shared_lists = SharedLists(self.settings.spool_folder / SHARED_LISTS)
        self.lists = ListAnswers(
            lambda: self.deployment,
            computation=self.computation,
            writer=self.writer,
            recent_ratings=self.recent_ratings,
            shadows=ShadowAnswers(self.batcher, self.writer, self.metrics, self.recent_ratings),
            shared=self.shared_lists,
        )
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
            self._record_metrics()
            return self.store.experiment(self.settings.experiment.name)
        except InputError:
            raise
        except Exception as error:
            log.error("the event store cannot be read, starting without it: %s", type(error).__name__)
            return None

    def _record_metrics(self) -> None:
        """The deployment's metrics go to the journal, where a search that learns from clicks reads them."""
        settings = self.settings.experiment
        kept = [row.data for row in self.store.journal(kind="metrics", subject=settings.name)]
        if (settings.rules or kept) and kept[-1:] != [{"metrics": settings.rules}]:
            self.store.append("metrics", settings.name, {"metrics": settings.rules})

    @property
    def deployment(self) -> Deployment:
        assert self._deployment is not None, "the service has not been started"
        return self._deployment

    def activate(self, deployment: Deployment) -> None:
        """From now on this answers. Older revisions than the one in service are ignored."""
        with self._changing:
            before = self._deployment
            if before is not None and deployment.state.revision < before.state.revision:
                return
            deployment = self.catalogue.applied(deployment)
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
        metrics.deployment_changed(state.revision)

    def change(self, state: ExperimentState, *, expected: int, actor: str, reason: str) -> ExperimentState:
        """Open what ``state`` needs, store it, serve it: in that order, so that a release that cannot be
        trusted changes nothing. What is served already is no new revision. Blocks. Raises InputError or
        ``Conflict``."""
        before = self.deployment
        try:
            prepared = self.release_loader.load(state, before)
            check_thresholds(self.settings.experiment.measured(state.metrics), *prepared.scale)
        except InputError:
            self.metrics.loads.labels("refused").inc()
            raise
        stored = self.store.experiment(state.name)
        if stored is not None and stored.revision == expected and prepared.serves_as(before, stored):
            return stored
        saved = self.store.save_experiment(state, expected=expected, actor=actor, reason=reason)
        self.activate(self.release_loader.with_state(prepared, saved))
        return saved

    @property
    def scale(self) -> tuple[float, float]:
        """The lowest and highest rating, in stars."""
        return self.deployment.scale

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

    def refresh_catalogue(self) -> None:
        """Serves what was stored of items and rules since. Blocks; raises what the store does."""
        with self._changing:
            try:
                self.catalogue.refresh()
            finally:
                self._deployment = self.catalogue.applied(self.deployment)

    def change_rules(self, rules: RuleSet, *, expected: int, actor: str, reason: str) -> None:
        """``rules`` are stored and served, if ``expected`` is still their newest revision. Blocks.

        Raises:
            RuleConflict: it is not.
        """
        before = self.catalogue.rules
        if before.revision != expected:
            raise RuleConflict(before.revision)
        save_rules(self.store, rules, before=before, actor=actor, reason=reason)
        self.refresh_catalogue()

    def refresh_popularity(self) -> None:
        """Counts what was rated since the last call, for the first arm's popular items."""
        control, testers = self.deployment.control, self.deployment.state.overrides
        live = self.popularity
        if live is None or not live.is_of(control, self.recent_ratings, testers):
            live = LivePopularity(control, self.recent_ratings, testers)
        live.update()
        self.popularity = live

    def publish_metrics(self) -> None:
        """Gauges and counters that threads keep as plain numbers, brought to Prometheus."""
        self.metrics.waiting.set(self.writer.waiting)
        self.metrics.store.set(1 if self.writer.available else 0)
        self.flush_counts()
        if monotonic() - self._metrics_saved_at >= SAVE_METRICS_SECONDS:
            self._metrics_saved_at = monotonic()
            self.metrics.save()
            self.use_new_lists()

    def use_new_lists(self) -> None:
        """Looks up lists that have been stored since their release was opened."""
        for loaded in self.deployment.arms.values():
            if loaded.stored is None:
                loaded.stored = self.release_loader.stored_lists(loaded, loaded.rule_set)

    def missing_lists(self) -> list[ListJob]:
        """How the lists are made that are not stored yet, the first arm's first."""
        missing = [loaded for loaded in self.deployment.arms.values() if loaded.stored is None]
        jobs = [self.release_loader.list_job(loaded, self.settings.lists_cpu) for loaded in missing]
        return [job for job in jobs if job is not None]

    def erase_users(self, erasures: Sequence[JournalEntry]) -> None:
        """Keeps no rating of erased people from before their erasure, and nothing made of one."""
        key = pseudonym_key(self.settings.events)
        if any(entry.data.get("key") != fingerprint(key) for entry in erasures):
            log.warning("an erasure was named with another key: all recent ratings are read again")
            self.recent_ratings.replace_all(self.store.feedback(kind="rating"))
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
        self.shared_lists.clear()
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
        self.shared_lists.close()
        self.store.close()

    async def record_feedback(self, events: Sequence[Feedback]) -> set[str]:
        """The event ids that were new, once they are stored. Raises ``StoreUnavailable``."""
        events = await attach_predictions(
            events,
            deployment=self.deployment,
            recent=self.recent_ratings,
            compute=self.computation.call_unlimited,
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
