"""``--data RUN+EVENTS``: a run's own source with what people rated since."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recsys.data.data_spec import DataSpec
from recsys.data.dataset import Dataset
from recsys.errors import InputError
from serving.__main__ import main
from serving.domain import Feedback
from serving.events.store import EventStore


def test_a_run_and_an_event_store_are_one_data_set(tmp_path: Path) -> None:
    spec = DataSpec(data="synthetic:users=50,items=40,ratings=600")
    (tmp_path / "run.json").write_text(json.dumps({"source": spec.to_json()}))
    store = EventStore(str(tmp_path / "events.db"))
    store.create_tables()
    store.add(feedback=[Feedback("e1", None, "somebody new", "rating", "1", 4.0, 1_700_000_000.0)])
    both = DataSpec(data=f"{tmp_path}+{tmp_path / 'events.db'}").load()
    assert len(both.ratings) == len(spec.load().ratings) + 1
    assert both.lineage is not None
    assert both.lineage["served"] == 1
    assert any("1 ratings were given through the service" in note for note in both.quality.notes)


def test_a_run_on_events_is_trained_again_on_the_data_under_them(tmp_path: Path) -> None:
    spec = DataSpec(data="synthetic:users=50,items=40,ratings=600")
    events = tmp_path / "events.db"
    sources = {"first": spec, "second": DataSpec(data=f"{tmp_path / 'first'}+{events}")}
    for name, source in sources.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(json.dumps({"source": source.to_json()}))
    store = EventStore(str(events))
    store.create_tables()
    store.add(feedback=[Feedback("e1", None, "somebody new", "rating", "1", 4.0, 1_700_000_000.0)])
    third = DataSpec(data=f"{tmp_path / 'second'}+{events}").load()
    assert third.lineage is not None
    assert third.lineage["base"] == spec.load().sha256
    assert third.lineage["served"] == 1
    assert sum("through the service" in note for note in third.quality.notes) == 1


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no run of a search .* expected RUN\+EVENTS"):
        DataSpec(data=f"{tmp_path}+events.db").load()


def test_the_exported_file_reads_as_the_same_ratings(tmp_path: Path) -> None:
    spec = DataSpec(data="synthetic:users=50,items=40,ratings=600")
    (tmp_path / "run.json").write_text(json.dumps({"source": spec.to_json()}))
    events = tmp_path / "events.db"
    store = EventStore(str(events))
    store.create_tables()
    store.add(feedback=[Feedback("e1", None, "somebody new", "rating", "1", 4.0, 1_700_000_000.0)])
    out = tmp_path / "merged.parquet"
    words = ["data", "ratings", "--run", str(tmp_path), "--events", str(events), "--out", str(out)]
    assert main(words) == 0
    merged, read = DataSpec(data=f"{tmp_path}+{events}").load(), DataSpec(data=str(out)).load()
    assert rows(read) == rows(merged)


def rows(dataset: Dataset) -> set[tuple[str, str, float, int]]:
    ratings, items = dataset.ratings, dataset.catalogue.ids
    assert ratings.times is not None
    columns = (ratings.users, ratings.items, ratings.values.tolist(), ratings.times.tolist())
    return {(str(dataset.user_ids[u]), str(items[i]), v, t) for u, i, v, t in zip(*columns, strict=True)}
