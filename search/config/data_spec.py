"""The ratings that a run is on: what --data names, or synthetic ones of a given size."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from recsys.data.dataset import Dataset
from recsys.data.load import load_dataset
from recsys.data.ratings import RatingScale
from recsys.data.readers.columns import Columns
from recsys.data.synthetic import generate
from recsys.errors import InputError
from recsys.types import JsonObject

SYNTHETIC = "synthetic:"
SIZES = {"users": 600, "items": 400, "ratings": 30_000, "seed": 0}


@dataclass(frozen=True)
class DataSpec:
    """``--data`` and the options that go with it; plain values, so that a resumed run finds it again."""

    data: str
    user_column: str | None = None
    item_column: str | None = None
    rating_column: str | None = None
    time_column: str | None = None
    items: str | None = None
    scale: tuple[float, float] | None = None

    def to_json(self) -> JsonObject:
        return {**vars(self), "scale": None if self.scale is None else list(self.scale)}

    @classmethod
    def from_json(cls, row: JsonObject) -> DataSpec:
        return cls(**{**row, "scale": None if row["scale"] is None else tuple(row["scale"])})

    def load(self, progress: Callable[[str, float], None] | None = None) -> Dataset:
        """The dataset. Raises InputError that says what is wrong and where."""
        if self.data.startswith(SYNTHETIC):
            return generate(**synthetic_sizes(self.data)).dataset
        return load_dataset(
            self.data,
            columns=Columns(
                user=self.user_column,
                item=self.item_column,
                rating=self.rating_column,
                timestamp=self.time_column,
            ),
            items=None if self.items is None else Path(self.items),
            scale=None if self.scale is None else RatingScale(*self.scale),
            progress=progress,
        )


def synthetic_sizes(text: str) -> dict[str, int]:
    """``synthetic:users=600,items=400,ratings=30000,seed=0``, each part optional."""
    sizes = dict(SIZES)
    for part in filter(None, text.removeprefix(SYNTHETIC).split(",")):
        name, _, value = part.partition("=")
        if name not in sizes or not value.isdigit():
            raise InputError(
                f"--data {text}: got {part!r}, expected users=, items=, ratings= or seed= a number"
            )
        sizes[name] = int(value)
    return sizes


def show_download(what: str, share: float) -> None:
    """Progress of a download or a parse on one line of stderr."""
    if sys.stderr.isatty():
        print(f"\r{what}: {share:4.0%}", end="\n" if share >= 1 else "", file=sys.stderr, flush=True)
