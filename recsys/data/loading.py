"""``--data``: whatever names ratings, made into a ``Dataset``.

A name of an official release, a folder in one of MovieLens's layouts, one CSV or Parquet file, or
``synthetic:users=...,items=...,ratings=...,seed=...``.
Parsed once: the columns are kept in the cache and mapped into memory from then on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys.data.cache import cache_folder
from recsys.data.catalogue import ItemRow, ItemTable, catalogue_of, read_items
from recsys.data.cleaning import MAX_BAD_SHARE, Duplicates, clean
from recsys.data.column_store import open_dataset, save_dataset, store_folder
from recsys.data.dataset import Dataset, Quality
from recsys.data.feature_encoding import fit_encoding
from recsys.data.fingerprint import columns_sha256
from recsys.data.item_encoder import fit_item_encoder
from recsys.data.ratings import RatingScale
from recsys.data.readers.columns import Columns
from recsys.data.readers.containers import ARCHIVES, inner_name
from recsys.data.readers.layouts import (
    RatingsFiles,
    bare_layout,
    files_in_folder,
    is_movielens,
    layout_scale,
    read_ratings,
)
from recsys.data.readers.sniff import suffix_of
from recsys.data.readers.text import Progress
from recsys.data.releases import release_folder
from recsys.data.synthetic import PREFIX, from_spec, parse_spec
from recsys.data.user_features import (
    is_movielens_users,
    movielens_groups,
    read_user_table,
    read_users,
    user_features,
)
from recsys.data.user_groups import UserGroups
from recsys.errors import InputError

TABLE_SUFFIXES = {
    ".csv",
    ".tsv",
    ".tab",
    ".psv",
    ".txt",
    ".data",
    ".dat",
    ".inter",
    ".parquet",
    ".gz",
    ".zip",
}
PARSE_AT_ONCE = 1 << 20  # bytes: a smaller file is parsed sooner than its columns are kept


def load_dataset(
    source: str,
    *,
    columns: Columns | None = None,
    items: Path | None = None,
    users: Path | None = None,
    scale: RatingScale | None = None,
    missing: Sequence[float] = (),
    duplicates: Duplicates = "last",
    header: bool = True,
    items_optional: bool = False,
    cache: Path | None = None,
    progress: Progress | None = None,
    max_bad_share: float = MAX_BAD_SHARE,
) -> Dataset:
    """The dataset that ``source`` names.

    Args:
        source: A release's name, a folder, a table's file, or ``synthetic:...``.
        columns: Which column holds what; None is looked for.
        items: A table of titles, genres and any features; its items without a rating come along, as new ones.
        users: A table of any features of those who rated.
        scale: The rating scale; rows outside are left out. None is the release's own, or the values' range.
        missing: Ratings that mean there is none; such rows are left out.
        duplicates: Of a pair rated twice the newest stays, or their mean; or stop.
        header: False where the file's first line is a rating; columns then go by position.
        items_optional: Go on where no item of ``items`` is rated.
        cache: The cache folder; None is the environment's.
        progress: Called with a stage and the share done.
        max_bad_share: Share of bad rows that stops the run.

    Raises:
        InputError: What is wrong with the data, and where.
    """
    if source.startswith(PREFIX):
        return from_spec(parse_spec(source)).dataset
    files = locate(source, cache=cache, progress=progress)
    if items is not None:
        files = replace(files, items=items)
        if not items.is_file():
            raise InputError(
                f"{items}: no such items file; expected a CSV or Parquet file with id, title, genres"
            )
    if users is not None:
        files = replace(files, people=users)
        if not users.is_file():
            raise InputError(f"{users}: no such users file; expected a CSV or Parquet file with an id column")
    options = ParseOptions(
        columns=columns,
        scale=scale,
        missing=tuple(missing),
        duplicates=duplicates,
        header=header,
        items_required=items is not None and not items_optional,
        new_items=items is not None,
        max_bad_share=max_bad_share,
    )
    if files.ratings.stat().st_size < PARSE_AT_ONCE:
        return parse(files, options, progress=progress)
    folder = store_folder(cache_folder(cache), files.files(), [files.name, files.origin, options])
    if (kept := open_dataset(folder)) is not None:
        return kept
    dataset = parse(files, options, progress=progress)
    save_dataset(folder, dataset)
    # Mapped, so that what was parsed leaves memory and every process shares one copy.
    return open_dataset(folder) or dataset


@dataclass(frozen=True)
class ParseOptions:
    """All that shapes a parsed dataset besides its files."""

    columns: Columns | None
    scale: RatingScale | None
    missing: tuple[float, ...]
    duplicates: Duplicates
    header: bool
    items_required: bool
    new_items: bool  # items of the table without a rating are in the catalogue
    max_bad_share: float


def locate(source: str, *, cache: Path | None = None, progress: Progress | None = None) -> RatingsFiles:
    """The files behind ``source``; a release that is not there yet is downloaded."""
    path = home_path(source)
    if path.is_dir():
        return files_in_folder(path)
    if path.is_file():
        layout = bare_layout(path)
        if layout is not None or suffix_of(path) in TABLE_SUFFIXES or path.suffix.lower() in {"", *ARCHIVES}:
            name = inner_name(path).stem or path.stem
            return RatingsFiles(name=name, ratings=path, layout=layout, origin=f"the file {path}")
        raise InputError(f"{path}: cannot read a {path.suffix or 'nameless'} file; expected .csv or .parquet")
    if len(path.parts) > 1 or suffix_of(path) in TABLE_SUFFIXES:
        raise InputError(f"{source}: no such file or folder")
    folder = release_folder(source, cache=cache, progress=progress)
    origin = (folder / "origin.txt").read_text(encoding="utf-8").strip()
    return replace(files_in_folder(folder), name=source, origin=origin)


def home_path(source: str) -> Path:
    """A path under the home folder; as it is written where there is none."""
    try:
        return Path(source).expanduser()
    except RuntimeError:
        return Path(source)


def parse(files: RatingsFiles, options: ParseOptions, *, progress: Progress | None) -> Dataset:
    """Read, check and describe."""
    raw = read_ratings(files, columns=options.columns, header=options.header, progress=progress)
    cleaned = clean(
        raw,
        scale=options.scale or layout_scale(files, raw),
        scale_given=options.scale is not None,
        missing=options.missing,
        duplicates=options.duplicates,
        max_bad_share=options.max_bad_share,
    )
    licence = files.licence if is_movielens(files, raw) else ""
    del raw
    table = ItemTable() if files.items is None else read_items(files.items, cleaned.item_ids)
    quality = cleaned.quality
    if files.items is not None:
        quality = with_titles(
            quality, files.items, cleaned.item_ids, table.rows, required=options.items_required
        )
    item_ids = cleaned.item_ids
    if options.new_items:
        item_ids = with_new_items(item_ids, table)
    catalogue = catalogue_of(item_ids, table.rows)
    cells, where = table.cells_of(item_ids.tolist()), str(files.items)
    encoder = fit_item_encoder(catalogue.titles, catalogue.genres, fit_encoding(cells, where=where))
    features, odd = encoder.encode(catalogue.titles, catalogue.genres, cells, where=where)
    notes = (*encoder.further.notes, *odd)
    new = len(item_ids) - len(cleaned.item_ids)
    if new:
        notes = (f"{new:,} items have no rating: they are in the catalogue as new", *notes)
    people, groups, people_notes = features_of_users(files, cleaned.user_ids)
    ratings = replace(cleaned.ratings, item_count=len(item_ids))
    return Dataset(
        name=files.name,
        ratings=ratings,
        user_ids=cleaned.user_ids,
        catalogue=catalogue,
        sha256=columns_sha256(ratings, cleaned.user_ids, item_ids),
        licence=licence,
        quality=replace(quality, notes=(*quality.notes, *notes, *people_notes)),
        user_features=people,
        user_groups=groups,
        item_features=features if encoder.width else None,
        item_encoder=encoder,
        source=files.origin,
    )


def with_new_items(item_ids: NDArray[np.str_], table: ItemTable) -> NDArray[np.str_]:
    """``item_ids``, then those of ``table`` that nobody has rated; none where the table knows no rated item,
    as its ids are then of another kind."""
    rated = set(item_ids.tolist())
    new = [item_id for item_id in table.rows if item_id not in rated]
    if not new or len(new) == len(table.rows):
        return item_ids
    return np.concatenate([item_ids, np.array(new, dtype=np.str_)])


def features_of_users(
    files: RatingsFiles, user_ids: NDArray[np.str_]
) -> tuple[NDArray[np.float32] | None, UserGroups | None, tuple[str, ...]]:
    """(users, columns) and the users' groups, None without any; and notes."""
    if files.people is None:
        return None, None, ()
    if is_movielens_users(files.people):
        people = read_users(files.people)
        return user_features(user_ids, people), movielens_groups(user_ids, people), ()
    return read_user_table(files.people, user_ids)


def with_titles(
    quality: Quality, path: Path, item_ids: NDArray[np.str_], rows: dict[str, ItemRow], *, required: bool
) -> Quality:
    """How many rated items have a title in ``rows``; ``InputError`` where a table asked for knows none."""
    matched = [item_id for item_id in item_ids.tolist() if item_id in rows]
    titled = sum(bool(rows[item_id][1].strip()) for item_id in matched)
    note = f"{path.name}: titles for {titled:,} of {len(item_ids):,} items"
    if not matched and required:
        there, rated = ", ".join(list(rows)[:3]), ", ".join(item_ids[:3].tolist())
        raise InputError(
            f"{path}: titles for 0 of {len(item_ids):,} items: no column of it holds the rated items' ids; "
            f"its ids are {there or 'none'}, those of the ratings {rated}; "
            "correct the table, or add --items-optional to go on without titles"
        )
    if matched and not titled:
        note += (
            f": it knows {len(matched):,} of them, and has no column called title or name, or an empty one"
        )
    notes = quality.notes if titled == len(item_ids) else (*quality.notes, note)
    return replace(quality, titles=(titled, len(item_ids)), notes=notes)
