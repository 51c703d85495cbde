"""Rows of an event store as columns, read in chunks by the driver's own cursor.

A chunk is a file of its own where a folder is given, so that a long export that was killed goes on behind the
last chunk. Names of people and items are kept once, rows hold their numbers: a million rows are some 40 MB.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from recsys.io import atomic_path

CHUNK_ROWS = 50_000
COLUMNS = {
    "users": np.int32,
    "items": np.int32,
    "kinds": np.int16,
    "values": np.float32,
    "times": np.float64,
    "propensities": np.float32,
}
NOBODY = ""
QUERY = """
SELECT f.seq, f.user_id, f.item_id, f.kind, f.value, f.at, e.items, {propensities}
FROM feedback AS f LEFT JOIN exposures AS e ON e.exposure_id = f.exposure_id
WHERE f.seq > {after:d} AND f.seq <= {until:d} AND {kinds}
ORDER BY f.seq
"""


@dataclass(frozen=True, eq=False)
class EventRows:
    """Feedback in the order of ``seq``.

    ``users``, ``items`` (n,) index ``user_names``, ``item_names`` ("" for none); ``kinds`` (n,) index
    ``kind_names``; ``values`` (n,) NaN for none; ``times`` (n,) Unix seconds; ``propensities`` (n,) with
    which the list that the event names held the item, NaN where it did not. ``last`` is the last ``seq``.
    """

    user_names: list[str]
    item_names: list[str]
    kind_names: list[str]
    users: NDArray[np.int32]
    items: NDArray[np.int32]
    kinds: NDArray[np.int16]
    values: NDArray[np.float32]
    times: NDArray[np.float64]
    propensities: NDArray[np.float32]
    last: int

    def __len__(self) -> int:
        return len(self.users)


def read_event_rows(
    connection: Connection,
    kinds: tuple[str, ...],
    *,
    until: int,
    has_propensities: bool = True,
    folder: Path | None = None,
) -> EventRows:
    """All feedback of ``kinds`` up to row ``until``.

    Args:
        connection: To the event store.
        kinds: Ratings without a value are left out.
        until: The last ``seq``.
        has_propensities: Stores of before schema 2 have none.
        folder: Where chunks are kept and found again; None keeps them in memory.
    """
    names: tuple[dict[str, int], dict[str, int], dict[str, int]] = ({}, {}, {})
    parts: list[dict[str, NDArray[Any]]] = []
    last = 0
    for path in sorted(folder.glob("*.npz")) if folder is not None else ():
        last = _add(parts, names, _read_chunk(path))
    for chunk in _chunks(connection, kinds, after=last, until=until, has_propensities=has_propensities):
        if folder is not None:
            _write_chunk(folder / f"{len(parts):06d}.npz", chunk)
        last = _add(parts, names, chunk)

    def column(name: str) -> NDArray[Any]:
        return np.concatenate([np.zeros(0, COLUMNS[name]), *(part[name] for part in parts)])

    users, items, known_kinds = (list(known) for known in names)
    return EventRows(
        user_names=users,
        item_names=items,
        kind_names=known_kinds,
        users=column("users"),
        items=column("items"),
        kinds=column("kinds"),
        values=column("values"),
        times=column("times"),
        propensities=column("propensities"),
        last=last,
    )


@dataclass(frozen=True)
class _Chunk:
    """Columns whose codes index ``names`` of people, items and kinds."""

    names: tuple[list[str], list[str], list[str]]
    columns: dict[str, NDArray[Any]]
    last: int


def _add(parts: list[dict[str, NDArray[Any]]], names: tuple[dict[str, int], ...], chunk: _Chunk) -> int:
    """Joins a chunk to those before; gives its last row."""
    columns = dict(chunk.columns)
    for column, codes_of, chunk_names in zip(("users", "items", "kinds"), names, chunk.names, strict=True):
        codes = [codes_of.setdefault(name, len(codes_of)) for name in chunk_names]
        columns[column] = np.array(codes, dtype=COLUMNS[column])[columns[column]]
    parts.append(columns)
    return chunk.last


def _chunks(
    connection: Connection, kinds: tuple[str, ...], *, after: int, until: int, has_propensities: bool
) -> Iterator[_Chunk]:
    driver: Any = connection.connection
    postgres = connection.dialect.name == "postgresql"
    cursor = driver.cursor(name="events") if postgres else driver.cursor()
    placeholders = ", ".join(["%s" if postgres else "?"] * len(kinds))
    query = QUERY.format(
        after=after,
        until=until,
        propensities="e.propensities" if has_propensities else "NULL",
        kinds=f"f.kind IN ({placeholders}) AND (f.kind <> 'rating' OR f.value IS NOT NULL)",
    )
    try:
        if postgres:
            cursor.itersize = CHUNK_ROWS
        cursor.execute(query, kinds)
        while rows := cursor.fetchmany(CHUNK_ROWS):
            yield _chunk(rows)
    finally:
        cursor.close()


def _chunk(rows: list[tuple[Any, ...]]) -> _Chunk:
    names: tuple[dict[str, int], dict[str, int], dict[str, int]] = ({}, {}, {})
    users, items, kinds = names
    seqs, user_ids, item_ids, kind_ids, values, times, lists, propensities = zip(*rows, strict=True)
    columns = {
        "users": [users.setdefault(name or NOBODY, len(users)) for name in user_ids],
        "items": [items.setdefault(name or NOBODY, len(items)) for name in item_ids],
        "kinds": [kinds.setdefault(name, len(kinds)) for name in kind_ids],
        "values": [np.nan if value is None else value for value in values],
        "times": times,
        "propensities": [
            _propensity(item, listed, logged)
            for item, listed, logged in zip(item_ids, lists, propensities, strict=True)
        ],
    }
    return _Chunk(
        (list(users), list(items), list(kinds)),
        {name: np.array(column, dtype=COLUMNS[name]) for name, column in columns.items()},
        int(seqs[-1]),
    )


def _propensity(item: str | None, listed: str | None, logged: str | None) -> float:
    """With which the item stood in the list; NaN where it did not, 1 where nothing was logged."""
    if not item or listed is None:
        return np.nan
    index = _place(item, listed)
    if index is None:
        return np.nan
    return float(logged[1:-1].split(",")[index]) if logged else 1.0


def _place(item: str, listed: str) -> int | None:
    """Of an id in a list written as JSON, found in the text: parsing would cost more than all the rest."""
    if "\\" in listed:  # escaped
        ids = json.loads(listed)
        return ids.index(item) if item in ids else None
    quoted = f'"{item}"'
    start = listed.find(quoted)
    while start >= 0:
        quotes = listed.count('"', 0, start)
        if quotes % 2 == 0:  # else it stands between two ids
            return quotes // 2
        start = listed.find(quoted, start + 1)
    return None


def _write_chunk(path: Path, chunk: _Chunk) -> None:
    texts = {
        f"names_{index}": np.frombuffer(json.dumps(part).encode(), dtype=np.uint8)
        for index, part in enumerate(chunk.names)
    }
    with atomic_path(path, private=True) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **chunk.columns, **texts, last=np.array(chunk.last))


def _read_chunk(path: Path) -> _Chunk:
    with np.load(path, allow_pickle=False) as file:
        arrays: Mapping[str, NDArray[Any]] = {name: file[name] for name in file.files}
    users, items, kinds = (json.loads(arrays[f"names_{index}"].tobytes()) for index in range(3))
    columns = {name: arrays[name] for name in COLUMNS}
    return _Chunk((users, items, kinds), columns, int(arrays["last"]))
