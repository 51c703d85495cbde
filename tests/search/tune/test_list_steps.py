"""A list trial in a worker: an epoch a step where its family trains by epochs, ended between two of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys.data.synthetic import generate
from recsys.ranking.list_validation import ListValidation
from recsys.training.trial_types import TrialSpec, TrialStatus
from search.finalize.list_choice import list_trials
from search.storage.trial_dir import read_result, trial_folder
from search.tune import trial_worker
from search.tune.trial_worker import TrialWorker
from tests.small_ratings import checkerboard, training_data

RATINGS = generate(users=80, items=50, ratings=1500, seed=0).dataset.ratings
LISTS = ListValidation.of(RATINGS, shape="random", seed=0, draws=1)
CONFIGS = {"hybrid_vae_lists": {"latent": 8, "hidden": 8, "epochs": 3}, "ease": {}}


def worker_of(folder: Path, family: str, monkeypatch: pytest.MonkeyPatch) -> TrialWorker:
    """A worker without Ray at the start of a trial of ``family``."""
    monkeypatch.setattr(trial_worker, "is_local", lambda folder: True)
    monkeypatch.setattr(trial_worker, "requested_end", lambda session, number: None)
    spec = TrialSpec(0, "first", family, CONFIGS[family], epochs=1, seed=0, track="lists")
    made = object.__new__(TrialWorker)
    data = training_data(checkerboard(users=30, items=20))
    made.setup({"number": 0, "spec": vars(spec)}, data=data, lists=LISTS, run=str(folder))
    return made


@pytest.mark.parametrize("family", CONFIGS)
def test_every_epoch_is_a_row_and_the_last_has_the_lists_figures(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = worker_of(tmp_path, family, monkeypatch)
    rows = [worker.step()]
    while not rows[-1]["done"]:
        rows.append(worker.step())
    *epochs, last = rows
    assert [row["epoch"] for row in epochs] == list(range(1, len(epochs) + 1))
    assert len(epochs) == (0 if family == "ease" else 3)
    assert all(row["ndcg_at_10"] > 0 for row in epochs)
    (trial,) = list_trials([read_result(trial_folder(tmp_path, 0))])
    figures = LISTS.evaluate(family, trial.config)
    assert (last["status"], last["ndcg_at_10"]) == ("finished", figures.ndcg)


def test_a_pruned_list_trial_ends_before_its_next_epoch_and_is_in_no_blend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = worker_of(tmp_path, "hybrid_vae_lists", monkeypatch)
    assert not worker.step()["done"]
    monkeypatch.setattr(trial_worker, "requested_end", lambda session, number: TrialStatus.PRUNED)
    row = worker.step()
    assert (row["done"], row["status"]) == (True, "pruned")
    result = read_result(trial_folder(tmp_path, 0))
    assert result.status is TrialStatus.PRUNED
    assert list_trials([result]) == []
