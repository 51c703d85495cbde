"""What lies in a release folder, as memory-mapped values that processes and arms share.

The folder beside manifest.json:
    users/ids.npy, users/{sorted,rows}.npy       ids in row order, and sorted for look-up
    users/groups.npy, users/groups.json          (users, columns) groups by the columns of their table, if any
    items/ids.npy, items/{sorted,rows}.npy
    items/titles.npy, items/title_ends.npy       UTF-8 bytes end to end
    items/genres.npy, items/genres.json          (items, genres) membership and the genres' names
    items/vectors.npy                            (items, k) unit rows: likeness of items
    histories/{ends,items,values}.npy            ratings by user, oldest first
    popularity/{counts,trending,means}.npy       ratings an item has, the same with decay, their mean
    attributes/coefficients.npy                  (1 + columns, items) from features (see attribute_map.py)
    blend/items.npy                              (items, 3) what an item's profile makes of the blend's stars
    members/NAME/, ranker/, profile/             see recsys.models.artifact, recsys.ranking.ranker
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from recsys.data.ratings import Ratings
from recsys.ensemble.calibration import Correction
from recsys.models.base import History
from recsys.release.files import map_array, save_array
from recsys.types import BoolArray

LINE_FEED = ord("\n")
TRENDING_HALF_LIFE_DAYS = 30.0  # a rating halves in weight with each


@dataclass(frozen=True)
class IdIndex:
    """The outside world's names: ``names`` (n,) unicode in row order; ``sorted`` and ``rows`` find them."""

    names: NDArray[np.str_]
    sorted: NDArray[np.str_]
    rows: NDArray[np.int32]

    @classmethod
    def of(cls, names: NDArray[np.str_]) -> IdIndex:
        order = np.argsort(names, kind="stable").astype(np.int32)
        return cls(names=names, sorted=names[order], rows=order)

    @classmethod
    def load(cls, folder: Path) -> IdIndex:
        return cls(
            map_array(folder / "ids.npy"), map_array(folder / "sorted.npy"), map_array(folder / "rows.npy")
        )

    def save(self, folder: Path) -> None:
        save_array(folder / "ids.npy", self.names)
        save_array(folder / "sorted.npy", self.sorted)
        save_array(folder / "rows.npy", self.rows)

    def __len__(self) -> int:
        return len(self.names)

    def row(self, name: str) -> int | None:
        """The row of an id, None where the release does not know it. Some 5 microseconds."""
        if 4 * len(name) > self.sorted.dtype.itemsize or "\0" in name:
            return None  # longer than any known id; also keeps numpy from widening the whole array
        index = int(self.sorted.searchsorted(np.array(name, dtype=self.sorted.dtype)))
        if index < len(self.sorted) and self.sorted[index] == name:
            return int(self.rows[index])
        return None


class Titles(Sequence[str]):
    """Strings laid end to end as UTF-8; one is decoded when asked for."""

    def __init__(self, text: NDArray[np.uint8], ends: NDArray[np.int64]) -> None:
        self._text, self._ends = text, ends

    @classmethod
    def of(cls, titles: Sequence[str]) -> Titles:
        encoded = [title.encode() for title in titles]
        ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
        return cls(np.frombuffer(b"".join(encoded), dtype=np.uint8), ends)

    @classmethod
    def load(cls, folder: Path) -> Titles:
        return cls(map_array(folder / "titles.npy"), map_array(folder / "title_ends.npy"))

    def save(self, folder: Path) -> None:
        save_array(folder / "titles.npy", self._text)
        save_array(folder / "title_ends.npy", self._ends)

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, item: int) -> str: ...
    @overload
    def __getitem__(self, item: slice) -> list[str]: ...
    def __getitem__(self, item: int | slice) -> str | list[str]:
        if isinstance(item, slice):
            return [self[row] for row in range(*item.indices(len(self)))]
        if not -len(self) <= item < len(self):
            raise IndexError(item)
        row = item % len(self)
        return self._text[self._ends[row] : self._ends[row + 1]].tobytes().decode()

    def lines(self) -> tuple[str, NDArray[np.int64]]:
        """All titles for searching, casefolded, a line each; and where (titles,) each line ends, the line
        feed included. No Python loop: opening 84,432 titles must not hold up requests."""
        text = np.where(self._text == LINE_FEED, ord(" "), self._text).astype(np.uint8)
        folded = np.insert(text, self._ends[1:], LINE_FEED).tobytes().decode().casefold()
        points = np.frombuffer(folded.encode("utf-32-le"), dtype=np.uint32)
        return folded, np.flatnonzero(points == LINE_FEED).astype(np.int64) + 1


@dataclass(frozen=True)
class Histories:
    """Ratings by user: user u's are [ends[u], ends[u + 1]) of ``items`` (n,) int32 and ``values`` (n,)."""

    ends: NDArray[np.int64]
    items: NDArray[np.int32]
    values: NDArray[np.float16] | NDArray[np.float32]

    @classmethod
    def load(cls, folder: Path) -> Histories:
        return cls(*(map_array(folder / f"{name}.npy") for name in ("ends", "items", "values")))

    def save(self, folder: Path) -> None:
        save_array(folder / "ends.npy", self.ends)
        save_array(folder / "items.npy", self.items)
        save_array(folder / "values.npy", self.values)

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __call__(self, user: int) -> History:
        """One user's ratings, oldest first."""
        start, end = self.ends[user], self.ends[user + 1]
        return History(items=self.items[start:end], values=self.values[start:end].astype(np.float32))


@dataclass(frozen=True)
class ItemCatalogue:
    """The catalogue as a request needs it. ``member_of`` (items, genres) bool; ``vectors`` unit rows."""

    ids: IdIndex
    titles: Titles
    genre_names: tuple[str, ...]
    member_of: BoolArray
    vectors: NDArray[np.float32]

    @classmethod
    def load(cls, folder: Path) -> ItemCatalogue:
        return cls(
            ids=IdIndex.load(folder),
            titles=Titles.load(folder),
            genre_names=tuple(json.loads((folder / "genres.json").read_text(encoding="utf-8"))),
            member_of=map_array(folder / "genres.npy"),
            vectors=map_array(folder / "vectors.npy"),
        )

    def save(self, folder: Path) -> None:
        self.ids.save(folder)
        self.titles.save(folder)
        save_array(folder / "genres.npy", self.member_of)
        save_array(folder / "vectors.npy", self.vectors)
        (folder / "genres.json").write_text(json.dumps(self.genre_names), encoding="utf-8")

    def __len__(self) -> int:
        return len(self.ids)

    def genres(self, item: int) -> tuple[str, ...]:
        return tuple(self.genre_names[column] for column in np.flatnonzero(self.member_of[item]))

    def with_genres(self, names: Sequence[str]) -> BoolArray:
        """(items,) mask of the items that have any of these genres; KeyError names an unknown one."""
        known = {name.casefold(): column for column, name in enumerate(self.genre_names)}
        columns = [known[name.casefold()] for name in names]
        return np.asarray(self.member_of[:, columns].any(axis=1))


@dataclass(frozen=True)
class Popularity:
    """(items,) float32 each: ``counts`` of ratings; ``trending``, where a rating halves in weight with
    every half-life before the newest one (equal to ``counts`` without times); ``means`` in stars, drawn
    towards the overall mean where ratings are few."""

    counts: NDArray[np.float32]
    trending: NDArray[np.float32]
    means: NDArray[np.float32]

    @classmethod
    def load(cls, folder: Path) -> Popularity:
        return cls(*(map_array(folder / f"{name}.npy") for name in ("counts", "trending", "means")))

    def save(self, folder: Path) -> None:
        save_array(folder / "counts.npy", self.counts)
        save_array(folder / "trending.npy", self.trending)
        save_array(folder / "means.npy", self.means)


@dataclass(frozen=True)
class LoadedCorrection:
    """A blend's ``correction`` with every item's part of it, (items, DEGREES)."""

    correction: Correction
    items: NDArray[np.float32]

    @classmethod
    def of(cls, correction: Correction, known: Ratings) -> LoadedCorrection:
        return cls(correction, correction.of_items(known).astype(np.float32))

    @classmethod
    def load(cls, folder: Path, correction: Correction) -> LoadedCorrection:
        return cls(correction, map_array(folder / "items.npy"))

    def save(self, folder: Path) -> None:
        save_array(folder / "items.npy", self.items)
