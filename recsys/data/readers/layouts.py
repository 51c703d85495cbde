"""MovieLens's layouts on disk, and what each one's files are called and hold.

A folder is known by its ratings file; items and users are then looked for under every layout's names,
since parts of several may lie together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from recsys.data.ratings import RatingScale
from recsys.data.readers.columns import Columns
from recsys.data.readers.containers import inner_name
from recsys.data.readers.ids import RawRatings
from recsys.data.readers.parquet import read_parquet
from recsys.data.readers.sniff import suffix_of
from recsys.data.readers.text import Progress, read_text
from recsys.errors import InputError

MOVIELENS_LICENCE = "GroupLens: research use, no redistribution (https://grouplens.org/datasets/movielens/)"
FEW_ODD = 0.01  # of the rows of a damaged release
WHOLE_STARS = RatingScale(1.0, 5.0)
HALF_STARS = RatingScale(0.5, 5.0)
ITEM_FILES = ("u.item", "movies.dat", "movies.csv", "movies.parquet")
PEOPLE_FILES = ("u.user", "users.dat", "users.parquet")
RATING_COLUMNS = Columns("userId", "movieId", "rating", "timestamp")
NAMES = ("userId", "movieId", "rating", "timestamp")


@dataclass(frozen=True)
class Layout:
    """How to read one kind of ratings file. ``names`` None: a header; ``scale`` None: by the values."""

    ratings: str
    separator: str
    names: Sequence[str] | None
    scale: RatingScale | None


LAYOUTS = (
    Layout("u.data", "\t", NAMES, WHOLE_STARS),
    Layout("ratings.dat", "::", NAMES, None),
    Layout("ratings.csv", "", None, None),
    Layout("ratings.parquet", "", None, None),
)


@dataclass(frozen=True)
class RatingsFiles:
    """The files that make a dataset; ``layout`` None is a file of the user's own."""

    name: str
    ratings: Path
    layout: Layout | None
    items: Path | None = None
    people: Path | None = None
    licence: str = ""
    origin: str = ""

    def files(self) -> list[Path]:
        return [path for path in (self.ratings, self.items, self.people) if path is not None]


def files_in_folder(folder: Path) -> RatingsFiles:
    """The source that a folder in an official layout is."""
    for layout in LAYOUTS:
        ratings = first_existing(folder, [layout.ratings, f"{layout.ratings}.gz", f"{layout.ratings}.zip"])
        if ratings is not None:
            return RatingsFiles(
                name=folder.resolve().name,
                ratings=ratings,
                layout=layout,
                items=first_existing(folder, ITEM_FILES),
                people=first_existing(folder, PEOPLE_FILES),
                licence=MOVIELENS_LICENCE,
                origin=f"the folder {folder}",
            )
    there = sorted(path.name for path in folder.iterdir())[:8]
    raise InputError(
        f"{folder}: no ratings file in it; expected one of "
        f"{', '.join(layout.ratings for layout in LAYOUTS)}; it holds {', '.join(there) or 'nothing'}"
    )


def bare_layout(path: Path) -> Layout | None:
    """The layout of a single file that has no header and is known by its name: u.data, ratings.dat."""
    return next(
        (layout for layout in LAYOUTS if layout.names and layout.ratings == inner_name(path).name), None
    )


def first_existing(folder: Path, names: Sequence[str]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


def read_ratings(
    source: RatingsFiles, *, columns: Columns | None, header: bool = True, progress: Progress | None
) -> RawRatings:
    """All rows of the source's ratings file, unjudged."""
    path, layout = source.ratings, source.layout
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty; expected ratings")
    if suffix_of(path) == ".parquet":
        return read_parquet(path, columns=columns or Columns())
    if layout is None or layout.names is None or not header:
        return read_text(path, columns=columns or Columns(), header=header, progress=progress)
    columns = columns or RATING_COLUMNS
    return read_text(path, columns=columns, names=layout.names, separator=layout.separator, progress=progress)


def is_movielens(source: RatingsFiles, raw: RawRatings) -> bool:
    """Whether header, ids and values are those of a MovieLens release, not only the files' names."""
    if source.layout is None:
        return False
    if source.layout.names is None and tuple(raw.header) != NAMES:
        return False
    if not raw.whole_ids or len(raw) == 0:
        return False
    low = 1.0 if source.layout.scale is not None else HALF_STARS.low
    values, counts = raw.distinct
    odd = (values < low) | (values > HALF_STARS.high) | (values * 2 % 1 != 0)
    return int(counts[odd].sum()) <= FEW_ODD * len(raw)


def layout_scale(source: RatingsFiles, raw: RawRatings) -> RatingScale | None:
    """The scale that a MovieLens release rates on; None for a user's own file.

    Layouts shared by releases of both kinds are told apart by whether any rating is a half star.
    """
    if source.layout is None or not is_movielens(source, raw):
        return None
    if source.layout.scale is not None:
        return source.layout.scale
    halves = bool((raw.distinct[0] % 1 == 0.5).any())
    return HALF_STARS if halves else WHOLE_STARS
