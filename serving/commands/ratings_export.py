"""``python -m serving data ratings``: a run's ratings with those given through the service, as Parquet.

The same merge as ``python search/breakthrough.py --data RUN+EVENTS``, written out with each rating's origin.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recsys.data.data_spec import base_source
from recsys.data.event_ratings import read_served
from recsys.data.merged_ratings import ORIGINS, merge_with_origin
from recsys.errors import InputError
from recsys.io import atomic_path
from recsys.types import JsonObject


def export_ratings(run: Path, events: str, out: Path) -> JsonObject:
    """Writes ``out`` (user_id, item_id, rating, timestamp, origin), whole or not at all; returns the lineage.

    Args:
        run: a run's folder; its recorded source is the base.
        events: the event store's URL.
        out: a Parquet file; what was there is replaced, so that an export can be repeated.

    Raises:
        InputError: there is no run, no event store, or ``out`` cannot be written.
    """
    base = base_source(run, events).load()
    dataset, origins = merge_with_origin(base, read_served(events, base.ratings.scale))
    ratings, lineage = dataset.ratings, dataset.lineage or {}
    user_ids, item_ids = (pa.array(ids.tolist()) for ids in (dataset.user_ids, dataset.catalogue.ids))
    table = pa.table(
        {
            "user_id": pa.DictionaryArray.from_arrays(ratings.users, user_ids),
            "item_id": pa.DictionaryArray.from_arrays(ratings.items, item_ids),
            "rating": ratings.values,
            "timestamp": np.zeros(len(ratings), np.int64) if ratings.times is None else ratings.times,
            "origin": pa.DictionaryArray.from_arrays(origins, pa.array(ORIGINS)),
        },
        metadata={"lineage": json.dumps(lineage)},
    )
    try:
        with atomic_path(out) as temporary:
            pq.write_table(table, temporary)
    except OSError as error:
        raise InputError(f"--out {out} cannot be written: {error.strerror or error}") from None
    return lineage
