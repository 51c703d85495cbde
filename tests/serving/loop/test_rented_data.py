"""A search on rented machines gets the merged ratings as files, with titles, genres and lineage."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recsys.data.data_spec import DataSpec
from search.breakthrough import parser
from serving.domain import Feedback
from serving.events.item_log import ItemChange, save_items
from serving.events.store import EventStore
from serving.loop.loop_decisions import Phase
from serving.loop.loop_journal import LoopRecord, LoopState
from serving.loop.loop_settings import LoopSettings, SearchSettings
from serving.loop.rented_data import is_rented
from serving.loop.training_steps import TrainingSteps

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    spec = DataSpec(data="synthetic:users=50,items=40,ratings=600")
    (tmp_path / "champion").mkdir()
    (tmp_path / "champion" / "run.json").write_text(json.dumps({"source": spec.to_json()}))
    return tmp_path / "champion"


@pytest.fixture
def store(tmp_path: Path) -> EventStore:
    made = EventStore(str(tmp_path / "events.db"))
    made.create_tables()
    made.add(feedback=[Feedback("e1", None, "new", "rating", "added", 5.0, 1e9)])
    save_items(made, [ItemChange("added", {"title": "An Added Film", "genres": ["Drama"]})], actor="test")
    return made


def steps(store: EventStore, tmp_path: Path, cluster: str | None) -> TrainingSteps:
    settings = LoopSettings(folder=str(tmp_path / "loop"), search=SearchSettings(cluster=cluster))
    return TrainingSteps(settings, store, events=store.url, experiment="main")


def test_rented_machines_get_files_that_hold_the_merged_data(
    tmp_path: Path, run: Path, store: EventStore
) -> None:
    rented = steps(store, tmp_path, str(ROOT / "clusters" / "runpod.yaml"))
    state = LoopState(Phase.SEARCH, 1, start={"run": str(run), "watermark": 1, "items_watermark": 1})
    words = rented._data(state)
    assert rented._data(state) == words  # written once
    options = parser().parse_args(words)
    read = DataSpec(data=options.data, items=options.items).load()
    merged = DataSpec(data=f"{run}+{tmp_path / 'events.db'}#1,1").load()
    assert len(read.ratings) == len(merged.ratings) == 601
    assert read.lineage == merged.lineage
    titles = dict(zip(read.catalogue.ids.tolist(), read.catalogue.titles, strict=True))
    assert titles == dict(zip(merged.catalogue.ids.tolist(), merged.catalogue.titles, strict=True))
    assert titles["added"] == "An Added Film"
    here = steps(store, tmp_path, None)
    assert here._data(state) == ["--data", f"{run}+{tmp_path / 'events.db'}#1,1"]


def test_the_next_cycle_starts_from_the_data_of_the_first(
    tmp_path: Path, run: Path, store: EventStore
) -> None:
    rented = steps(store, tmp_path, None)
    begun = LoopRecord(1, 0.0, "decision", 1, Phase.IDLE, {"run": str(run)}, Phase.DATASET)
    made = tmp_path / "loop" / "cycle-0001" / "run"
    assert rented._data_run(made, [begun]) == str(run)
    assert rented._data_run(tmp_path / "other", [begun]) == str(tmp_path / "other")


def test_which_clusters_are_rented() -> None:
    assert not is_rented(None)
    assert not is_rented(str(ROOT / "clusters" / "local.yaml"))
    assert is_rented(str(ROOT / "clusters" / "runpod.yaml"))
