"""Progress on the terminal: a live block, or plain lines where output is not a terminal.

Plain lines are one for each trial that ends or sign of trouble, and a summary every so often.
"""

from __future__ import annotations

import sys
import time
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from recsys.training.trial_types import EpochReport, EventKind, RunEvent, TrialResult, TrialSpec, TrialStatus
from search.run.budget import Meter, hours
from search.run.projection import Projector
from search.run.run_state import RunState

SUMMARY_SECONDS = 30.0
REFRESH_SECONDS = 0.5
QUIET = {EventKind.STARTED, EventKind.FINISHED, EventKind.BUDGET}


class ProgressDisplay:
    """Shows the run's state, its budget and its projected end, until ``close``."""

    def __init__(
        self, run_state: RunState, meter: Meter, projector: Projector, *, stream: TextIO | None = None
    ) -> None:
        self._run_state, self._meter, self._projector = run_state, meter, projector
        self._console = Console(file=stream or sys.stdout, highlight=False, soft_wrap=True)
        self._recent: list[str] = []
        self._shown = 0.0
        self._live: Live | None = None
        if self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()

    def log(self, text: str) -> None:
        """One line that stays."""
        self._console.print(text, markup=False)

    def trial_started(self, spec: TrialSpec) -> None:
        self.refresh()

    def epoch(self, spec: TrialSpec, report: EpochReport) -> None:
        self.refresh()

    def trial_finished(self, result: TrialResult) -> None:
        spec = result.spec
        text = f"trial {spec.number:>3} {spec.family:<12} {result.status.value:<8} {spec.name}: "
        if result.status is TrialStatus.FAILED:
            text += result.error
        elif result.list_metrics:
            text += f"NDCG@10 {result.list_metrics['ndcg_at_10']:.4f} ({result.seconds:.1f} s)"
        elif result.rmse is not None and result.loss is not None:
            text += (
                f"loss {result.loss:.4f}, rmse {result.rmse:.4f} "
                f"(epoch {result.best_epoch} of {len(result.reports)}, {result.seconds:.0f} s)"
            )
        self.log(text)
        self.refresh()

    def event(self, event: RunEvent) -> None:
        if event.kind in QUIET and not event.message:
            return
        self.log(event.message if event.kind in QUIET else f"  {event_text(event)}")

    def refresh(self, *, force: bool = False) -> None:
        """Redraw the block, or print a summary line where there is no terminal, when it is due."""
        now = time.monotonic()
        if self._live is not None:
            if force or now - self._shown >= REFRESH_SECONDS:
                self._shown = now
                self._live.update(self._block(), refresh=True)
        elif force or now - self._shown >= SUMMARY_SECONDS:
            self._shown = now
            self.log(self.summary())

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def summary(self) -> str:
        """Where the run stands, on one line."""
        run_state = self._run_state
        states = ", ".join(f"{count} {name}" for name, count in run_state.by_status().items())
        best = run_state.best
        figures = (
            f"best loss {best.loss:.4f}, rmse {best.rmse:.4f} (trial {best.spec.number})"
            if best is not None and best.loss is not None and best.rmse is not None
            else "no figures yet"
        )
        done = f"{len(run_state.finished)} of {run_state.planned} trials done" + (
            f" ({states})" if states else ""
        )
        waiting = run_state.remaining - len(run_state.running)
        parts = [f"{done}, {len(run_state.running)} running, {waiting} to come", figures, self._times()]
        return "; ".join(filter(None, [*parts, run_state.signs_text()]))

    def _times(self) -> str:
        now = self._run_state.clock()
        meter = self._meter
        used = meter.hours(now)
        projection = self._projector.project(now)
        if projection is None:
            return f"{hours(used)} used"
        text = f"{hours(used)} used, {projection.text()}"
        if meter.budget.usd_per_hour:
            more = (projection.end_hours - used) * meter.budget.usd_per_hour
            text += (
                f", ${meter.usd(now):.2f} spent, ${meter.usd(now) + more:.2f} projected "
                f"of ${meter.budget.max_usd:.2f}"
            )
        return text

    def _block(self) -> Group:
        run_state = self._run_state
        table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False)
        for name in ("running", "family", "epoch", "loss", "rmse", "gap"):
            table.add_column(name, justify="left" if name in {"running", "family"} else "right")
        for running in run_state.running.values():
            spec, report = running.spec, running.report
            row = ["", "", "", ""]
            if report is not None:
                row = [
                    f"{report.epoch}/{spec.epochs}",
                    f"{report.loss:.4f}",
                    f"{report.rmse:.4f}",
                    f"{report.gap:+.3f}",
                ]
            table.add_row(f"{spec.number} {spec.name}"[:40], spec.family, *row)
        bar = ProgressBar(total=max(run_state.planned, 1), completed=len(run_state.finished), width=50)
        return Group(bar, Text(self.summary()), table)


def event_text(event: RunEvent) -> str:
    """An event on one line: trial and epoch, kind, value and threshold, action."""
    text = f"{event.kind.value}: "
    if event.trial is not None and event.kind is not EventKind.NEW_BEST:
        text += f"trial {event.trial}" + (f", epoch {event.epoch}" if event.epoch is not None else "") + ": "
    text += event.message
    if event.value is not None and event.threshold is not None and event.kind is not EventKind.BUDGET:
        text += f" ({event.value:.4g}, threshold {event.threshold:.4g})"
    return text + (f" -> {event.action}" if event.action else "")
