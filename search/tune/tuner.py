"""Tune's loop over a run's trials: proposals, pruning, and the ends that the outside asks for."""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ray import tune

from recsys.data.split import TrainingData
from recsys.ranking.list_validation import ListValidation
from recsys.training.trial_types import EpochReport, RunEvent, TrialResult, TrialSpec, TrialStatus
from recsys.types import JsonObject
from search.config.plan import SearchPlan
from search.results.run_info import RunStatus
from search.sampling.family_sampler import FamilySampler
from search.sampling.lanes import MOST_A_CARD, SINGLE_TRIAL, CardUse, Lanes
from search.sampling.remaining_work import Work
from search.sampling.trial_factory import Draw, Proposal
from search.sampling.trial_queue import TrialQueue
from search.tune.callbacks import Listener, RunCallback
from search.tune.heartbeat import HeartbeatMonitor
from search.tune.pruning import FamilyPruning
from search.tune.ray_cluster import Resources
from search.tune.trial_worker import GPU_LOST, TrialWorker, request_end
from search.tune.valid_ndcg import read_ndcg


class _Unresponsive(RuntimeError):
    """Trials did not end in time after they were asked to: they stay unfinished, with their checkpoints."""


class RunFailure(RuntimeError):
    """The run cannot continue (a full disk, say); its folder is kept and can be resumed."""


@dataclass
class Search:
    """One session of a search: Ray Tune over the run's trials.

    ``should_end()`` returns why to end now, None to continue; ``patience()`` is the seconds that trials have
    to end themselves once they were asked to; ``needs_gpu``: a GPU is paid for, so that no trial may run
    without; ``uses_gpu(number)``: whether a trial's family uses one; ``card``: measurements of the GPUs;
    ``lanes``: how many trials run at once, and with which resources.
    """

    run: Path
    plan: SearchPlan
    data: TrainingData
    lists: ListValidation | None
    families: dict[str, FamilySampler]
    compose: Callable[[int, Draw], Proposal]
    journal: Callable[[Proposal], None]
    listener: Listener
    should_end: Callable[[], RunStatus | None]
    tick: Callable[[], None]
    patience: Callable[[], float]
    needs_gpu: bool = False
    uses_gpu: Callable[[int], bool] = lambda number: False
    card: CardUse = field(default_factory=CardUse)
    lanes: Lanes = SINGLE_TRIAL
    ended_by: RunStatus | None = None
    _running: set[int] = field(default_factory=set)
    _end_requested: set[int] = field(default_factory=set)
    _deadline: float = 0.0  # of the running trials, once the search is over (monotonic seconds)
    _session: str = field(default_factory=lambda: uuid.uuid4().hex)

    def execute(self, work: Work, resources: Resources) -> None:
        """Run the remaining trials. Raises RunFailure where the run cannot continue."""
        if work.count == 0:
            return
        if self.needs_gpu and resources.lanes.gpu is None:
            raise RunFailure(f"{GPU_LOST}; Ray counts none")
        proposals = TrialQueue(
            families=self.families,
            numbers=work.numbers,
            unfinished=work.unfinished,
            compose=self.compose,
            journal=self.journal,
            is_open=lambda: self.ended_by is None,
            lane_of=lambda number: self.lanes.lane(self.uses_gpu(number)),
            deaths=self.plan.worker_deaths,
        )
        self.lanes = resources.lanes
        for proposal, result in [*work.earlier, *work.done]:
            proposals.replay(proposal, result, read_ndcg(self.run / result.folder))
        longest = max(self.plan.epochs, self.plan.baseline_epochs or 1, self.plan.reference.epochs)
        pruning = FamilyPruning(self.plan.pruning, max_epochs=longest, prune=self._prune)
        pruning.replay(result for _, result in work.done)
        callback = RunCallback(
            run=self.run,
            listener=_RunningTrials(self, self.listener),
            tick=lambda: self._tick(callback),
            is_abandoned=proposals.is_abandoned,
            silence=HeartbeatMonitor(
                floor=self.plan.silence_seconds,
                ratings=len(self.data.train),
                lists="ndcg_at_10" in self.plan.objectives,
            ),
        )
        storage = self.run / ".tune"
        try:
            self._fit(proposals, pruning, callback, count=work.count, storage=storage)
        except _Unresponsive:
            return
        finally:
            shutil.rmtree(storage, ignore_errors=True)

    def _fit(
        self,
        proposals: TrialQueue,
        pruning: FamilyPruning,
        callback: RunCallback,
        *,
        count: int,
        storage: Path,
    ) -> None:
        worker = tune.with_parameters(
            TrialWorker,
            data=self.data,
            lists=self.lists,
            run=str(self.run),
            session=self._session,
            checkpoint_seconds=self.plan.checkpoint_seconds,
            small_batch=self.plan.small_batch,
            rank="ndcg_at_10" in self.plan.objectives,
            needs_gpu=self.needs_gpu,
        )
        tuner = tune.Tuner(
            tune.with_resources(worker, _requested_resources),
            tune_config=tune.TuneConfig(
                metric="rmse",
                mode="min",
                search_alg=proposals,
                scheduler=pruning,
                num_samples=count * (1 + self.plan.worker_deaths),
                max_concurrent_trials=self.lanes.sharing(MOST_A_CARD).at_once,  # lanes say how many
                reuse_actors=True,
                trial_name_creator=_trial_name,
                trial_dirname_creator=_trial_name,
            ),
            run_config=tune.RunConfig(
                name="trials",
                storage_path=str(storage),
                verbose=0,
                callbacks=[callback],
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
                failure_config=tune.FailureConfig(max_failures=0),
            ),
        )
        tuner.fit()

    def _prune(self, number: int) -> None:
        if number not in self._end_requested:
            self._end_requested.add(number)
            request_end(self._session, number, TrialStatus.PRUNED)

    def _tick(self, callback: RunCallback) -> None:
        if callback.fatal:
            raise RunFailure(callback.fatal)
        if self.ended_by is None:
            self.ended_by = self.should_end()
            if self.ended_by is not None:
                self._deadline = time.monotonic() + self.patience()
        elif time.monotonic() > self._deadline:
            raise _Unresponsive
        if self.ended_by is not None:
            for number in self._running - self._end_requested:
                self._end_requested.add(number)
                request_end(self._session, number, TrialStatus.STOPPED)
        self.tick()

    def measured(self, spec: TrialSpec, report: EpochReport) -> None:
        """Choose how many trials to come share a card, where the plan leaves that open."""
        alone = self.lanes.gpu is not None and self.lanes.trials_a_card == 1
        if self.plan.gpus_per_trial is not None or not alone or not self.uses_gpu(spec.number):
            return
        if report.epoch > 1:  # the first has a start in it
            self.card.epoch(report.seconds, report.memory_share)
            self.lanes = self.lanes.sharing(self.card.trials)

    def running(self, number: int) -> None:
        self._running.add(number)

    def not_running(self, number: int) -> None:
        self._running.discard(number)


@dataclass
class _RunningTrials:
    """Keeps the search's own account of what runs, and passes everything on."""

    search: Search
    listener: Listener

    def trial_started(self, spec: TrialSpec) -> None:
        self.search.running(spec.number)
        self.listener.trial_started(spec)

    def epoch(self, spec: TrialSpec, report: EpochReport) -> None:
        self.search.measured(spec, report)
        self.listener.epoch(spec, report)

    def event(self, event: RunEvent) -> None:
        self.listener.event(event)

    def trial_finished(self, result: TrialResult) -> None:
        self.search.not_running(result.spec.number)
        self.listener.trial_finished(result)


def _requested_resources(config: JsonObject) -> tune.PlacementGroupFactory:
    """The resources that a trial requests of Ray, by its lane."""
    return tune.PlacementGroupFactory([config["resources"]])


def _trial_name(trial: tune.experiment.Trial) -> str:
    return f"{trial.config['number']:04d}"
