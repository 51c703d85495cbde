"""What items are: titles, genres and release years, from any of MovieLens's layouts or a user's table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys.data.dataset import Catalogue
from recsys.data.readers.columns import find_column
from recsys.data.readers.containers import open_table
from recsys.data.readers.csv_records import Dialect, OpenQuote, split_records
from recsys.data.readers.ids import plain_ids
from recsys.data.readers.parquet import read_table
from recsys.data.readers.sniff import read_head, suffix_of
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
ItemRow = tuple[str, str, tuple[str, ...]]  # id, title, genres
Table = Mapping[str, Sequence[object]]  # cells by column


@dataclass(frozen=True)
class ItemTable:
    """Items by id: ``rows``; and the ``columns`` beside id, title and genres, in the rows ``row_of``."""

    rows: dict[str, ItemRow] = field(default_factory=dict)
    columns: Table = field(default_factory=dict)
    row_of: dict[str, int] = field(default_factory=dict)

    def cells_of(self, item_ids: Sequence[str]) -> dict[str, list[object]]:
        """The further columns of these items; None where an item has no row."""
        indices = [self.row_of.get(item_id) for item_id in item_ids]
        return {
            name: [None if row_index is None else cells[row_index] for row_index in indices]
            for name, cells in self.columns.items()
        }


def read_items(path: Path, item_ids: NDArray[np.str_] | None = None) -> ItemTable:
    """Items by id. Takes u.item, movies.dat, a text table or a Parquet file with id, title and genres columns
    (genres joined with a bar) and any others; title and genres may be absent.

    Args:
        path: The items file.
        item_ids: The rated items' ids; the key is the column that holds the most of them.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such items file; expected a CSV or Parquet file with id, title, genres")
    columns: Table = {}
    if path.name == "u.item":
        rows: Iterable[ItemRow] = map(from_u_item, lines_of(path))
    elif suffix_of(path) == ".parquet":
        rows, columns = from_columns(read_table(path).to_pydict(), where=str(path), item_ids=item_ids)
    elif suffix_of(path) == ".dat" and any("::" in line for line in lines_of(path)[:5]):
        rows = map(from_dat, lines_of(path))
    else:
        rows, columns = from_columns(text_columns(path), where=str(path), item_ids=item_ids)
    kept = [(row_index, row) for row_index, row in enumerate(rows) if row[0]]
    ids = plain_ids([row[0] for _, row in kept])
    if item_ids is not None and not set(ids) & set(item_ids.tolist()):
        ids = [row[0].strip() for _, row in kept]
    return ItemTable(
        rows={item_id: (item_id, *row[1:]) for item_id, (_, row) in zip(ids, kept, strict=True)},
        columns=columns,
        row_of={item_id: row_index for item_id, (row_index, _) in zip(ids, kept, strict=True)},
    )


def text_columns(path: Path) -> Table:
    """The cells of a text table by column; "" where a row is short."""
    header, body = read_rows(path)
    return {name: [row[at] if at < len(row) else "" for row in body] for at, name in enumerate(header)}


def read_rows(path: Path) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a text table, by the same rules as ratings; Latin-1 where it is not UTF-8."""
    head = read_head(path)
    with open_table(path) as (file, _):
        data = file.read()
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    if text.count("\r") != text.count("\r\n"):
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    width = len(head.names)

    def is_row(fields: list[str]) -> bool:
        return len(fields) == width > 1 and all(field.strip() for field in fields)

    try:
        records = split_records(text, head.dialect, is_row=is_row, final=True)
    except OpenQuote as quote:
        if head.dialect.separator not in ("\t", "|"):
            raise InputError(
                f"{path}, line {quote.line + 1}: a quote opens here and does not close before the next rows"
            ) from None
        literal = Dialect(head.dialect.separator, quoted=False)
        records = split_records(text, literal, is_row=is_row, final=True)
    return list(head.names), records.fields[1:]


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


def from_columns(
    given: Table, *, where: str, item_ids: NDArray[np.str_] | None = None
) -> tuple[list[ItemRow], Table]:
    """Rows of an items table, keyed by the column that matches ``item_ids`` best, and its other columns."""
    header = list(given)
    key = key_column(given, item_ids, where=where)
    if item_ids is not None and plain_ids([key])[0] in set(item_ids.tolist()):
        raise InputError(
            f"{where}: its first line is an item, not the columns' names: {', '.join(map(repr, header))}; "
            "add a line such as id,title,genres before it"
        )
    title = find_column(header, "title", None, where=where, required=False)
    genres = find_column(header, "genres", None, where=where, required=False)
    rows: list[ItemRow] = [
        (
            id_text(item_id),
            str(given[title][at] or "") if title else "",
            split_genres(given[genres][at]) if genres else (),
        )
        for at, item_id in enumerate(given[key])
    ]
    return rows, {name: cells for name, cells in given.items() if name not in (key, title, genres)}


def key_column(given: Table, item_ids: NDArray[np.str_] | None, *, where: str, role: str = "item") -> str:
    """The column with the most of ``item_ids``; the usual name of a ``role`` where none has more."""
    header = list(given)
    usual = (
        "id" if "id" in header else find_column(header, role, None, where=where, required=item_ids is None)
    )
    if item_ids is None:
        assert usual is not None
        return usual
    wanted = set(item_ids.tolist())
    counts = {
        name: len(wanted & set(plain_ids([text for text in map(id_text, column) if text])))
        for name, column in given.items()
    }
    best = max(counts, key=lambda name: (counts[name], name == usual))
    if counts[best]:
        return best
    if usual is None:
        find_column(header, role, None, where=where)
    assert usual is not None
    return usual


def id_text(value: object) -> str:
    """An item's id as text; "" where there is none."""
    if value is None or (isinstance(value, float) and value != value):
        return ""
    return str(value).strip()


def catalogue_of(item_ids: NDArray[np.str_], rows: dict[str, ItemRow]) -> Catalogue:
    """The rated items in row order, with what ``rows`` knows of them."""
    described = [rows.get(item_id, (item_id, "", ())) for item_id in item_ids.tolist()]
    return Catalogue(ids=item_ids, titles=[row[1] for row in described], genres=[row[2] for row in described])
