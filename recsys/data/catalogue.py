"""What items are: titles, genres and release years, from any of MovieLens's layouts or a user's table."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys.data.dataset import Catalogue
from recsys.data.readers.columns import find_column
from recsys.data.readers.parquet import read_table
from recsys.errors import InputError

# The flags of u.item, in its own order (file u.genre).
U_GENRES = (
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
)
NO_GENRE = {"", "unknown", "(no genres listed)"}
YEAR = re.compile(r"\((\d{4})(?:[-–]\d{0,4})?\)")
ItemRow = tuple[str, str, tuple[str, ...]]  # id, title, genres


def read_items(path: Path) -> dict[str, ItemRow]:
    """Items by id. Takes u.item, movies.dat, a CSV or a Parquet file with id, title and genres columns
    (genres joined with a bar); title and genres may be absent."""
    if not path.is_file():
        raise InputError(f"{path}: no such items file; expected a CSV or Parquet file with id, title, genres")
    if path.name == "u.item":
        rows: Iterable[ItemRow] = map(from_u_item, lines_of(path))
    elif path.suffix == ".dat":
        rows = map(from_dat, lines_of(path))
    elif path.suffix == ".parquet":
        table = read_table(path)
        rows = from_columns(table.to_pydict(), where=str(path))
    else:
        lines = list(csv.reader(io.StringIO(text_of(path), newline="")))
        if not lines:
            raise InputError(f"{path}: the items file is empty")
        header, *body = lines
        given = {name: [row[at] if at < len(row) else "" for row in body] for at, name in enumerate(header)}
        rows = from_columns(given, where=str(path))
    return {row[0]: row for row in rows if row[0]}


def lines_of(path: Path) -> list[str]:
    """Lines that end in a line feed alone: str.splitlines would also cut titles at stray control marks."""
    return [line.rstrip("\r") for line in text_of(path).split("\n") if line.strip()]


def text_of(path: Path) -> str:
    """MovieLens's older releases are Latin-1, the newer ones UTF-8."""
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def split_genres(text: object) -> tuple[str, ...]:
    if isinstance(text, list | tuple):
        return tuple(str(name) for name in text)
    return tuple(name.strip() for name in str(text or "").split("|") if name.strip() not in NO_GENRE)


def from_u_item(line: str) -> ItemRow:
    fields = line.split("|")
    flags = fields[-len(U_GENRES) :]
    genres = tuple(
        name for name, flag in zip(U_GENRES, flags, strict=False) if flag == "1" and name not in NO_GENRE
    )
    return fields[0], fields[1] if len(fields) > 1 else "", genres


def from_dat(line: str) -> ItemRow:
    item_id, title, genres = [*line.split("::"), "", ""][:3]
    return item_id, title, split_genres(genres)


def from_columns(given: Mapping[str, Sequence[object]], *, where: str) -> Iterable[ItemRow]:
    header = list(given)
    # An items table often calls its key just "id".
    key = "id" if "id" in header else find_column(header, "item", None, where=where)
    title = find_column(header, "title", None, where=where, required=False)
    genres = find_column(header, "genres", None, where=where, required=False)
    assert key is not None
    for at, item_id in enumerate(given[key]):
        yield (
            "" if item_id is None else str(item_id),
            str(given[title][at] or "") if title else "",
            split_genres(given[genres][at]) if genres else (),
        )


def catalogue_of(item_ids: NDArray[np.str_], rows: dict[str, ItemRow]) -> Catalogue:
    """The rated items in row order, with what ``rows`` knows of them."""
    found = [rows.get(item_id, (item_id, "", ())) for item_id in item_ids.tolist()]
    return Catalogue(ids=item_ids, titles=[row[1] for row in found], genres=[row[2] for row in found])


def release_year(title: str) -> float:
    """The last year in brackets, as in "Se7en (1995)"; NaN where there is none."""
    found = YEAR.findall(title)
    return float(found[-1]) if found else float("nan")


def item_features(catalogue: Catalogue) -> NDArray[np.float32] | None:
    """(items, genres + 1) float32: genre membership in ``genre_names`` order, then the release year in
    decades from the mean, 0 where the title tells none. Without genres: None."""
    genres = catalogue.genre_matrix().astype(np.float32)
    if genres.shape[1] == 0:
        return None
    years = np.array([release_year(title) for title in catalogue.titles])
    if np.isnan(years).all():
        return genres
    decades = np.nan_to_num((years - np.nanmean(years)) / 10).astype(np.float32)
    return np.column_stack([genres, decades])
