"""One session of a run: search, finishing, output files."""

from __future__ import annotations

import time
from dataclasses import replace

from recsys.steady_clock import steady_time
from recsys.training.trial_types import EventKind, RunEvent, TrialResult, TrialStatus
from search.finalize.finalizer import Finalizer
from search.finalize.finished_run import FinishedRun
from search.finalize.reserve import finish_seconds
from search.finalize.run_summary import summarize_run
from search.report import write_report
from search.report.plot import progress_png
from search.results import read_results, summary_text, write_results
from search.results.build import start_results
from search.results.metrics import metrics_on
from search.results.run_info import RunStatus
from search.results.schema import Results
from search.run.context import RunContext
from search.run.early_end import early_end
from search.run.forecasts import ForecastLog, floor_seconds
from search.run.listeners import FanOutListener
from search.run.progress import ProgressDisplay
from search.run.projection import Projector
from search.run.run_state import RunState
from search.run.signals import InterruptHandler
from search.sampling.lanes import CardUse
from search.storage.run_dir import RunFolder
from search.tracking import Tracker
from search.tracking.promotion import gate_answers
from search.tune.ray_cluster import Resources, ray_cluster
from search.tune.tuner import Search

EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED = 0, 1, 130
SAVE_SECONDS = 5.0


class SearchRun:
    """One session of a run: its state, listeners and budget. ``began`` is Unix seconds."""

    def __init__(self, prepared: RunContext, folder: RunFolder, *, began: float) -> None:
        self.prepared, self.folder, self.began = prepared, folder, began
        plan = prepared.plan
        self.run_state = RunState(planned=prepared.planned, clock=time.time)
        for _, result in prepared.work.done:
            self.run_state.ended(result)
        self.meter = prepared.meter(began)
        slots = () if prepared.composer is None else prepared.composer.sequence
        self.projector = Projector(plan, slots, self.run_state, self.meter)
        self.forecasts = ForecastLog(prepared.about, self.projector, self.meter)
        self.forecasts.before(plan, prepared.cluster)
        self.progress = ProgressDisplay(self.run_state, self.meter, self.projector)
        self.tracker = Tracker.open(
            folder.path,
            name=folder.path.name,
            params=plan.model_dump(mode="json"),
            resume=prepared.resumed,
        )
        self.notifier = prepared.notifier
        self.everyone = FanOutListener(
            folder, self.run_state, self.progress, self.tracker, self.notifier, self.projector
        )
        self.interrupts = InterruptHandler(self._interrupted)
        self._saved = 0.0
        self.searching: Search | None = None

    def run(self) -> int:
        """Search, finish and report; returns the exit code."""
        try:
            with self.interrupts:
                self._announce_start()
                ended_by, resources = self._search()
                self.progress.close()
                return self._finish(ended_by, resources)
        finally:
            self.progress.close()
            self._save_time(force=True)
            self.notifier.close()
            unsent = self.tracker.close()
            if unsent:
                print(unsent)

    def _interrupted(self) -> None:
        self.progress.log(
            "\nending: running trials stop at a checkpoint, then ensemble and release from what there is "
            "(Ctrl-C again to stop now)"
        )

    def _announce_start(self) -> None:
        prepared = self.prepared
        for line in prepared.introduction():
            self.progress.log(line)
        word = "resumed" if prepared.resumed else "started"
        message = f"{word} {self.folder.path.name}: {prepared.planned} trials on {prepared.dataset.name}"
        self.everyone.event(RunEvent(EventKind.STARTED, at=self.began, message=message))

    def _search(self) -> tuple[RunStatus | None, Resources | None]:
        prepared = self.prepared
        plan = prepared.plan
        if prepared.work.count == 0:
            return None, None
        began = time.perf_counter()
        with ray_cluster(
            concurrency=plan.concurrency,
            gpus_per_trial=1.0 if plan.gpus_per_trial is None else plan.gpus_per_trial,
            data_bytes=prepared.data_bytes(),
        ) as resources:
            self.progress.log(resources.described())
            self.projector.lanes = resources.lanes
            search = Search(
                run=self.folder.path,
                plan=plan,
                data=prepared.data,
                lists=prepared.lists,
                families=prepared.families(),
                compose=prepared.compose,
                journal=lambda proposal: self.folder.journal(proposal.spec, proposal.draws),
                listener=self.everyone,
                should_end=self._should_end,
                tick=self._tick,
                patience=lambda: self.meter.patience(
                    steady_time(), epoch_seconds=self.run_state.epoch_seconds
                ),
                needs_gpu=prepared.cluster is not None and prepared.cluster.needs_gpu,
                uses_gpu=prepared.uses_gpu,
                card=CardUse(floor_seconds(plan, prepared.cluster, ratings=len(prepared.data.train))),
            )
            self.searching = search
            search.execute(prepared.work, resources)
            resources = replace(resources, lanes=search.lanes)
        prepared.seconds["search"] = time.perf_counter() - began
        return search.ended_by, resources

    def _should_end(self) -> RunStatus | None:
        if self.interrupts.requested:
            return "interrupted"
        ended = list(self.run_state.finished.values())
        price, at_once = self.meter.budget.usd_per_hour, self.projector.lanes.at_once
        if early := early_end(self.prepared.plan, ended, usd_per_hour=price, at_once=at_once):
            status, reason = early
            self.everyone.event(RunEvent(EventKind.BUDGET, at=time.time(), message=reason))
            return status
        self.meter.finish_seconds = finish_seconds(
            self.prepared.plan, ended, self.prepared.split, slowdown=self.run_state.slowdown
        )
        if self.meter.search_is_over(steady_time(), epoch_seconds=self.run_state.epoch_seconds):
            self.progress.log("the budget's share of the search is used up: ending the running trials")
            return "budget"
        return None

    def _tick(self) -> None:
        now = steady_time()
        prepared = self.prepared
        self._follow_lanes()
        self.forecasts.first_epochs(now)
        self.forecasts.throughput(prepared.plan, prepared.cluster, ratings=len(prepared.data.train))
        mark = self.meter.milestone(now)
        if mark is not None:
            self.everyone.event(self._budget_event(mark, now))
        self._save_time()
        self.progress.refresh()

    def _follow_lanes(self) -> None:
        """Pass the lanes that trials run on now to the projection; log a change."""
        if self.searching is None or self.searching.lanes == self.projector.lanes:
            return
        self.projector.lanes = self.searching.lanes
        card = f"{self.projector.lanes.trials_a_card} trials a card from now on: {self.searching.card.text()}"
        self.progress.log(card)

    def _budget_event(self, mark: float, now: float) -> RunEvent:
        budget = self.meter.budget
        spent = f"{self.meter.hours(now):.2f} h"
        if budget.usd_per_hour:
            spent += f", ${self.meter.usd(now):.2f} of ${budget.max_usd:.2f}"
        return RunEvent(
            EventKind.BUDGET,
            at=now,
            value=self.meter.share(now),
            threshold=mark,
            message=f"{mark:.0%} of the budget is used ({spent})",
        )

    def _save_time(self, *, force: bool = False) -> None:
        """Store the seconds used, so that a resumed run's budget counts them."""
        now = steady_time()
        if force or now - self._saved >= SAVE_SECONDS:
            self._saved = now
            used, usd = self.meter.hours(now) * 3600, self.meter.usd(now)
            self.folder.write_about(self.prepared.about_after(used, usd=usd))

    def _finish(self, ended_by: RunStatus | None, resources: Resources | None) -> int:
        prepared = self.prepared
        trials = self.folder.results()
        finishing = Finalizer(
            self.folder.path,
            prepared.plan,
            prepared.dataset,
            prepared.split,
            lists=prepared.lists,
            log=self.progress.log,
            seconds_left=lambda: self.meter.seconds_left(steady_time()),
            reserve=60 * prepared.plan.finish_minutes * self.run_state.slowdown,
        )
        if note := prepared.repeated_test_note():
            self.progress.log(note)
        folder = self.folder
        finished = finishing.finish(
            trials,
            start_results(
                name=folder.path.name,
                command=prepared.about["command"],
                started=float(prepared.about["created"]),
                plan=prepared.plan.model_dump(mode="json"),
                dataset=prepared.dataset,
                split=prepared.split,
                trials=trials,
            ),
        )
        incomplete = len(trials) < prepared.planned or any(
            trial.status is TrialStatus.STOPPED for trial in trials
        )
        status: RunStatus = "finished"
        if incomplete and ended_by is not None:
            status = ended_by
        self._tick()  # finishing uses the budget too, and may be what crosses a milestone
        self._report_no_improvement(finished.results)
        self._write_outputs(finished, trials, status, steady_time(), resources)
        return EXIT_INTERRUPTED if status == "interrupted" else EXIT_DONE

    def _report_no_improvement(self, results: Results) -> None:
        """The plan's last contingency: the best searched trial does not beat the formula."""
        best, formula = results.best, results.formula
        best_rmse, formula_rmse = (metrics_on(model, "valid").rmse for model in (best, formula))
        if best is None or formula is None or best_rmse is None or formula_rmse is None:
            return
        if best.trial != formula.trial and best_rmse < formula_rmse:
            return
        self.everyone.event(
            RunEvent(
                EventKind.CONTINGENCY,
                at=time.time(),
                trial=best.trial,
                value=best_rmse,
                threshold=formula_rmse,
                message="no improvement over the formula within the budget",
                action="the ensemble is made of what there is",
            )
        )

    def _write_outputs(
        self,
        finished: FinishedRun,
        trials: list[TrialResult],
        status: RunStatus,
        now: float,
        resources: Resources | None,
    ) -> None:
        """Write results.json, trials.json and report.html; send the end to MLflow, webhooks and console."""
        best, results, folder = self.run_state.best, finished.results, self.folder.path
        message = f"{status}: {len(self.run_state.finished)} of {self.run_state.planned} trials ended"
        test = metrics_on(results.ensemble, "test")
        if test.loss is not None and test.rmse is not None:
            message += f"; ensemble on test: loss {test.loss:.4f}, rmse {test.rmse:.4f} stars"
        if self.run_state.signs:
            message += f"; {self.run_state.signs_text()}"
        self.everyone.event(
            RunEvent(EventKind.FINISHED, at=now, value=None if best is None else best.rmse, message=message)
        )
        summarize_run(
            results,
            self.prepared,
            self.folder,
            trials,
            status=status,
            meter=self.meter,
            now=now,
            resources=resources,
        )
        began = time.perf_counter()
        if finished.release is not None:
            stars, prepared = finished.gate_stars, self.prepared
            gate = None if stars is None else gate_answers(prepared.dataset, prepared.split, stars)
            results.promotion = self.tracker.promote(results, finished.release, gate=gate)
        write_results(folder, results, trials)
        write_report(folder)
        results.seconds["report"] = time.perf_counter() - began
        results.seconds["total"] = steady_time() - self.began
        write_results(folder, results, trials)
        self.tracker.finish(results)
        self.notifier.finish(message, progress_png(trials))
        print(summary_text(read_results(folder)))
