"""A data set as MovieLens distributes it, for tests and benchmarks of the readers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv

from recsys.data.dataset import Dataset


def write_movielens_csv(dataset: Dataset, folder: Path) -> None:
    """``ratings.csv`` and ``movies.csv`` in the layout of ml-20m and later. Ids must be whole numbers."""
    folder.mkdir(parents=True, exist_ok=True)
    ratings, ids = dataset.ratings, dataset.catalogue.ids
    assert ratings.times is not None
    user_ids, item_ids = dataset.user_ids.astype(np.int64), ids.astype(np.int64)
    levels = pa.array([f"{level / 2:.1f}" for level in range(11)])
    schema = pa.schema(
        [("userId", pa.int64()), ("movieId", pa.int64()), ("rating", pa.string()), ("timestamp", pa.int64())]
    )
    plain = arrow_csv.WriteOptions(quoting_style="none", quoting_header="none")
    with arrow_csv.CSVWriter(folder / "ratings.csv", schema, write_options=plain) as writer:
        for start in range(0, len(ratings), 1_000_000):
            rows = slice(start, start + 1_000_000)
            codes = pa.array((ratings.values[rows] * 2).astype(np.int8))
            columns = [user_ids[ratings.users[rows]], item_ids[ratings.items[rows]]]
            writer.write_table(pa.table([*columns, levels.take(codes), ratings.times[rows]], schema=schema))
    movies = {
        "movieId": item_ids,
        "title": list(dataset.catalogue.titles),
        "genres": ["|".join(names) or "(no genres listed)" for names in dataset.catalogue.genres],
    }
    arrow_csv.write_csv(pa.table(movies), folder / "movies.csv")
