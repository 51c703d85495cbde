"""The export of ratings: the same bytes after a kill, what each row is, and nothing of the erased."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from recsys.data import event_rows
from recsys.data.data_spec import DataSpec
from recsys.data.synthetic import generate
from serving.commands import ratings_export
from serving.commands.ratings_export import export_ratings
from serving.domain import Exposure, Feedback
from serving.events.retention import erase
from serving.events.store import EventStore
from tests.movielens_files import write_movielens_csv

NOW = 1_900_000_000.0


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, EventStore]:
    """A run on 900 ratings, and a store of 70 events in chunks of ten."""
    data = tmp_path / "data"
    write_movielens_csv(generate(users=60, items=40, ratings=900, seed=0).dataset, data)
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text(json.dumps({"source": DataSpec(str(data)).to_json()}))
    store = EventStore(str(tmp_path / "events.db"))
    store.create_tables()
    shown = Exposure("x1", NOW, "u1", "main", "a", 1, "r", ("1", "4"), (3.0, 3.0), "personal", 1.0)
    done = [
        Feedback(f"e{n}", "x1", f"u{n % 9}", "rating", str(1 + 3 * (n % 40)), 4.0, NOW + n) for n in range(70)
    ]
    store.add(exposures=[shown], feedback=done)
    return run, store


def test_an_export_that_was_killed_goes_on_and_writes_the_same_bytes(
    made: tuple[Path, EventStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, store = made
    monkeypatch.setattr(event_rows, "CHUNK_ROWS", 10)
    monkeypatch.setattr(ratings_export.time, "time", lambda: NOW + 100)
    events = str(tmp_path / "events.db")
    whole = export_ratings(run, events, tmp_path / "whole.parquet").lineage
    chunks, write = 0, event_rows._write_chunk

    def killed(path: Path, chunk: Any) -> None:
        nonlocal chunks
        if chunks == 3:
            raise KeyboardInterrupt
        chunks += 1
        write(path, chunk)

    monkeypatch.setattr(event_rows, "_write_chunk", killed)
    out = tmp_path / "again.parquet"
    with pytest.raises(KeyboardInterrupt):
        export_ratings(run, events, out)
    assert not out.exists()
    store.add(feedback=[Feedback("later", None, "u1", "rating", "1", 1.0, NOW + 80)])  # after it began
    read: list[int] = []

    def counted(path: Path, chunk: Any) -> None:
        read.append(chunk.last)
        write(path, chunk)

    monkeypatch.setattr(event_rows, "_write_chunk", counted)
    assert export_ratings(run, events, out).lineage == whole
    assert read == [40, 50, 60, 70]
    assert out.read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert not (tmp_path / ".again.parquet.parts").exists()
    table = pq.read_table(out).to_pydict()
    origins = np.array(table["origin"])
    assert (origins == "served after our list").sum() == 4  # items 1 and 4
    assert (origins == "base").sum() == 900
    assert json.loads(pq.read_schema(out).metadata[b"lineage"])["watermark"] == 70


def test_who_is_erased_while_an_export_waits_is_not_in_it(
    made: tuple[Path, EventStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, store = made
    monkeypatch.setattr(ratings_export.time, "time", lambda: NOW + 100)

    def full(table: Any, path: Path) -> None:
        raise OSError(28, "No space left on device")

    out = tmp_path / "out.parquet"
    with monkeypatch.context() as patch:
        patch.setattr(ratings_export.pq, "write_table", full)
        with pytest.raises(ratings_export.InputError, match="No space left"):
            export_ratings(run, str(tmp_path / "events.db"), out)
    erase(store, "u3", now=NOW + 90)
    lineage = export_ratings(run, str(tmp_path / "events.db"), out).lineage
    assert lineage is not None
    assert "u3" not in pq.read_table(out).to_pydict()["user_id"]
    assert lineage["left_out"]["erased person"] == 8
