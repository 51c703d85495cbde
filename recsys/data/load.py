"""``--data``: whatever names ratings, made into a ``Dataset``.

A name of an official release, a folder in one of MovieLens's layouts, one CSV or Parquet file, or
``synthetic:users=...,items=...,ratings=...,seed=...``.
Parsed once: the columns are kept in the cache and mapped into memory from then on.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from recsys.data.cache import cache_folder
from recsys.data.catalogue import catalogue_of, item_features, read_items
from recsys.data.cleaning import MAX_BAD_SHARE, clean
from recsys.data.column_store import open_dataset, save_dataset, store_folder
from recsys.data.dataset import Dataset
from recsys.data.fingerprint import columns_sha256
from recsys.data.ratings import RatingScale
from recsys.data.readers.columns import Columns
from recsys.data.readers.layouts import RatingsFiles, bare_layout, files_in_folder, layout_scale, read_ratings
from recsys.data.readers.text import Progress
from recsys.data.releases import release_folder
from recsys.data.synthetic import PREFIX, from_spec, parse_spec
from recsys.data.user_features import read_users, user_features
from recsys.errors import InputError

TABLE_SUFFIXES = {".csv", ".tsv", ".txt", ".data", ".parquet", ".dat"}
PARSE_AT_ONCE = 1 << 20  # bytes: a smaller file is parsed sooner than its columns are kept


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
    """The dataset that ``source`` names. ``InputError`` says what is wrong with it and where.

    ``scale`` None is the release's own, or found from the values. ``progress(stage, share)`` is told how
    far reading and downloading are. ``max_bad_share`` of the rows may be bad before the run stops.
    """
    if source.startswith(PREFIX):
        return from_spec(parse_spec(source)).dataset
    found = locate(source, cache=cache, progress=progress)
    if items is not None:
        found = replace(found, items=items)
        if not items.is_file():
            raise InputError(
                f"{items}: no such items file; expected a CSV or Parquet file with id, title, genres"
            )
    if found.ratings.stat().st_size < PARSE_AT_ONCE:
        return parse(found, columns=columns, scale=scale, progress=progress, max_bad_share=max_bad_share)
    folder = store_folder(
        cache_folder(cache), found.files(), [found.name, found.origin, columns, scale, max_bad_share]
    )
    if (kept := open_dataset(folder)) is not None:
        return kept
    dataset = parse(found, columns=columns, scale=scale, progress=progress, max_bad_share=max_bad_share)
    save_dataset(folder, dataset)
    # Mapped, so that what was parsed leaves memory and every process shares one copy.
    return open_dataset(folder) or dataset


def locate(source: str, *, cache: Path | None = None, progress: Progress | None = None) -> RatingsFiles:
    """The files behind ``source``; a release that is not there yet is downloaded."""
    path = Path(source).expanduser()
    if path.is_dir():
        return files_in_folder(path)
    if path.is_file():
        if (layout := bare_layout(path)) is not None:
            return RatingsFiles(name=path.stem, ratings=path, layout=layout, origin=f"the file {path}")
        if path.suffix.lower() in TABLE_SUFFIXES:
            return RatingsFiles(name=path.stem, ratings=path, layout=None, origin=f"the file {path}")
        raise InputError(f"{path}: cannot read a {path.suffix or 'nameless'} file; expected .csv or .parquet")
    if len(path.parts) > 1 or path.suffix.lower() in TABLE_SUFFIXES:
        raise InputError(f"{source}: no such file or folder")
    folder = release_folder(source, cache=cache, progress=progress)
    origin = (folder / "origin.txt").read_text().strip()
    return replace(files_in_folder(folder), name=source, origin=origin)


def parse(
    source: RatingsFiles,
    *,
    columns: Columns | None,
    scale: RatingScale | None,
    progress: Progress | None,
    max_bad_share: float,
) -> Dataset:
    """Read, judge and describe."""
    rows = {} if source.items is None else read_items(source.items)
    raw = read_ratings(source, columns=columns, progress=progress)
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
        else user_features(cleaned.user_ids, read_users(source.people)),
        item_features=item_features(catalogue),
        source=source.origin,
    )
