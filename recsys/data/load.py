"""``--data``: whatever names ratings, made into a ``Dataset``.

A name of an official release, a folder in one of MovieLens's layouts, or one CSV or Parquet file.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys.data.clean import MAX_BAD_SHARE, clean
from recsys.data.columns import Columns
from recsys.data.dataset import Dataset
from recsys.data.items import catalogue_of, item_features, read_items
from recsys.data.layouts import Source, folder_source, layout_scale, read_source
from recsys.data.people import read_people, user_features
from recsys.data.ratings import Ratings, RatingScale
from recsys.data.text import Progress
from recsys.errors import InputError


def load_dataset(
    source: str,
    *,
    columns: Columns | None = None,
    items: Path | None = None,
    scale: RatingScale | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
    max_bad_share: float = MAX_BAD_SHARE,
) -> Dataset:
    """The dataset that ``source`` names. ``InputError`` says what is wrong with it and where."""
    found = find_source(source)
    if items is not None:
        found = Source(**{**found.__dict__, "items": items})
    return parse(found, columns=columns, scale=scale, progress=progress, max_bad_share=max_bad_share)


def find_source(source: str) -> Source:
    path = Path(source).expanduser()
    if path.is_dir():
        return folder_source(path)
    if path.is_file():
        if path.suffix.lower() in {".csv", ".tsv", ".txt", ".data", ".parquet", ".dat"}:
            return Source(name=path.stem, ratings=path, layout=None, origin=f"the file {path}")
        raise InputError(f"{path}: cannot read a {path.suffix or 'nameless'} file; expected .csv or .parquet")
    raise InputError(f"{source}: no such file, folder or dataset name")


def parse(
    source: Source,
    *,
    columns: Columns | None,
    scale: RatingScale | None,
    progress: Progress | None,
    max_bad_share: float,
) -> Dataset:
    """Read, judge and describe."""
    rows = {} if source.items is None else read_items(source.items)
    raw = read_source(source, columns=columns, progress=progress)
    cleaned = clean(raw, scale=scale or layout_scale(source, raw), max_bad_share=max_bad_share)
    del raw
    catalogue = catalogue_of(cleaned.item_ids, rows)
    return Dataset(
        name=source.name,
        ratings=cleaned.ratings,
        user_ids=cleaned.user_ids,
        catalogue=catalogue,
        sha256=columns_sha256(cleaned.ratings, cleaned.user_ids, cleaned.item_ids),
        licence=source.licence,
        quality=cleaned.quality,
        user_features=None
        if source.people is None
        else user_features(cleaned.user_ids, read_people(source.people)),
        item_features=item_features(catalogue),
        source=source.origin,
    )


def columns_sha256(ratings: Ratings, user_ids: NDArray[np.str_], item_ids: NDArray[np.str_]) -> str:
    """Of the rating columns, in order, and the ids: the same whatever file they came from."""
    digest = hashlib.sha256()
    for column in (ratings.users, ratings.items, ratings.values, ratings.times):
        if column is not None:
            digest.update(np.ascontiguousarray(column).data)
    for ids in (user_ids, item_ids):
        digest.update("\n".join(ids.tolist()).encode())
    return digest.hexdigest()
