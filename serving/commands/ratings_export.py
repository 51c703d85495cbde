"""``python -m serving data ratings``: a run's ratings merged with those from the service, as Parquet.

The merge of ``python search/breakthrough.py --data RUN+EVENTS``, with the origin of each rating.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recsys.data.data_spec import base_source
from recsys.data.dataset import Dataset
from recsys.data.event_ratings import read_served
from recsys.data.event_store import current_marks
from recsys.data.merged_ratings import ORIGINS, merge_with_origin
from recsys.errors import InputError
from recsys.io import atomic_path, write_atomic
from recsys.types import JsonObject


def export_ratings(run: Path, events: str, out: Path) -> Dataset:
    """Write ``out`` (user_id, item_id, rating, timestamp, origin) atomically; returns the merged data.

    Rows are collected in a hidden folder next to ``out``: after a kill the same call resumes there, up to the
    events at its first start, and writes the same bytes.

    Args:
        run: a run's folder; its recorded source is the base.
        events: the event store's URL.
        out: a Parquet file, which is replaced.

    Raises:
        InputError: no such run or event store, or ``out`` cannot be written.
    """
    base = base_source(run, events).load()
    try:
        parts, pinned = _begin(run, events, out)
        served = read_served(pinned["events"], base.ratings.scale, now=pinned["now"], folder=parts)
    except OSError as error:
        raise InputError(f"--out {out} cannot be written: {error.strerror or error}") from None
    dataset, origins = merge_with_origin(base, served)
    ratings = dataset.ratings
    user_ids, item_ids = (pa.array(ids.tolist()) for ids in (dataset.user_ids, dataset.catalogue.ids))
    table = pa.table(
        {
            "user_id": pa.DictionaryArray.from_arrays(ratings.users, user_ids),
            "item_id": pa.DictionaryArray.from_arrays(ratings.items, item_ids),
            "rating": ratings.values,
            "timestamp": np.zeros(len(ratings), np.int64) if ratings.times is None else ratings.times,
            "origin": pa.DictionaryArray.from_arrays(origins, pa.array(ORIGINS)),
        },
        metadata={"lineage": json.dumps(dataset.lineage or {})},
    )
    try:
        with atomic_path(out) as temporary:
            pq.write_table(table, temporary)
        shutil.rmtree(parts, ignore_errors=True)
    except OSError as error:
        raise InputError(f"--out {out} cannot be written: {error.strerror or error}") from None
    return dataset


def _begin(run: Path, events: str, out: Path) -> tuple[Path, JsonObject]:
    """The folder of an export's rows and its pinned input, those of an interrupted export if it is the
    same."""
    parts = out.with_name(f".{out.name}.parts")
    request = {"run": str(run.absolute()), "source": events}
    about = parts / "about.json"
    try:
        pinned: JsonObject = json.loads(about.read_text(encoding="utf-8"))
        if request.items() <= pinned.items():
            return parts, pinned
    except (OSError, ValueError):
        pass
    shutil.rmtree(parts, ignore_errors=True)
    parts.mkdir(parents=True, mode=0o700)
    pinned = request | {"events": str(current_marks(events)), "now": time.time()}
    write_atomic(about, json.dumps(pinned).encode(), private=True)
    return parts, pinned
