"""What a Ray worker runs: a Trial driven one epoch at a time, the same worker for one trial after another.

A list trial is one step where it fits in closed form, and a step an epoch where its family trains by
epochs; it keeps no checkpoint, so one that is handed out again begins anew.

The search's decision to end a trial (pruned, or stopped by the budget or an interrupt) reaches it as a
word in Ray's key-value store, read before each epoch: so a trial always ends itself, its files are
complete before the search hears of its end, and a trial without result.json is one to continue.
After a restart the epochs so far are reported again, untrained, before training goes on: so a rung sees
the figures that it would have seen, and a decision that was lost with the driver is taken again.
All that takes long is a step, the opening of a trial too: a worker that hangs is seen by its silence.
"""

from __future__ import annotations

import errno
import json
import math
import os
import time
import traceback
from collections.abc import Generator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ray import tune

from clusters.trial_sync import is_local, pull, push
from recsys.data.split import TrainingData
from recsys.models.optim.device import has_gpu, is_lost
from recsys.ranking.list_validation import ListFigures, ListValidation
from recsys.training.serialization import plain
from recsys.training.trial import Trial
from recsys.training.trial_types import EpochReport, RunEvent, TrialSpec, TrialStatus
from recsys.types import JsonObject
from search.config.tracks import search_family
from search.storage.trial_dir import (
    CHECKPOINT,
    RESULT,
    read_result,
    trial_folder,
    write_failure,
    write_list_trial,
)
from search.tune.ray_internals import get_value, put_value
from search.tune.valid_ndcg import valid_ndcg

GPU_LOST = "the GPU that is paid for is gone: the search would go on on the CPU at the GPU's price"
DISK_FULL = {errno.ENOSPC, errno.EDQUOT}


def request_end(session: str, number: int, status: TrialStatus) -> None:
    """Ask trial ``number`` to end itself with ``status`` before its next epoch."""
    put_value(_key(session, number), status.value)


def requested_end(session: str, number: int) -> TrialStatus | None:
    """The end that was requested of trial ``number``, or None."""
    word = get_value(_key(session, number))
    return None if word is None else TrialStatus(word)


def _key(session: str, number: int) -> bytes:
    return f"breakthrough/{session}/{number}".encode()


class TrialWorker(tune.Trainable):  # type: ignore[misc]
    """One trial after another. ``data`` lies in Ray's object store and is mapped, not copied."""

    def setup(
        self,
        config: JsonObject,
        data: TrainingData | None = None,
        lists: ListValidation | None = None,
        run: str = "",
        session: str = "",
        checkpoint_seconds: float = 15.0,
        rank: bool = False,
        small_batch: bool = False,
        needs_gpu: bool = False,
    ) -> None:
        """``lists``: what list trials are judged on, where there are any.
        ``rank``: lists are an objective too, so each trial that ends is judged by its lists on valid.
        ``small_batch``: the GPU's own row asks for batch 1536. ``needs_gpu``: a GPU is paid for, so that a
        trial without one ends the run."""
        assert data is not None
        self._data, self._run, self._session = data, Path(run), session
        self._lists = lists
        self._checkpoint_seconds, self._rank, self._small_batch = checkpoint_seconds, rank, small_batch
        self._needs_gpu = needs_gpu
        self._carries = not is_local(self._run)
        self._begin(config)

    def reset_config(self, new_config: JsonObject) -> bool:
        self._begin(new_config)
        return True

    def step(self) -> JsonObject:
        try:
            return self._step()
        except OSError as error:
            if error.errno in DISK_FULL:
                return self._row(None, done=True, fatal=f"the disk is full: {error}")
            return self._failed(error)
        except Exception as error:
            if self._trial is not None and is_lost(self._trial.device):
                raise  # nothing is wrong with the trial: it goes on in a new process, or ends the run there
            return self._failed(error)

    def cleanup(self) -> None:
        del self._trial

    def _begin(self, config: JsonObject) -> None:
        self._spec = TrialSpec(**config["spec"])
        self._folder = trial_folder(self._run, self._spec.number)
        self._trial: Trial | None = None
        self._reported_events = 0
        self._repeat: list[EpochReport] = []
        self._best = math.inf
        self._opened = False
        self._judging: Generator[float, None, ListFigures] | None = None
        self._judged_epochs = 0
        self._saved_at = time.monotonic()

    def _open(self) -> None:
        self._opened = True
        if self._carries:
            pull(self._folder)
        if (self._folder / RESULT).exists() or self._spec.track == "lists":
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        self._trial = Trial(
            self._spec, self._data, folder=self._folder, small_batch_allowed=self._small_batch
        )
        checkpoint = self._folder / CHECKPOINT
        if checkpoint.exists():
            self._trial.load(checkpoint)
            self._repeat = list(self._trial.reports)

    def _step(self) -> JsonObject:
        if not self._opened:
            self._open()
        if self._spec.track == "lists" and not (self._folder / RESULT).exists():
            return self._list_trial()
        if self._trial is None:
            return self._final_row(None)
        if self._needs_gpu and self._trial.family.uses_gpu and not has_gpu():
            return self._row(None, done=True, fatal=f"{GPU_LOST}; torch sees none on {os.uname().nodename}")
        if self._repeat:
            return self._row(self._repeat.pop(0))
        requested = requested_end(self._session, self._spec.number)
        if requested is TrialStatus.STOPPED:
            return self._stopped()
        if requested is not None or self._trial.finished:
            self._trial.finish(requested or TrialStatus.FINISHED)
            return self._final_row(None)
        report = self._trial.step()
        if self._trial.finished:
            self._trial.finish(TrialStatus.FINISHED)
            return self._final_row(report)
        if time.monotonic() - self._saved_at >= self._checkpoint_seconds:
            self._save()
        return self._row(report, trained=True)

    def _list_trial(self) -> JsonObject:
        """A list trial: a fit, of which an epoch is a step, and the lists of the people who judge it."""
        requested = requested_end(self._session, self._spec.number)
        if requested is TrialStatus.STOPPED:
            return self._row(None, done=True, status=TrialStatus.STOPPED.value)
        figures = None
        if requested is None:
            assert self._lists is not None
            if self._judging is None:
                config = search_family(self._spec.family).config(self._spec.config)
                self._judging = self._lists.evaluate_by_epochs(self._spec.family, config)
            try:
                ndcg = next(self._judging)
            except StopIteration as end:
                figures = end.value
            else:
                self._judged_epochs += 1
                return self._row(None, epoch=self._judged_epochs, ndcg_at_10=ndcg)
        write_list_trial(self._folder, self._spec, figures)
        self._judging = None
        return self._final_row(None)

    def _stopped(self) -> JsonObject:
        """Ended by the budget or an interrupt: usable as it is, and kept so that it can go on."""
        assert self._trial is not None
        if not self._trial.reports:
            return self._row(None, done=True, status=TrialStatus.STOPPED.value)
        self._save()
        self._trial.finish(TrialStatus.STOPPED)
        return self._final_row(None)

    def _save(self) -> None:
        assert self._trial is not None
        self._trial.save(self._folder / CHECKPOINT)
        self._saved_at = time.monotonic()
        if self._carries:
            push(self._folder)

    def _new_events(self) -> list[RunEvent]:
        events: list[RunEvent] = [] if self._trial is None else list(self._trial.events)
        new, self._reported_events = events[self._reported_events :], max(self._reported_events, len(events))
        return new

    def _row(self, report: EpochReport | None, *, done: bool = False, **more: Any) -> JsonObject:
        if report is not None and math.isfinite(report.rmse):
            self._best = min(self._best, report.rmse)
        return {
            "number": self._spec.number,
            "epoch": 0 if report is None else report.epoch,
            "rmse": self._best,
            "report": None if report is None else json.dumps(asdict(report)),
            "events": json.dumps(plain(self._new_events())),
            "done": done,
            **more,
        }

    def _final_row(self, report: EpochReport | None) -> JsonObject:
        """The last row: the trial's result is on disk."""
        result = read_result(self._folder)
        row = self._row(report, done=True, status=result.status.value, loss=result.loss, gap=result.gap)
        row["rmse"] = math.inf if result.rmse is None else result.rmse
        row["epoch"] = result.reports[-1].epoch if result.reports else 0
        if self._rank and result.rmse is not None:
            row["ndcg_at_10"] = valid_ndcg(self._folder, self._data)
        row |= result.list_metrics
        if self._carries:
            push(self._folder)
        self._trial = None
        return row

    def _failed(self, error: Exception) -> JsonObject:
        """A trial that cannot go on is recorded with its reason; the search does."""
        reason = f"{type(error).__name__}: {error}"
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "traceback.txt").write_text("".join(traceback.format_exception(error)))
        if self._trial is not None and self._trial.reports:
            self._trial.finish(TrialStatus.FAILED, error=reason)
        else:
            write_failure(self._folder, self._spec, error=reason)
        return self._final_row(None)
