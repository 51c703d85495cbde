"""What people hear of a run: the first of a sign that nearly every trial shows, all of the others."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest

from recsys.notifications import Notifier
from recsys.training.trial_types import EventKind, RunEvent
from search.config.plan import SearchPlan
from search.run.budget import Budget, Meter
from search.run.listeners import FanOutListener
from search.run.progress import ProgressDisplay
from search.run.projection import Projector
from search.run.run_state import RunState
from search.storage.run_dir import RunFolder
from search.tracking import Tracker
from tests.empty_mlflow import place_empty_mlflow


@pytest.mark.slow
def test_a_sign_of_nearly_every_trial_is_told_once_and_counted(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run")
    folder.write_plan(SearchPlan(), {})
    run_state = RunState(planned=9, clock=time.time)
    shown = io.StringIO()
    meter = Meter(Budget(price_usd=0, nodes=1, max_usd=1, max_hours=None, finish_hours=0), time.time())
    projector = Projector(SearchPlan(), (), run_state, meter)
    progress = ProgressDisplay(run_state, meter, projector, stream=shown)
    uri = place_empty_mlflow(tmp_path / "mlflow.db")
    tracker = Tracker.open(folder.path, name="run", params={}, uri=uri)
    everyone = FanOutListener(folder, run_state, progress, tracker, Notifier(()), projector)
    for trial in range(4):
        everyone.event(RunEvent(EventKind.GRADIENT, at=0.0, trial=trial, epoch=1, value=12.0, threshold=10.0))
        everyone.event(RunEvent(EventKind.COLLAPSE, at=0.0, trial=trial, epoch=1, value=0.0, threshold=0.01))
    messages = shown.getvalue()
    assert messages.count("gradient_norm:") == 1
    assert "only counted" in messages
    assert messages.count("posterior_collapse:") == 4
    assert "gradient_norm x4" in progress.summary()
    assert len(folder.events()) == 8
    tracker.close()
    folder.close()
